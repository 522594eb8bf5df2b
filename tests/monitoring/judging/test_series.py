"""A metric's level, judged with what its values have to do with each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitoring.judging.answers import judge_all
from monitoring.judging.series import Level, _Change, _power
from tests.monitoring.judging.samples import autoregression


def pair(seed: int, *, phi: float = 0.0, n: int = 30, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    return 100 + 5 * autoregression(phi, n, seed), 100 + 5 * autoregression(phi, n, seed + 10_000) + shift


def share_of(answer: str, **how: float) -> float:
    return np.mean([Level("metric", *pair(seed, **how)).judge().answer == answer for seed in range(400)])


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("n", [10, 60])
def test_a_healthy_canary_rarely_fails(phi, n):
    assert share_of("fail", phi=phi, n=n) <= 0.08


def test_a_shift_of_one_standard_deviation_is_found():
    assert share_of("fail", shift=5) >= 0.85


def test_a_sick_canary_rarely_passes():
    for phi in (0.0, 0.5, 0.8):
        assert share_of("pass", phi=phi, shift=7) <= 0.05


def test_where_neighbours_are_alike_it_is_told_that_too_little_is_known():
    assert share_of("inconclusive", phi=0.8) >= 0.8
    judged = Level("p95 latency", *pair(1, phi=0.8)).judge()
    assert judged.power < 0.8
    assert judged.detectable > 0.05 * 100
    assert "60 intervals say as much as" in judged.sentence


def test_independent_values_are_judged_nearly_as_welch_does():
    before, now = pair(11, n=2000, shift=0.4)
    judged = Level("metric", before, now).judge()
    welch = stats.ttest_ind(now, before, equal_var=False)
    assert judged.estimate == pytest.approx(now.mean() - before.mean())
    assert judged.p == pytest.approx(welch.pvalue, abs=0.02)
    assert judged.high - judged.low == pytest.approx(np.ptp(welch.confidence_interval(0.95)), rel=0.06)


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 50))
def test_the_unit_makes_no_difference(scale, seed):
    before, now = pair(seed, phi=0.5, shift=3)
    one, other = Level("metric", before, now).judge(), Level("metric", scale * before, scale * now).judge()
    assert one.answer == other.answer
    assert (other.estimate, other.detectable) == pytest.approx((scale * one.estimate, scale * one.detectable))
    assert one.p == pytest.approx(other.p)


@given(seed=st.integers(0, 50))
def test_either_direction_is_judged_alike(seed):
    before, now = pair(seed, shift=4)
    one, other = Level("metric", before, now).judge(), Level("metric", now, before).judge()
    assert one.p == pytest.approx(other.p)
    assert one.estimate == pytest.approx(-other.estimate)
    rising = Level("metric", before, now, worse="up").judge()
    falling = Level("metric", -before, -now, worse="down").judge()
    assert (rising.answer, rising.p) == (falling.answer, pytest.approx(falling.p))


def test_what_got_better_is_no_failure():
    before, now = pair(4, shift=-10)
    assert Level("errors", before, now, worse="up").judge().answer == "pass"
    assert Level("errors", before, now, worse="down").judge().answer == "fail"
    assert Level("errors", before, now).judge().answer == "fail"


def test_a_certain_change_that_does_not_matter_passes():
    before, now = pair(5, n=4000, shift=1)
    judged = Level("metric", before, now, matters=0.05).judge()
    assert judged.p < 0.001
    assert judged.answer == "pass"


def test_what_moves_both_is_left_out_of_a_pair():
    day = 40 * np.sin(np.linspace(0, 4 * np.pi, 60))
    before, now = pair(6, n=60, shift=8)
    apart = Level("metric", before + day, now + day).judge()
    together = Level("metric", before + day, now + day, paired=True).judge()
    assert (apart.answer, together.answer) == ("inconclusive", "fail")
    with pytest.raises(ValueError, match="same intervals"):
        Level("metric", before, now[1:], paired=True).judge()


def test_gaps_in_either_take_a_pair_out():
    before, now = pair(7, shift=5)
    before[3], now[8] = np.nan, np.nan
    judged = Level("metric", before, now, paired=True).judge()
    kept = np.delete(now - before, [3, 8])
    assert judged.estimate == pytest.approx(kept.mean())


def test_too_few_intervals_are_no_answer():
    judged = Level("metric", [1.0, 2.0, 3.0, np.nan, np.nan], np.arange(10.0)).judge()
    assert (judged.answer, judged.p) == ("inconclusive", None)
    assert judged.sentence == "metric can't be judged yet: 3 intervals have a value, 5 are needed."


def test_what_never_varies_is_no_pass_unless_it_differs_too_little():
    still = np.full(30, 7.0)
    assert Level("restarts", np.zeros(30), np.zeros(30)).judge().answer == "inconclusive"
    assert Level("workers", still, still).judge().answer == "inconclusive"
    assert Level("workers", still, still + 1).judge().answer == "fail"
    assert Level("workers", still, still + 0.1).judge().answer == "pass"
    assert Level("workers", still, still + 1, worse="down").judge().answer == "pass"
    moving = pair(8)[0]
    assert Level("metric", moving, moving, paired=True).judge().answer == "inconclusive"


def test_a_metric_around_zero_never_passes_since_nothing_matters_less_than_anything():
    before, now = pair(9)
    centred = before - before.mean()
    assert Level("balance", centred, now - now.mean()).judge().answer == "inconclusive"


@pytest.mark.parametrize("bad", [[np.inf] * 9, [[1.0, 2.0]]])
def test_series_of_another_shape_are_refused(bad):
    with pytest.raises(ValueError, match="A series"):
        Level("metric", bad, np.arange(9.0)).judge()


def test_the_power_is_at_most_the_exact_one_and_near_it():
    for freedom in (8.0, 20.0, 60.0):
        reach = -stats.t.ppf(0.025, freedom)
        exact = stats.nct.sf(reach, freedom, 3.0)
        assert _power(3.0, reach, _Change(0, 1, freedom, 0, 0)) == pytest.approx(exact, abs=0.03)


def test_twenty_healthy_metrics_fail_together_as_rarely_as_one():
    failed = 0
    for trial in range(60):
        answers = judge_all([Level("metric", *pair(100 * trial + i)) for i in range(20)])
        failed += any(judged.answer == "fail" for judged in answers)
    assert failed <= 7
