"""A share of rows, held to what was promised."""

import numpy as np
import pytest

from monitoring.drift.measures import wilson
from monitoring.judging.promise import PromisedShare


def rows(right: int, wrong: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat([1.0, 0.0], [right, wrong]))


def test_a_promise_kept_and_one_broken():
    kept = PromisedShare(rows(270, 30), promised=0.9, margin=0.03, ordered=False).judge()
    assert (kept.answer, kept.estimate) == ("pass", 0.9)
    assert (kept.low, kept.high) == wilson(270, 300)
    broken = PromisedShare(rows(210, 90), promised=0.9, margin=0.03).judge()
    assert broken.answer == "fail"
    assert broken.p < 0.001
    assert "at least 87.0% are held to: broken" in broken.sentence


def test_below_what_is_held_to_but_within_chance_is_inconclusive():
    assert PromisedShare(rows(258, 42), promised=0.9, margin=0.03).judge().answer == "inconclusive"


def test_few_rows_are_no_pass_however_right():
    judged = PromisedShare(rows(28, 2), promised=0.9, margin=0.03, ordered=False).judge()
    assert judged.answer == "inconclusive"
    assert judged.power == pytest.approx(0.673, abs=0.001)
    assert PromisedShare([np.nan, np.nan], 0.9, 0.03).judge().p is None


def test_fails_exactly_where_wilsons_interval_ends():
    for right in range(200, 260):
        judged = PromisedShare(rows(right, 300 - right), promised=0.9, margin=0.03, ordered=False).judge()
        assert (judged.answer == "fail") == (wilson(right, 300)[1] < 0.87)


def test_wrong_rows_that_come_together_say_less_than_scattered_ones():
    together = np.concatenate([np.ones(120), np.zeros(60), np.ones(120)])
    apart = PromisedShare(rows(240, 60), promised=0.9, margin=0.03).judge()
    judged = PromisedShare(together, promised=0.9, margin=0.03).judge()
    assert (apart.answer, judged.answer) == ("fail", "inconclusive")
    assert PromisedShare(together, promised=0.9, margin=0.03, ordered=False).judge().answer == "fail"


def test_what_is_detectable_is_seen_as_often_as_said():
    judged = PromisedShare(rows(270, 30), promised=0.9, margin=0.03, ordered=False).judge()
    drawn = np.random.default_rng(1).binomial(300, 0.9 - judged.detectable, 20_000) / 300
    assert np.mean(drawn < 0.87) == pytest.approx(0.8, abs=0.03)
