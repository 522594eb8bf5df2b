import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.drift import measures
from monitoring.drift.exact import compare_columns, compare_exact

SAMPLES = st.lists(st.integers(-20, 20).map(float) | st.floats(-1e3, 1e3), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning:scipy")
@settings(max_examples=150, deadline=None)
@given(SAMPLES, SAMPLES)
def test_ks_and_wasserstein_equal_scipy_with_any_ties(reference, window):
    result = compare_exact(reference, window)
    assert result.ks.statistic == pytest.approx(stats.ks_2samp(reference, window, method="asymp").statistic, abs=1e-9)
    assert result.wasserstein == pytest.approx(stats.wasserstein_distance(reference, window), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_large_samples_equal_scipy(dtype):
    rng = np.random.default_rng(1)
    reference, window = (rng.normal(mean, 40, 50_000).astype(dtype) for mean in (0, 3))
    result = compare_exact(reference, window)
    expected = stats.ks_2samp(reference.astype(float), window.astype(float), method="asymp")
    assert result.ks.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert result.ks.p == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
    assert result.wasserstein == pytest.approx(stats.wasserstein_distance(reference, window), abs=1e-9)


def test_psi_and_js_are_those_of_the_references_deciles():
    reference, window = np.arange(1, 101), np.concatenate((np.arange(1, 81), np.full(20, 500)))
    tenth, above = np.full(8, 10), [20]
    result = compare_exact(reference, window)
    cells = ([*tenth, 10, 10, 0], [*tenth, 0, 0, *above])
    assert result.psi == pytest.approx(measures.psi(*cells), rel=0.15)
    assert result.js == pytest.approx(measures.js_distance(*cells), rel=0.15)


def test_columns_in_threads_equal_columns_one_by_one():
    rng = np.random.default_rng(3)
    reference, window = ({n: rng.normal(0, 1, 500) for n in "abc"} for _ in range(2))
    together = compare_columns(reference, window, threads=3)
    assert together == {name: compare_exact(reference[name], window[name]) for name in "abc"}


def test_a_sample_without_a_finite_value_is_refused():
    with pytest.raises(ValueError, match="finite value in both"):
        compare_exact([np.nan], [1.0])
    with pytest.raises(ValueError, match="lacks these columns: b"):
        compare_columns({"a": [1.0], "b": [1.0]}, {"a": [1.0]})
