import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitoring.drift import measures

REFERENCE, WINDOW = [50, 30, 20, 0], [20, 30, 40, 10]


def test_the_distances_of_two_known_histograms_have_their_published_values():
    assert measures.psi(REFERENCE, WINDOW) == pytest.approx(1.103601408044551, abs=1e-12)
    assert measures.js_distance(REFERENCE, WINDOW) == pytest.approx(0.34988433915414435, abs=1e-12)
    assert measures.hellinger(REFERENCE, WINDOW) == pytest.approx(0.3176940690484213, abs=1e-12)
    assert measures.total_variation(REFERENCE, WINDOW) == pytest.approx(0.3, abs=1e-12)
    assert measures.js_distance([1, 0], [0, 1]) == 1.0


def test_divergences_equal_scipy():
    assert measures.js_distance(REFERENCE, WINDOW) == pytest.approx(jensenshannon(REFERENCE, WINDOW, base=2), abs=1e-12)
    assert measures.kl([5, 3, 2], [2, 3, 5]) == pytest.approx(stats.entropy([5, 3, 2], [2, 3, 5]), abs=1e-12)


def test_kl_with_an_empty_cell_is_the_published_value_up_to_renormalising():
    assert measures.kl(REFERENCE, WINDOW) == pytest.approx(0.3186932799693599, abs=2e-3)
    assert measures.kl([100, 0], [100, 0]) == 0.0


def test_two_sample_chi_square_equals_the_contingency_table():
    result = measures.chi_square(REFERENCE, WINDOW)
    assert result.statistic == pytest.approx(29.523809523809526, abs=1e-10)
    assert result.p == pytest.approx(1.7379564e-06, rel=1e-6)
    assert result.dof == 3
    odd = ([812, 90, 33, 4], [120, 31, 9, 2])
    expected = stats.chi2_contingency(odd, correction=False)
    assert measures.chi_square(*odd).statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert measures.chi_square(*odd).p == pytest.approx(expected.pvalue, rel=1e-9)


def test_chi_square_of_one_shared_category_finds_nothing():
    assert measures.chi_square([40, 0], [90, 0]) == measures.TestResult(0.0, 1.0, 0)


@pytest.mark.parametrize(("k", "rows"), [(3, 1000), (10, 1000), (20, 1000), (20, 300)])
def test_two_sample_chi_square_keeps_its_level_when_nothing_changed(k, rows):
    rng = np.random.default_rng(k)
    share = rng.dirichlet(np.full(k, 2.0))
    hits = sum(
        measures.chi_square(*measures.pool_rare(rng.multinomial(rows, share), rng.multinomial(rows, share))).p <= 0.05
        for _ in range(2000)
    )
    # 100 expected; a test that takes the reference as known has 460 to 1440 here.
    assert 65 <= hits <= 140


def test_rare_cells_are_pooled_and_no_row_is_lost():
    reference, window = np.array([900, 0, 60, 3, 37]), np.array([80, 0, 8, 1, 11])
    a, b = measures.pool_rare(reference, window)
    assert (a.tolist(), b.tolist()) == ([900, 100], [80, 20])
    a, b = measures.pool_rare(reference, window, keep_observed=True)
    assert (a.tolist(), b.tolist()) == ([900, 37, 63], [80, 11, 9])


def test_a_cell_that_only_a_small_window_fills_stays_visible_in_distances():
    reference, window = np.array([50_000, 50_000, 0]), np.array([40, 40, 20])
    a, b = measures.pool_rare(reference, window, keep_observed=True)
    assert (a.tolist(), b.tolist()) == ([50_000, 50_000, 0], [40, 40, 20])
    a, b = measures.pool_rare(reference, window)
    assert (a.tolist(), b.tolist()) == ([50_000, 50_000], [40, 60])


def test_samples_of_common_cells_are_left_as_they_are():
    a, b = measures.pool_rare(np.array([500, 500]), np.array([40, 60]))
    assert (a.tolist(), b.tolist()) == ([500, 500], [40, 60])


def test_psi_without_drift_is_on_average_what_expected_psi_says():
    rng = np.random.default_rng(7)
    share = np.full(10, 0.1)
    found = [measures.psi(rng.multinomial(20_000, share), rng.multinomial(300, share)) for _ in range(2000)]
    assert np.mean(found) == pytest.approx(measures.expected_psi(10, 20_000, 300), rel=0.05)


def test_two_proportions_have_the_known_p_values():
    assert measures.proportions_p(40, 100, 50, 100) == pytest.approx(0.155218489684684, abs=1e-12)
    assert measures.proportions_p(15, 30, 22, 30) == pytest.approx(0.0634, abs=1e-3)
    small = stats.fisher_exact([[6, 0], [0, 6]]).pvalue
    assert measures.proportions_p(6, 6, 0, 6) == pytest.approx(small, abs=1e-12)
    assert small == pytest.approx(0.0021, abs=1e-4)
    assert measures.proportions_p(0, 100, 0, 100) == 1.0


def test_wilson_equals_scipy():
    for hits, n in ((0, 20), (3, 20), (20, 20), (481, 1000)):
        interval = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert measures.wilson(hits, n) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert measures.wilson(0, 0) == (0.0, 1.0)


def test_an_empty_histogram_is_refused():
    with pytest.raises(ValueError, match="at least one row"):
        measures.psi([0, 0], [1, 2])
