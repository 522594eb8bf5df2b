import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.drift.compare import compare
from monitoring.drift.exact import compare_exact, ks_statistic, sort_reference, wasserstein_distance
from monitoring.drift.profile import build_profile

SAMPLES = st.lists(st.integers(-20, 20).map(float) | st.floats(-1e3, 1e3), min_size=1, max_size=60)


def one(reference, window, kind="numeric"):
    [drift] = compare_exact(sort_reference({"c": reference}, {"c": kind}), {"c": window})
    return drift


@settings(max_examples=120, deadline=None)
@given(SAMPLES, SAMPLES, st.integers(1, 4))
def test_ks_and_wasserstein_equal_scipy_with_any_ties(reference, window, times):
    # Repeats make samples longer than a stretch of ranks, so that the search has something to leave out.
    a, b = np.sort(np.tile(reference, 3 * times)), np.sort(np.tile(window, times))
    assert ks_statistic(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-9)
    assert wasserstein_distance(a, b) == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("rows", [50_000, 33_333])
def test_large_samples_equal_scipy(dtype, rows):
    rng = np.random.default_rng(1)
    reference, window = rng.normal(0, 40, 50_000).astype(dtype), rng.normal(3, 40, rows).astype(dtype)
    result = one(reference, window)
    expected = stats.ks_2samp(reference.astype(float), window.astype(float), method="asymp")
    assert result.ks.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert result.ks.p == pytest.approx(expected.pvalue, abs=1e-9)
    distance = stats.wasserstein_distance(reference, window)
    assert result.wasserstein * np.std(reference.astype(float)) == pytest.approx(distance, abs=1e-9)
    assert result.ks_error == 0.0


def test_what_a_sketch_says_of_cells_is_what_the_whole_sample_says():
    rng = np.random.default_rng(5)
    reference = {"x": rng.integers(0, 9, 4000).astype(float), "k": rng.integers(0, 4, 4000)}
    window = {"x": np.append(rng.integers(1, 10, 500), [np.nan, np.inf]), "k": rng.integers(0, 5, 502)}
    kinds = {"x": "numeric", "k": "categorical"}
    exact = compare_exact(sort_reference(reference, kinds), window)
    for whole, sketched in zip(exact, compare(build_profile(reference, kinds), window), strict=True):
        assert (whole.psi, whole.js, whole.kl, whole.ks) == (sketched.psi, sketched.js, sketched.kl, sketched.ks)
        assert (whole.chi_square, whole.missing_p) == (sketched.chi_square, sketched.missing_p)
        assert whole.wasserstein == (sketched.wasserstein and pytest.approx(sketched.wasserstein, rel=1e-9))


def test_columns_in_threads_equal_columns_one_by_one():
    rng = np.random.default_rng(3)
    reference, window = ({n: rng.normal(0, 1, 500) for n in "abc"} for _ in range(2))
    together = compare_exact(sort_reference(reference, dict.fromkeys("abc", "numeric")), window, threads=3)
    assert [(d.ks, d.wasserstein) for d in together] == [
        (d.ks, d.wasserstein) for d in (one(reference[name], window[name]) for name in "abc")
    ]


def test_a_sample_without_a_finite_value_has_no_distances():
    empty = one([np.nan], [1.0])
    assert (empty.ks, empty.wasserstein, empty.missing_share_reference) == (None, None, 1.0)
    absent = compare_exact(sort_reference({"a": [1.0, 2.0], "b": [1.0, 2.0]}, {"b": "numeric"}), {"a": [1.0]})[0]
    assert (absent.ks, absent.missing_share_window) == (None, 1.0)


def test_a_reference_without_one_of_its_columns_is_refused():
    with pytest.raises(ValueError, match="no values: b"):
        sort_reference({"a": [1.0]}, {"a": "numeric", "b": "numeric"})
    with pytest.raises(ValueError, match="equally many rows"):
        sort_reference({"a": [1.0], "b": [1.0, 2.0]}, {"a": "numeric", "b": "numeric"})
