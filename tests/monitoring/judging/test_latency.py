"""Quantiles of latencies that come in bursts."""

import numpy as np
import pytest

from monitoring.drift.latency import compare_latency
from monitoring.judging.latency import LatencyQuantile, quantile_ratio
from tests.monitoring.judging.samples import autoregression

LIMITS = {"ratio_floor": 1.25, "rise_floor_ms": 1.0, "alpha": 0.05, "minimum_rows": 50}


def bursts(seed: int, *, n: int = 400, phi: float = 0.9, ms: float = 20.0) -> np.ndarray:
    return ms * np.exp(0.4 * autoregression(phi, n, seed))


def test_twice_as_slow_fails_and_equally_fast_passes():
    before = bursts(1)
    assert LatencyQuantile(before, bursts(2, ms=60), ratio=1.5).judge().answer == "fail"
    assert LatencyQuantile(before, bursts(3)).judge().answer == "pass"


def test_healthy_bursts_are_called_slower_as_rarely_as_said():
    """Taken for independent, the same latencies lie outside of their interval in about two of three trials."""
    apart, counted = 0, 0
    for seed in range(200):
        before, now = bursts(seed), bursts(seed + 5000)
        found = quantile_ratio(before, now, 0.5, **LIMITS)
        [taken] = compare_latency(before, now, quantiles=(0.5,), **LIMITS).quantiles
        apart += not found.low <= 1 <= found.high
        counted += not taken.low <= 1 <= taken.high
    assert apart <= 20
    assert counted >= 100


def test_independent_latencies_keep_nearly_their_interval():
    rng = np.random.default_rng(7)
    before, now = rng.lognormal(3, 0.5, 4000), rng.lognormal(3, 0.5, 4000)
    found = quantile_ratio(before, now, 0.95, **LIMITS)
    [taken] = compare_latency(before, now, quantiles=(0.95,), **LIMITS).quantiles
    assert (found.reference, found.window, found.ratio) == (taken.reference, taken.window, taken.ratio)
    assert np.log(found.high / found.low) == pytest.approx(np.log(taken.high / taken.low), rel=0.12)


def test_a_rise_of_less_than_a_millisecond_does_not_matter():
    before = bursts(11, ms=0.2)
    judged = LatencyQuantile(before, bursts(12, ms=0.5)).judge()
    assert judged.answer == "pass"
    assert judged.low > 1


def test_few_and_bursty_latencies_are_no_pass():
    judged = LatencyQuantile(bursts(21, n=60, phi=0.97), bursts(22, n=60, phi=0.97), ratio=1.2, rise_ms=0).judge()
    assert judged.answer == "inconclusive"
    assert judged.power < 0.8
    assert LatencyQuantile(bursts(21), [20.0] * 49).judge().answer == "inconclusive"


def test_missing_latencies_are_left_out():
    before, now = bursts(31), bursts(32)
    gaps = np.concatenate([now, [np.nan, np.inf]])
    assert LatencyQuantile(before, gaps).judge() == LatencyQuantile(before, now).judge()


def test_the_unit_makes_no_difference():
    before, now = bursts(41), bursts(42, ms=30)
    one = LatencyQuantile(before, now, rise_ms=1).judge()
    other = LatencyQuantile(before * 1000, now * 1000, rise_ms=1000).judge()
    assert one.answer == other.answer
    assert (one.estimate, one.p, one.power) == pytest.approx((other.estimate, other.p, other.power))


def test_quantiles_and_latencies_that_can_not_be_are_refused():
    with pytest.raises(ValueError, match="between 0 and 1"):
        LatencyQuantile(bursts(1), bursts(2), quantile=95).judge()
    with pytest.raises(ValueError, match="below zero"):
        LatencyQuantile(-bursts(1), bursts(2)).judge()
