"""Errors, judged by exact tests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.judging.counts import (
    ErrorRate,
    ErrorShare,
    PromisedErrors,
    error_intervals,
    fisher_more,
    poisson_more,
)

CLEAN = np.zeros(50)


def with_errors(count: int, each: int = 1) -> np.ndarray:
    errors = np.zeros(50)
    errors[np.linspace(0, 49, count).round().astype(int)] = each
    return errors


def test_errors_in_five_of_fifty_intervals_fail_against_a_clean_baseline():
    judged = error_intervals(CLEAN, with_errors(5)).judge()
    assert (judged.answer, round(judged.p, 4)) == ("fail", 0.0281)
    assert judged.estimate == pytest.approx(0.1)
    assert judged.sentence == (
        "5 of 50 intervals of the canary had errors (10.0%), 0 of 50 of the baseline (0.0%): more than chance explains "
        "(p = 0.028)."
    )


def test_four_of_fifty_are_no_pass():
    judged = error_intervals(CLEAN, with_errors(4)).judge()
    assert (judged.answer, round(judged.p, 4)) == ("inconclusive", 0.0587)


def test_how_many_errors_an_interval_has_makes_no_difference():
    assert error_intervals(CLEAN, with_errors(5, each=40)).judge() == error_intervals(CLEAN, with_errors(5)).judge()


def test_no_error_in_too_few_intervals_is_no_pass():
    judged = error_intervals(np.zeros(10), np.zeros(10)).judge()
    assert judged.answer == "inconclusive"
    assert judged.sentence.endswith("a share of 48.4% would have been seen.")
    assert error_intervals(CLEAN, CLEAN).judge().answer == "pass"


def test_intervals_without_data_count_for_nothing():
    gaps = np.concatenate([with_errors(5), np.full(20, np.nan)])
    assert error_intervals(CLEAN, gaps) == ErrorShare(0, 50, 5, 50, matters=0.1, unit="intervals")
    assert error_intervals(CLEAN, [np.nan]).judge().sentence == "No intervals of the canary yet."
    with pytest.raises(ValueError, match="less than no errors"):
        error_intervals(CLEAN, [-1.0])


@given(n=st.integers(1, 80), m=st.integers(1, 80), a=st.floats(0, 1), b=st.floats(0, 1))
def test_the_share_test_is_fishers(n, m, a, b):
    errors, now = round(a * n), round(b * m)
    expected = stats.fisher_exact([[now, m - now], [errors, n - errors]], alternative="greater").pvalue
    assert fisher_more(errors, n, now, m) == pytest.approx(expected, abs=1e-9)


def test_the_rate_test_is_the_published_one():
    """Przyborowski and Wilenski's example in Krishnamoorthy and Thomson (2004), 20 of 4 against 10 of 2: no more than
    the rate; and that of scipy's own conditional test."""
    for a, b, times in ((20, 10, 0.5), (0, 5, 1.0), (3, 11, 1.5), (40, 70, 1.0)):
        expected = stats.poisson_means_test(b, times, a, 1.0, alternative="greater").pvalue
        exact = stats.binomtest(b, a + b, times / (1 + times), alternative="greater").pvalue
        assert poisson_more(a, b, times) == pytest.approx(exact, rel=1e-9)
        assert poisson_more(a, b, times) >= expected - 0.02
    assert poisson_more(0, 5, 1.0) == 0.03125


def test_a_rate_of_errors_is_judged_against_a_clean_baseline():
    assert ErrorRate(0, 10, 5, 10).judge().answer == "fail"
    assert ErrorRate(0, 10, 4, 10).judge().answer == "inconclusive"
    assert ErrorRate(0, 10, 0, 10).judge().answer == "inconclusive"
    assert ErrorRate(100, 10, 104, 10).judge().answer == "pass"
    assert ErrorRate(0, 0, 4, 10).judge().answer == "inconclusive"
    with pytest.raises(ValueError, match="below zero"):
        ErrorRate(-1, 10, 4, 10).judge()


def test_the_rates_interval_is_clopper_and_pearsons():
    judged = ErrorRate(10, 2.0, 30, 3.0).judge(0.025)
    interval = stats.binomtest(30, 40).proportion_ci(0.95, "exact")
    assert judged.estimate == pytest.approx(2.0)
    assert judged.low == pytest.approx(interval.low / (1 - interval.low) / 1.5)
    assert judged.high == pytest.approx(interval.high / (1 - interval.high) / 1.5)


@settings(max_examples=40)
@given(a=st.integers(0, 40), b=st.integers(0, 40), exposure=st.floats(0.5, 50), unit=st.floats(0.1, 10))
def test_the_unit_of_exposure_makes_no_difference(a, b, exposure, unit):
    one = ErrorRate(a, 10.0, b, exposure).judge()
    other = ErrorRate(a, 10.0 * unit, b, exposure * unit).judge()
    assert one.p == pytest.approx(other.p, rel=1e-9)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-9)


@given(a=st.integers(0, 60), b=st.integers(0, 59))
def test_one_error_more_is_never_better(a, b):
    fewer, more = ErrorShare(a, 60, b, 60).judge(), ErrorShare(a, 60, b + 1, 60).judge()
    order = ["pass", "inconclusive", "fail"]
    assert more.p <= fewer.p + 1e-12
    assert order.index(more.answer) >= order.index(fewer.answer)


def test_the_power_is_what_simulation_finds():
    rng = np.random.default_rng(3)
    judged = ErrorShare(0, 50, 0, 50, matters=0.15).judge()
    found = np.mean([fisher_more(0, 50, int(errors), 50) <= 0.05 for errors in rng.binomial(50, 0.15, 4000)])
    assert judged.power == pytest.approx(found, abs=0.02)
    seen = np.mean(rng.binomial(50, judged.detectable, 20_000) >= 5)
    assert seen == pytest.approx(0.8, abs=0.01)


def test_a_certain_rise_that_does_not_matter_passes():
    judged = ErrorShare(100, 1_000_000, 200, 1_000_000, matters=0.01).judge()
    assert judged.p < 0.001
    assert judged.answer == "pass"


@pytest.mark.parametrize(
    ("errors", "requests", "answer"),
    [
        (0, 15, "inconclusive"),
        (0, 16, "pass"),
        (1, 20, "inconclusive"),
        (3, 20, "fail"),
        (40, 40, "fail"),
        (1, 200, "inconclusive"),
        (5, 2000, "pass"),
        (0, 0, "inconclusive"),
    ],
)
def test_errors_against_what_is_allowed(errors, requests, answer):
    assert PromisedErrors(errors, requests, allowed=0.01, matters=0.1).judge(0.025).answer == answer


def test_errors_against_what_is_allowed_are_judged_exactly():
    judged = PromisedErrors(3, 20, allowed=0.01, matters=0.1).judge(0.025)
    exact = stats.binomtest(3, 20, 0.01, alternative="greater")
    interval = stats.binomtest(3, 20).proportion_ci(0.95, "exact")
    assert judged.p == pytest.approx(exact.pvalue)
    assert (judged.low, judged.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("question", [ErrorShare(5, 4, 0, 4), ErrorShare(0, 4, -1, 4), PromisedErrors(3, 2, 0.1, 0.1)])
def test_counts_that_can_not_be_are_refused(question):
    with pytest.raises(ValueError, match="Of so many"):
        question.judge()


def test_errors_that_come_in_runs_where_all_is_well_count_for_less():
    runs = np.zeros(50)
    runs[[3, 4, 5, 6, 30, 31, 32, 33]] = 1
    more = np.zeros(50)
    more[[1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 27, 28, 29, 40, 41, 42]] = 1
    scattered = np.zeros(50)
    scattered[np.arange(8) * 6] = 1
    judged = error_intervals(runs, more).judge()
    assert judged.answer == "inconclusive"
    assert "Errors come in runs: " in judged.sentence
    assert error_intervals(scattered, more).judge().p < judged.p
    assert error_intervals(scattered, np.ones(50)).judge().answer == "fail"


def test_a_run_of_errors_against_a_clean_baseline_fails():
    together = np.zeros(50)
    together[20:25] = 1
    assert error_intervals(CLEAN, together).judge() == error_intervals(CLEAN, with_errors(5)).judge()
