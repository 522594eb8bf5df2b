"""Does one host stand out?"""

import numpy as np

from incidents.diagnosing.hosts import less_right, silent, slower
from monitoring.judging.hosts import Timed


def test_a_host_that_is_wrong_more_often_stands_out() -> None:
    found = less_right({"h1": (480, 600), "h2": (478, 600), "h3": (400, 600)})
    assert [(odd.host, odd.by) for odd in found] == [("h3", "accuracy")]
    assert found[0].because == "h3 is right in 66.7% of 600, the others in 79.8% of 1,200"


def test_hosts_that_are_all_wrong_stand_out_from_nobody() -> None:
    assert less_right({"h1": (300, 600), "h2": (310, 600), "h3": (290, 600)}) == []


def test_chance_alone_makes_a_host_stand_out_in_at_most_one_of_a_hundred_fleets() -> None:
    rng = np.random.default_rng(5)
    fleets = [{f"h{at}": (int(rng.binomial(400, 0.8)), 400) for at in range(10)} for _ in range(300)]
    assert sum(bool(less_right(fleet)) for fleet in fleets) <= 6


def test_a_few_rows_accuse_no_host() -> None:
    assert less_right({"h1": (480, 600), "h2": (5, 20)}) == []


def timed(rng: np.random.Generator, scale: float, n: int = 300) -> Timed:
    return Timed(np.linspace(0, 180, n), scale * rng.gamma(9, 1 / 9, n))


def test_a_slow_host_stands_out_in_its_windows() -> None:
    rng = np.random.default_rng(7)
    [odd] = slower({"h1": timed(rng, 1), "h2": timed(rng, 1), "h3": timed(rng, 5)}, {})
    assert (odd.host, odd.by) == ("h3", "speed")
    assert odd.p < 1e-4
    assert odd.because == (
        "half of h3's answers take 4.8 ms or more, those of the others 0.9 ms, in 20 of 20 windows at least 2 times "
        "as long"
    )


def test_a_host_that_was_always_slower_does_not_stand_out() -> None:
    rng = np.random.default_rng(7)
    times = {"h1": timed(rng, 1), "h2": timed(rng, 1), "h3": timed(rng, 5)}
    assert slower(times, {"h3": rng.gamma(9, 4 / 9, 300)}) == []


def test_a_host_that_has_answered_nothing_since_is_silent() -> None:
    found = silent({"h1": 300, "h2": 300, "h3": 300}, {"h1": 220, "h2": 230})
    assert [(odd.host, odd.because) for odd in found] == [("h3", "h3 gave 33% of the answers before and none since")]


def test_a_host_of_which_little_is_expected_is_not_silent_yet() -> None:
    assert silent({"h1": 300, "h2": 300, "h3": 300}, {"h1": 4, "h2": 3}) == []
