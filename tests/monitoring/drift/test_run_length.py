import numpy as np
import pytest

from monitoring.drift.control import cusum
from monitoring.drift.run_length import cusum_run_length, ewma_run_length, shewhart_run_length


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
