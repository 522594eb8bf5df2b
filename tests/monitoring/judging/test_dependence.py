"""How much a series says about its mean."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.judging.dependence import LARGEST_PHI, Dependence, dependence, effective_size
from tests.monitoring.judging.samples import autoregression


@given(phi=st.floats(0.01, 0.97), n=st.integers(2, 200))
def test_the_inflation_is_the_sum_it_stands_for(phi, n):
    k = np.arange(1, n)
    assert Dependence(phi, phi).inflation(n) == pytest.approx(1 + 2 * np.sum((1 - k / n) * phi**k))


def test_independent_values_count_in_full():
    assert Dependence(0.0, 0.0).inflation(50) == 1
    assert Dependence(0.0, 0.0).effective(50) == 50
    assert Dependence(0.5, 0.5).effective(100_000) == pytest.approx(100_000 / 3, rel=1e-3)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_phi_is_found_without_its_bias(phi):
    found = [
        dependence([autoregression(phi, 40, seed), autoregression(phi, 40, seed + 1000)]).phi for seed in range(600)
    ]
    assert np.mean(found) == pytest.approx(phi, abs=0.03)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.8])
def test_the_variance_of_the_mean_is_what_simulation_finds(phi):
    means = np.var([autoregression(phi, 60, seed).mean() for seed in range(4000)])
    assert 1 / Dependence(phi, phi).effective(60) == pytest.approx(means, rel=0.08)


def test_gaps_join_no_neighbours():
    whole = autoregression(0.8, 4000, 1)
    gappy = whole.copy()
    gappy[::10] = np.nan
    assert dependence([gappy]).phi == pytest.approx(dependence([whole]).phi, abs=0.03)
    only_gaps = whole.copy()
    only_gaps[::2] = np.nan
    assert dependence([only_gaps]).cautious == LARGEST_PHI


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3))
def test_unit_and_zero_point_make_no_difference(scale, shift):
    values = autoregression(0.5, 60, 2)
    assert effective_size(scale * values + shift) == pytest.approx(effective_size(values), rel=1e-6)


def test_alternating_values_count_for_no_more_than_they_are():
    assert effective_size(np.resize([0.0, 1.0], 60)) == 60


def test_a_series_that_never_varies_counts_in_full():
    assert effective_size(np.ones(30)) == 30
    assert effective_size([]) == 0


def test_dependence_that_an_autoregression_does_not_show_is_seen():
    """Each value is the sum of two: a slow one and noise. Neighbours are little alike, and stay so for long."""
    rng = np.random.default_rng(5)
    slow = autoregression(0.98, 20_000, 5)
    mixed = slow + 2 * rng.normal(size=20_000)
    known = dependence([mixed])
    assert known.phi < 0.3
    assert known.inflation(20_000) > 10
    assert effective_size(mixed) == pytest.approx(20_000 / known.summed)
