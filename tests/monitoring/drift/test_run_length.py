import math

import numpy as np
import pytest

from monitoring.drift.control import c4, cusum
from monitoring.drift.rules import western_electric
from monitoring.drift.run_length import (
    cusum_run_length,
    deviation_run_length,
    ewma_run_length,
    proportion_run_length,
    rate_run_length,
    shewhart_run_length,
    simulated_run_length,
)


def test_a_shewhart_chart_runs_370_points_and_44_after_a_shift_of_one_sigma():
    assert shewhart_run_length() == pytest.approx(370.40, abs=0.01)
    assert shewhart_run_length(1) == pytest.approx(43.89, abs=0.01)
    assert shewhart_run_length(-1) == shewhart_run_length(1)


@pytest.mark.parametrize(("h", "quiet", "shifted"), [(4, 167.67, 8.38), (5, 465.37, 10.38)])
def test_cusum_run_lengths_are_the_known_ones(h, quiet, shifted):
    assert cusum_run_length(h=h) == pytest.approx(quiet, rel=3e-4)
    assert cusum_run_length(1, h=h) == pytest.approx(shifted, abs=0.01)


@pytest.mark.parametrize(
    ("weight", "width", "quiet", "shifted"),
    [(0.1, 2.814, 499.1, 10.33), (0.2, 2.962, 499.5, 10.54), (0.4, 3.054, 499.9, 14.26)],
)
def test_ewma_run_lengths_are_the_known_ones(weight, width, quiet, shifted):
    assert ewma_run_length(weight=weight, width=width) == pytest.approx(quiet, rel=1e-3)
    assert ewma_run_length(1, weight=weight, width=width) == pytest.approx(shifted, abs=0.01)


def test_the_chart_itself_runs_as_long_as_its_markov_chain_says():
    rng = np.random.default_rng(5)
    runs = [cusum(rng.normal(1, 1, 200), target=0, sigma=1, h=4).signals[0] + 1 for _ in range(400)]
    assert np.mean(runs) == pytest.approx(cusum_run_length(1, h=4), abs=0.6)


@pytest.mark.parametrize(
    ("numbers", "points"),
    [
        ([1], 370.40), ([1, 2], 225.44), ([1, 3], 166.05), ([1, 4], 152.73), ([1, 2, 3], 132.89), ([1, 2, 4], 122.05),
        ([1, 3, 4], 105.78), ([1, 2, 3, 4], 91.75),
    ],
)  # fmt: skip
def test_zone_rules_taken_together_run_as_long_as_champ_and_woodall_computed(numbers, points):
    found = simulated_run_length(lambda z: western_electric(z, numbers), lambda rng, shape: rng.standard_normal(shape))

    assert found == pytest.approx(points, rel=0.08)


def test_rules_that_never_hit_run_forever():
    assert simulated_run_length(lambda z: [], lambda rng, shape: np.zeros(shape)) == math.inf


def test_charts_of_spreads_shares_and_rates_run_as_long_as_their_own_distributions_say():
    rng = np.random.default_rng(8)
    spreads = rng.standard_normal((400_000, 5)).std(axis=1, ddof=1)
    shares = rng.binomial(50, 0.2, 400_000)
    rates = rng.poisson(10, 400_000)

    factor = c4(5)
    beyond = np.abs(spreads - factor) > 3 * (1 - factor**2) ** 0.5
    assert deviation_run_length(5) == pytest.approx(1 / beyond.mean(), rel=0.1)
    out = np.abs(shares / 50 - 0.2) > 3 * 0.0032**0.5
    assert proportion_run_length(0.2, 50) == pytest.approx(1 / out.mean(), rel=0.1)
    assert rate_run_length(0.01, 1_000) == pytest.approx(1 / (np.abs(rates - 10) > 3 * 10**0.5).mean(), rel=0.1)


def test_a_share_that_no_sample_can_put_out_of_control_has_no_false_alarm():
    # Of one row in two, even all of three lie within three sigma.
    assert proportion_run_length(0.5, 3) == math.inf
