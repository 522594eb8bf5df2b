"""Every statistic against numbers that others published or compute: SciPy, Evidently, NannyML, Alibi Detect.

Where a number depends on how a peer bins, its bins are given here and the measure is ours.
"""

import numpy as np
import pytest
from scipy import stats

from monitoring.drift import measures
from monitoring.drift.exact import compare_exact, sort_reference, wasserstein_distance
from monitoring.drift.mmd import mmd_test

A, B = np.arange(100), np.arange(20, 120)
SIX_REFERENCE, SIX_WINDOW = [16, 18, 16, 14, 12, 12], [16, 16, 16, 16, 16, 8]
ABC, ABCD = [50, 30, 20, 0], [20, 30, 40, 10]


def sturges(a, b, bins="sturges"):
    """Evidently's cells: Sturges' bins over both samples, or (for Hellinger) eight."""
    edges = np.histogram_bin_edges(np.concatenate((a, b)), bins)
    return np.histogram(a, edges)[0], np.histogram(b, edges)[0]


def doane(a, b):
    """NannyML's cells: Doane's bins of the reference, and one for what lies outside."""
    edges = np.histogram_bin_edges(a, "doane")
    inside = np.histogram(b, edges)[0]
    return np.append(np.histogram(a, edges)[0], 0), np.append(inside, len(b) - inside.sum())


def exact(reference, window, kind="numeric"):
    [drift] = compare_exact(sort_reference({"c": reference}, {"c": kind}), {"c": window})
    return drift


LN2 = np.log(2)
VALUES = {
    "KS statistic of shifted ranges (NannyML, Alibi Detect)": (lambda: exact(A, B).ks.statistic, 0.2, 1e-12),
    "KS exact p (Evidently)": (lambda: exact(A, B).ks.p, 0.03638428787491733, 1e-9),
    "KS asymptotic p (Alibi Detect)": (lambda: measures.ks_p_asymptotic(0.2, 100, 100), 0.03143878, 5e-9),
    "Wasserstein (NannyML)": (lambda: wasserstein_distance(A, B), 20.0, 1e-12),
    "Wasserstein in sigmas (Evidently)": (lambda: exact(A, B).wasserstein, 0.6928549666419952, 1e-12),
    "KL of Sturges' cells (Evidently)": (lambda: measures.kl(*sturges(A, B)), 1.050504731464136, 2e-3),
    "PSI of Sturges' cells (Evidently)": (lambda: measures.psi(*sturges(A, B)), 2.1012195638745648, 1e-9),
    "JS of Sturges' cells (Evidently, nats)": (
        lambda: measures.js_distance(*sturges(A, B)) * LN2**0.5,
        0.3258538224165169,
        1e-12,
    ),
    "Hellinger of eight cells (Evidently)": (lambda: measures.hellinger(*sturges(A, B, 8)), 0.39376519109957164, 1e-12),
    "JS of Doane's cells (NannyML)": (lambda: measures.js_distance(*doane(A, B)), 0.41917968809231987, 1e-12),
    "Hellinger of Doane's cells (NannyML)": (lambda: measures.hellinger(*doane(A, B)), 0.4153797456254356, 1e-12),
    "chi-square of four categories (NannyML, Alibi Detect)": (
        lambda: measures.chi_square(ABC, ABCD).statistic,
        29.523809523809526,
        1e-12,
    ),
    "chi-square p of four categories (NannyML)": (lambda: measures.chi_square(ABC, ABCD).p, 1.7379564e-06, 5e-14),
    "PSI of four categories (Evidently)": (lambda: measures.psi(ABC, ABCD), 1.103601408044551, 1e-12),
    "KL of four categories (Evidently)": (lambda: measures.kl(ABC, ABCD), 0.3186932799693599, 1e-4),
    "JS of four categories (Evidently, nats)": (
        lambda: measures.js_distance(ABC, ABCD) * LN2**0.5,
        0.2912978199346467,
        1e-12,
    ),
    "JS of four categories (NannyML)": (lambda: measures.js_distance(ABC, ABCD), 0.34988433915414435, 1e-12),
    "Hellinger of four categories": (lambda: measures.hellinger(ABC, ABCD), 0.3176940690484213, 1e-12),
    "Hellinger of six categories (Evidently)": (
        lambda: measures.hellinger(SIX_REFERENCE, SIX_WINDOW),
        0.06812,
        1e-5,
    ),
    "largest difference of shares": (lambda: measures.largest_difference(ABC, ABCD), 0.3, 1e-12),
    "largest difference of aabbcc and aabbccd (NannyML)": (
        lambda: measures.largest_difference([2, 2, 2, 0], [2, 2, 2, 1]),
        0.14,
        5e-3,
    ),
    "largest difference of aabbcc and bbbbb (NannyML)": (
        lambda: measures.largest_difference([2, 2, 2], [0, 5, 0]),
        0.67,
        5e-3,
    ),
    "z test of 40 and 50 in 100 (Evidently)": (
        lambda: measures.proportions_p(40, 100, 50, 100),
        0.155218489684684,
        1e-12,
    ),
    "Fisher's test of 6 a and 6 b (Evidently)": (lambda: measures.proportions_p(6, 6, 0, 6), 0.0021, 1e-4),
    "MMD squared of six points (Alibi Detect)": (
        lambda: (
            mmd_test(
                [[0, 0], [1, 0], [0, 1]], [[2, 2], [3, 2], [2, 3]], sigma=1, permutations=0, device="cpu"
            ).statistic
        ),
        1.0016050338745117,
        1e-6,
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_published_value_is_ours(name):
    compute, expected, tolerance = VALUES[name]
    assert compute() == pytest.approx(expected, abs=tolerance)


def test_drawn_samples_have_the_distances_that_nannyml_prints():
    draw = np.random.RandomState
    one, ten, wide = draw(1), draw(1), draw(1)
    a, b = one.normal(0, 1, 10_000), one.normal(1, 1, 1000)
    assert wasserstein_distance(np.sort(a), np.sort(b)) == pytest.approx(1.01, abs=0.05)
    a, b = ten.normal(0, 1, 100_000), ten.normal(-4, 1, 1000)
    assert wasserstein_distance(np.sort(a), np.sort(b)) == pytest.approx(3.99, abs=0.05)
    a, b = wide.normal(0, 1, 15_000), wide.normal(0, 10, 1_000_000)
    assert wasserstein_distance(np.sort(a), np.sort(b)) == pytest.approx(7.18, abs=0.02)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 8), (90, 90), (60, 900), (500, 700), (800, 10_000)])
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_ks_p_values_are_scipys_exact_ones(n, m, shift):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n), rng.normal(shift, size=m)
    expected = stats.ks_2samp(a, b)
    assert measures.ks_p(expected.statistic, n, m) == pytest.approx(expected.pvalue, abs=1e-9)


@pytest.mark.parametrize("square", [0.5, 2.19, 2.2, 5.0, 17.9, 18.1, 60.0])
def test_ks_p_values_of_large_samples_are_scipys(square):
    for n in (5000, 40_000):
        statistic = (square / n) ** 0.5
        expected = stats.kstwo.sf(statistic, n)
        assert measures.ks_p_asymptotic(statistic, 2 * n, 2 * n) == pytest.approx(expected, abs=1e-9)


def test_small_proportions_have_scipys_fisher_p():
    rng = np.random.default_rng(4)
    for _ in range(60):
        n, m = (int(size) for size in rng.integers(5, 400, 2))
        hits = int(rng.integers(0, 4)), int(rng.integers(0, 5))
        if 0 < sum(hits) * min(n, m) < measures.EXPECTED_MINIMUM * (n + m):
            expected = stats.fisher_exact([[hits[0], n - hits[0]], [hits[1], m - hits[1]]])[1]
            assert measures.proportions_p(hits[0], n, hits[1], m) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("cells", [2, 5, 20])
def test_divergences_are_scipys(cells):
    rng = np.random.default_rng(cells)
    a, b = rng.integers(1, 500, cells), rng.integers(1, 500, cells)
    p, q = a / a.sum(), b / b.sum()
    assert measures.kl(a, b) == pytest.approx(stats.entropy(p, q), abs=1e-12)
    assert measures.psi(a, b) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), abs=1e-12)
    expected = stats.chi2_contingency([a, b], correction=False)
    found = measures.chi_square(a, b)
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    assert measures.total_variation(a, b) == pytest.approx(np.abs(p - q).sum() / 2, abs=1e-12)
