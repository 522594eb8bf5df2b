"""Is it right less often, and can the labels be relied on?"""

import numpy as np
import pytest

from incidents.diagnosing.labels import Quality, quality


def answers(rows: int, accuracy: float, positive: float = 0.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(output, label) with exactly these shares."""
    label = (np.arange(rows) < positive * rows).astype(float)
    rng = np.random.default_rng(seed)
    wrong = np.zeros(rows, bool)
    for value in (0.0, 1.0):
        mine = np.flatnonzero(label == value)
        wrong[rng.permutation(mine)[: round((1 - accuracy) * len(mine))]] = True
    return np.where(wrong, 1 - label, label), label


def judged(now: tuple[np.ndarray, np.ndarray], before: tuple[np.ndarray, np.ndarray]) -> Quality:
    return quality(*now, *before, None)


@pytest.mark.parametrize(
    ("accuracy", "rows", "dropped"), [(0.7, 1000, "yes"), (0.8, 2000, "no"), (0.77, 200, "open"), (0.5, 80, "open")]
)
def test_a_drop_is_told_where_the_rows_can_tell(accuracy: float, rows: int, dropped: str) -> None:
    found = judged(answers(rows, accuracy), answers(2000, 0.8))
    assert found.dropped == dropped


@pytest.mark.parametrize("rows", [100, 300])
def test_few_labels_do_not_show_that_nothing_fell(rows: int) -> None:
    found = judged(answers(rows, 0.9), answers(rows, 0.9))
    assert (found.drop, found.dropped) == (0.0, "open")
    assert found.high is not None
    assert found.high > 0.04


def test_the_promise_stands_in_where_nothing_was_labelled_before() -> None:
    found = quality(*answers(1000, 0.7), np.array([]), np.array([]), 0.8)
    assert (found.dropped, found.share_before) == ("yes", 0.8)
    assert found.drop == pytest.approx(0.1)


def test_labels_of_one_class_alone_are_another_mix_and_no_drop_within_it() -> None:
    output, label = answers(2000, 0.8)
    output[:1000] = np.where(np.arange(1000) < 500, 1, 0)
    before = (output.copy(), label.copy())
    now = (output, np.where(label == 1, 1.0, np.nan))

    found = judged(now, before)

    assert found.dropped == "yes"
    assert found.mixed_otherwise
    assert found.adjusted == 0.0


def test_flipped_labels_drop_within_the_classes_too() -> None:
    output, label = answers(2000, 0.8)
    rng = np.random.default_rng(3)
    found = judged((output, np.where(rng.random(2000) < 0.3, 1 - label, label)), (output, label))
    assert found.dropped == "yes"
    assert not found.mixed_otherwise
    assert found.adjusted == pytest.approx(0.18, abs=0.03)


def test_labels_that_mostly_did_not_come_are_late() -> None:
    output, label = answers(1000, 0.8)
    found = judged((output, np.where(np.arange(1000) % 20 == 0, label, np.nan)), (output, label))
    assert (found.late, found.n, found.labelled) == (True, 50, 0.05)


def come(answers: np.ndarray, of_one: float, of_zero: float) -> np.ndarray:
    """All answers are right; labels are known of these shares of the answers 1 and 0, evenly."""
    turn = np.empty(len(answers))
    for value in (0, 1):
        mine = answers == value
        turn[mine] = (np.arange(mine.sum()) % 20) / 20
    known = turn < np.where(answers == 1, of_one, of_zero)
    return np.where(known, answers, np.nan).astype(float)


ANSWERS = np.tile([1.0, 0.0, 0.0], 400)


@pytest.mark.parametrize(
    ("now", "before", "selected"),
    [
        ((1.0, 0.05), (1.0, 1.0), True),
        ((0.05, 0.5), (0.5, 0.5), True),
        ((1.0, 0.05), (1.0, 0.05), False),
        ((0.05, 0.05), (1.0, 1.0), False),
        ((1.0, 0.9), (1.0, 1.0), False),
    ],
    ids=["of no hardly any", "of yes hardly any", "as it always was", "late for all alike", "a little"],
)
def test_labels_that_have_come_to_depend_on_the_answer_are_told(
    now: tuple[float, float], before: tuple[float, float], selected: bool
) -> None:
    found = quality(ANSWERS, come(ANSWERS, *now), ANSWERS, come(ANSWERS, *before), None)

    assert bool(found.selected) is selected
    if selected:
        most, least = found.selected
        assert (most.now, least.now) == (max(now), min(now))


def test_few_rows_do_not_tell_by_what_labels_come() -> None:
    few = ANSWERS[:30]
    assert quality(few, come(few, 1.0, 0.05), few, come(few, 1.0, 1.0), None).selected == ()
