import numpy as np
import pytest

from monitoring.drift.latency import compare_latency
from monitoring.drift.profile import Profile, build_profile

RNG = np.random.default_rng(21)
REFERENCE = RNG.lognormal(np.log(20), 0.3, 10_000)


def test_a_slower_window_is_named_with_its_ratios():
    verdict = compare_latency(REFERENCE, np.random.default_rng(1).lognormal(np.log(40), 0.3, 500))
    assert verdict.outcome == "drift"
    assert [ratio.quantile for ratio in verdict.quantiles] == [0.5, 0.95]
    for ratio in verdict.quantiles:
        assert ratio.low < 2 < ratio.high
        assert ratio.slower
    assert verdict.sentence.startswith("Latency is slower: median 4")


def test_a_slower_tail_alone_is_slower():
    window = np.random.default_rng(2).lognormal(np.log(20), 0.3, 1000)
    window[:100] *= 5
    median, tail = compare_latency(REFERENCE, window).quantiles
    assert (median.slower, tail.slower) == (False, True)


def test_a_certain_but_small_rise_is_not_slower():
    window = np.random.default_rng(3).lognormal(np.log(22), 0.3, 20_000)
    verdict = compare_latency(REFERENCE, window)
    assert verdict.quantiles[0].low > 1
    assert verdict.outcome == "no drift"
    fast = compare_latency(REFERENCE / 100, np.random.default_rng(3).lognormal(np.log(0.4), 0.3, 2000))
    assert fast.quantiles[0].ratio > 1.9
    assert fast.outcome == "no drift"


def test_a_profile_of_the_reference_answers_as_the_sample_does():
    profile = Profile.from_json(build_profile({"ms": REFERENCE}, {"ms": "numeric"})).columns["ms"]
    window = np.random.default_rng(4).lognormal(np.log(30), 0.3, 500)
    sample, sketch = compare_latency(REFERENCE, window), compare_latency(profile, window)
    assert sketch.outcome == sample.outcome == "drift"
    for a, b in zip(sample.quantiles, sketch.quantiles, strict=True):
        assert (b.ratio, b.low, b.high) == pytest.approx((a.ratio, a.low, a.high), rel=0.01)


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(500):
        verdict = compare_latency(rng.lognormal(3, 0.5, 2000), rng.lognormal(3, 0.5, 300), quantiles=[0.95], alpha=0.05)
        covered += verdict.quantiles[0].low <= 1 <= verdict.quantiles[0].high
    assert 465 <= covered <= 500


def test_too_few_latencies_are_a_third_answer():
    verdict = compare_latency(REFERENCE, [20.0, np.nan])
    assert (verdict.outcome, verdict.quantiles, verdict.n_window) == ("not enough data", [], 1)
    assert verdict.sentence == "1 latencies in the window and 10000 in the reference; 100 are needed in both."


def test_impossible_latencies_and_quantiles_are_refused():
    with pytest.raises(ValueError, match="below zero"):
        compare_latency(REFERENCE, np.full(100, -1.0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        compare_latency(REFERENCE, REFERENCE, quantiles=[95])
