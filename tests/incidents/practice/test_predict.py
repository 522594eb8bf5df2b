"""How long a change will take, from what earlier ones took."""

from incidents.practice.timing import Course, Predicted, predict


def course(begun: float, waves: list[float], between: list[float], soak: float = 0.0) -> Course:
    end = begun + sum(waves) + sum(between) + soak * len(between)
    return Course(begun, waves, between, end - 0.1, end)


def test_without_earlier_runs_nothing_is_foretold() -> None:
    assert predict([], waves=2, soak_seconds=0) is None


def test_runs_of_as_many_waves_count_as_a_whole_and_without_their_soaks() -> None:
    known = [
        course(1.0, [0.5, 2.0], [0.5], soak=30),
        course(0.5, [0.5, 2.5], [1.5], soak=30),
        course(0.5, [1.0, 2.0], [0.7], soak=5),
        course(9.0, [9.0], []),
    ]
    assert predict(known, waves=2, soak_seconds=10) == Predicted(4.2 + 10, 4.0 + 10, 5.0 + 10, 3)


def test_from_runs_of_other_numbers_of_waves_it_is_put_together_by_parts() -> None:
    known = [course(1.0, [2.0], []), course(3.0, [4.0], [])]
    assert predict(known, waves=3, soak_seconds=10) == Predicted(
        2.0 + 3 * 3.0 + 20, 1.0 + 3 * 2.0 + 20, 3.0 + 3 * 4.0 + 20, 2
    )
