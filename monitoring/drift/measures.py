"""Distances between two histograms over the same cells, and the tests of proportions that go with them.

Counts are one-dimensional, one entry per cell, reference first. All logarithms are natural unless a base is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

ZERO_SHARE = 1e-4
"""Share that stands in for an empty cell, so that a logarithm exists; the other shares are left as they are."""

EXPECTED_MINIMUM = 5.0
"""Expected count below which a cell is too small for chi-square's and PSI's large-sample theory (Cochran 1954)."""

EXACT_ROWS = 10_000
"""Rows of the larger sample up to which SciPy, and so this, counts the Kolmogorov-Smirnov p-value exactly."""

SMALLEST_EXACT_P = 1e-10
"""Below this the exact p-value would be lost in rounding, and the asymptotic one is given; not so while both samples
have COUNTABLE_ROWS together, whose paths a float can count."""

COUNTABLE_ROWS = 1000

SERIES_ROWS = 5000
"""Effective rows from which Smirnov's series stands for SciPy's sum."""

TAIL, FAR_TAIL = 2.2, 18.0
"""n D^2 from which two-sided is twice one-sided to a float's precision, and from which p is below 1e-15."""


@dataclass(frozen=True)
class TestResult:
    """A statistic, its p-value, and its degrees of freedom where it has them."""

    __test__ = False

    statistic: float
    p: float
    dof: int | None = None


def shares(counts: ArrayLike) -> NDArray[np.float64]:
    """Counts divided by their sum. Raises ValueError when there is nothing to divide."""
    array = np.asarray(counts, dtype=np.float64)
    total = float(array.sum())
    if total <= 0:
        raise ValueError("The counts are all zero; shares need at least one row.")
    return array / total


def _filled(counts: ArrayLike) -> NDArray[np.float64]:
    share = shares(counts)
    return np.where(share == 0, ZERO_SHARE, share)


def psi(reference: ArrayLike, window: ArrayLike) -> float:
    """Population stability index, sum (q - p) ln(q / p) (Siddiqi 2006), with empty cells at ZERO_SHARE."""
    p, q = _filled(reference), _filled(window)
    return float(np.sum((q - p) * np.log(q / p)))


def expected_psi(cells: int, n_reference: int, n_window: int) -> float:
    """What PSI is on average with no drift at all: (k - 1)(1/n + 1/m) (Yurdakul 2018, eq. 4)."""
    return max(cells - 1, 0) * (1 / n_reference + 1 / n_window)


def kl(reference: ArrayLike, window: ArrayLike) -> float:
    """Kullback-Leibler divergence of the reference from the window, in nats, with empty cells at ZERO_SHARE.

    The filled shares are renormalised, so the answer is never below zero.
    """
    p, q = _filled(reference), _filled(window)
    p, q = p / p.sum(), q / q.sum()
    return float(np.sum(p * np.log(p / q)))


def js_distance(reference: ArrayLike, window: ArrayLike) -> float:
    """Jensen-Shannon distance: the root of the divergence in bits, so 0 is equal and 1 is disjoint (Lin 1991)."""
    p, q = shares(reference), shares(window)
    middle = (p + q) / 2
    divergence = float(np.sum(special.rel_entr(p, middle) + special.rel_entr(q, middle))) / (2 * math.log(2))
    return math.sqrt(max(divergence, 0.0))


def hellinger(reference: ArrayLike, window: ArrayLike) -> float:
    """Hellinger distance, 0 to 1."""
    p, q = shares(reference), shares(window)
    return float(np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2))


def total_variation(reference: ArrayLike, window: ArrayLike) -> float:
    """Half the summed absolute difference of shares: the share of rows that would have to change cell."""
    return float(np.abs(shares(reference) - shares(window)).sum() / 2)


def largest_difference(reference: ArrayLike, window: ArrayLike) -> float:
    """The largest absolute difference of two shares (L-infinity)."""
    return float(np.abs(shares(reference) - shares(window)).max())


def pool_rare(
    reference: NDArray[np.int64], window: NDArray[np.int64], *, keep_observed: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Put together the cells that are too small for the smaller sample, which get fewer than EXPECTED_MINIMUM rows.

    A cell's size is what the two samples' sum lets expect in the smaller one. That depends on the sum alone, so a test
    that follows keeps its level. With `keep_observed` it is the larger of both samples' shares, so that a cell which
    only a small window fills stays visible: for distances, not for tests. Cells empty in both samples are dropped. The
    pooled cell comes last; while it is still too small it takes in the smallest other cell.
    """
    n, m, both = int(reference.sum()), int(window.sum()), reference + window
    if n == 0 or m == 0:
        return reference[both > 0], window[both > 0]
    size = np.maximum(reference / n, window / m) if keep_observed else both / (n + m)
    size = size * min(n, m)
    order = np.argsort(size, kind="stable")
    order = order[both[order] > 0]
    rare = int(np.searchsorted(size[order], EXPECTED_MINIMUM))
    while 0 < rare < len(order) and size[order[:rare]].sum() < EXPECTED_MINIMUM:
        rare += 1
    pooled, kept = order[:rare], np.sort(order[rare:])
    if rare < 2:
        pooled, kept = order[:0], np.sort(order)
    return _with_pool(reference, kept, pooled), _with_pool(window, kept, pooled)


def _with_pool(counts: NDArray[np.int64], kept: NDArray[np.intp], pooled: NDArray[np.intp]) -> NDArray[np.int64]:
    return np.append(counts[kept], counts[pooled].sum()) if len(pooled) else counts[kept]


def chi_square(reference: ArrayLike, window: ArrayLike) -> TestResult:
    """Pearson's two-sample chi-square test of one distribution behind both (2 x k table, no continuity correction).

    The reference is a sample too: treating it as exactly known gives many times the stated false alarms. Cells empty
    in both samples count for nothing. Raises ValueError when one sample is empty.
    """
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(window, dtype=np.float64)
    n, m = float(a.sum()), float(b.sum())
    if n <= 0 or m <= 0:
        raise ValueError("A chi-square test needs rows in both samples.")
    both = a + b
    used = both > 0
    a, b, both = a[used], b[used], both[used]
    statistic = float(np.sum((a * math.sqrt(m / n) - b * math.sqrt(n / m)) ** 2 / both))
    dof = len(both) - 1
    return TestResult(statistic, float(special.chdtrc(dof, statistic)) if dof else 1.0, dof)


def ks_p(statistic: float, n: int, m: int) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov statistic, as SciPy's default: exact while neither sample is larger
    than EXACT_ROWS, else asymptotic. Both are conservative with ties."""
    if n == 0 or m == 0:
        return 1.0
    if max(n, m) > EXACT_ROWS:
        return ks_p_asymptotic(statistic, n, m)
    if n + m > COUNTABLE_ROWS and (asymptotic := ks_p_asymptotic(statistic, n, m)) < SMALLEST_EXACT_P:
        return asymptotic
    return _ks_p_equal(statistic, n) if n == m else _ks_p_exact(statistic, min(n, m), max(n, m))


def ks_p_asymptotic(statistic: float, n: int, m: int) -> float:
    """The same for large samples, by the one-sample distribution with n m / (n + m) rows.

    SciPy sums as many terms as there are rows in the tail; here it is Smirnov's series, of which 4 terms are within
    1e-9 from SERIES_ROWS on.
    """
    from scipy import stats  # takes most of a second to import, and pages that only want an interval import this module

    big, small = float(max(n, m)), float(min(n, m))
    effective = max(round(big / (big + small) * small), 1)
    if effective >= SERIES_ROWS and effective * statistic**2 >= TAIL:
        return min(2 * _smirnov_tail(effective, statistic), 1.0)
    with np.errstate(divide="ignore"):
        return float(np.clip(stats.kstwo.sf(statistic, effective), 0.0, 1.0))


def _smirnov_tail(n: int, statistic: float) -> float:
    """P(D+ >= x) for n rows, by powers of 1 / sqrt(n) with z = x sqrt(n) (Smirnov 1944; Lauwerier 1963); in the far
    tail, where that series needs more terms, exp(-(6 n x + 1)^2 / 18 n) (Maag and Dicaire 1971)."""
    z, root = statistic * math.sqrt(n), math.sqrt(n)
    square = z * z
    if square > FAR_TAIL:
        return math.exp(max(-((6 * n * statistic + 1) ** 2) / (18 * n), -745.0))
    series = 1 - 2 * z / (3 * root) + 2 * square / (3 * n) * (1 - 2 * square / 3)
    series += 4 * z / (9 * n * root) * (0.2 - 19 * square / 15 + 2 * square * square / 3)
    return math.exp(-2 * square) * series


def _ks_p_equal(statistic: float, n: int) -> float:
    """The exact p-value for two samples of n: 2 sum (-1)^(k-1) C(2n, n - k h) / C(2n, n), h = n D (Hodges 1958)."""
    reach = round(statistic * n)
    if reach == 0:
        return 1.0
    k = np.arange(1, n // reach + 1)
    logarithms = 2 * special.gammaln(n + 1) - special.gammaln(n - k * reach + 1) - special.gammaln(n + k * reach + 1)
    return float(np.clip(2 * np.sum(np.where(k % 2, 1.0, -1.0) * np.exp(logarithms)), 0.0, 1.0))


@lru_cache(maxsize=4096)
def _ks_p_exact(statistic: float, n: int, m: int) -> float:
    """1 less the share of lattice paths from (0, 0) to (n, m) that stay nearer than `statistic` to the diagonal
    (Hodges 1958). Paths are counted row by row, each the running sum of the one before, within the band."""
    reach = round(statistic * math.lcm(n, m))
    if reach == 0:
        return 1.0
    step_n, step_m = math.lcm(n, m) // n, math.lcm(n, m) // m
    paths, logarithm = np.ones(m + 1), 0.0
    for i in range(n + 1):
        low = max((i * step_n - reach) // step_m + 1, 0)
        high = min(-((-i * step_n - reach) // step_m) - 1, m)
        if high < low:
            return 1.0
        if i:
            paths[:low] = 0.0
            paths[low : high + 1] = np.cumsum(paths[low : high + 1])
        paths[high + 1 :] = 0.0
        largest = float(paths[low : high + 1].max())
        if largest == 0:
            return 1.0
        if largest > 1e200:
            paths, logarithm = paths / largest, logarithm + math.log(largest)
    if paths[m] == 0:
        return 1.0
    every = special.gammaln(n + m + 1) - special.gammaln(n + 1) - special.gammaln(m + 1)
    return min(max(-math.expm1(math.log(float(paths[m])) + logarithm - float(every)), 0.0), 1.0)


def proportions_p(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    """Two-sided p-value that two proportions are equal: Fisher's exact test when small, else the pooled z test."""
    hits, n = hits_a + hits_b, n_a + n_b
    if n_a == 0 or n_b == 0 or hits in (0, n):
        return 1.0
    if min(hits, n - hits) * min(n_a, n_b) / n < EXPECTED_MINIMUM:
        return _fisher_p(hits_a, n_a, hits, n)
    return float(2 * special.ndtr(-abs(proportions_z(hits_a, n_a, hits_b, n_b))))


def _fisher_p(hits_a: int, n_a: int, hits: int, n: int) -> float:
    """Fisher's exact test, two-sided: the chance of all tables that are no likelier than this one (as SciPy counts)."""
    k = np.arange(max(0, hits - n + n_a), min(hits, n_a) + 1, dtype=np.float64)
    logarithms = _log_choose(n_a, k) + _log_choose(n - n_a, hits - k) - _log_choose(n, hits)
    chances = np.exp(logarithms)
    return float(min(chances[chances <= chances[hits_a - int(k[0])] * (1 + 1e-7)].sum(), 1.0))


def _log_choose(n: int, k: ArrayLike) -> NDArray[np.float64]:
    k = np.asarray(k, dtype=np.float64)
    return special.gammaln(n + 1) - special.gammaln(k + 1) - special.gammaln(n - k + 1)


def proportions_z(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    """Pooled two-proportion z statistic, positive when the second proportion is larger; 0 without variation."""
    pooled = (hits_a + hits_b) / (n_a + n_b)
    variance = pooled * (1 - pooled) * (1 / n_a + 1 / n_b)
    return (hits_b / n_b - hits_a / n_a) / math.sqrt(variance) if variance > 0 else 0.0


def wilson(hits: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927); (0, 1) when there are no rows. Rows that depend on each
    other are fewer than counted: a fraction of a row is taken as it is."""
    if n == 0:
        return 0.0, 1.0
    z = float(special.ndtri(0.5 + confidence / 2))
    share = hits / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if hits == 0 else max((centre - half) / scale, 0.0)
    high = 1.0 if hits == n else min((centre + half) / scale, 1.0)
    return low, high
