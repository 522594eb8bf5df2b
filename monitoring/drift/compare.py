"""One window against one reference profile, column by column: every statistic, and no judgement yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift import measures
from monitoring.drift.measures import TestResult
from monitoring.drift.profile import (
    CategoricalProfile,
    CategoricalWindow,
    Kind,
    NumericProfile,
    NumericWindow,
    Profile,
    Window,
)
from monitoring.drift.values import Category
from monitoring.drift.window import count_window

Distances = tuple[TestResult | None, float, float | None]
"""Kolmogorov-Smirnov's test, how far above it the exact statistic may lie, and Wasserstein's distance in sigmas."""


@dataclass(frozen=True)
class ColumnDrift:
    """How one column's window differs from its reference.

    `rows_*` are all rows and `n_*` the usable ones. PSI, JS (distance, base 2, 0 to 1), KL (nats) and total variation
    are over the reference's deciles or categories, with out-of-range, missing and infinite values and those of
    another type (`invalid`: text in a column of numbers) as cells of their own; cells that would hold fewer than 5
    rows in the smaller sample are pooled. `psi_noise` is what PSI would be on average without drift. `ks` is for
    numeric and `chi_square` (of the usable values) for categorical columns, None where there is nothing to compare;
    the exact KS statistic is at least the given one and at most `ks_error` above it, so what a sketch leaves out is
    never taken for drift. `wasserstein` is in standard deviations of the reference. `unseen_*` are values outside of
    what the reference held (beyond its range, or new categories): the share in the window, and the share that the
    reference itself lets expect. The p-values are of single tests, not corrected for many.
    """

    name: str
    kind: Kind
    rows_reference: int
    rows_window: int
    n_reference: int
    n_window: int
    psi: float | None
    psi_noise: float
    js: float | None
    kl: float | None
    total_variation: float | None
    ks: TestResult | None
    ks_error: float
    wasserstein: float | None
    chi_square: TestResult | None
    new_categories: list[tuple[Category, int]]
    vanished_categories: list[tuple[Category, int]]
    missing_share_reference: float
    missing_share_window: float
    missing_p: float
    infinite_share_reference: float
    infinite_share_window: float
    infinite_p: float
    invalid_share_reference: float
    invalid_share_window: float
    invalid_p: float
    unseen_share_reference: float
    unseen_share_window: float
    unseen_p: float

    def to_json(self) -> dict:
        """The statistics as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class _Counts:
    """What both kinds of column come down to: cells of both samples, and the rows outside of them."""

    cells_reference: NDArray[np.int64]
    cells_window: NDArray[np.int64]
    n_reference: int
    n_window: int
    missing: tuple[int, int]
    infinite: tuple[int, int]
    unseen: tuple[int, int]
    invalid: tuple[int, int] = (0, 0)


def compare(profile: Profile | Mapping, window: Window | Mapping[str, ArrayLike]) -> list[ColumnDrift]:
    """Compare a window, raw columns of shape (rows,) or already counted, with a profile or its JSON values.

    Returns one entry per column of the profile, in its order. Raises ValueError when the window was counted on
    another profile, or its columns differ in length.
    """
    reference = profile if isinstance(profile, Profile) else Profile.from_json(profile)
    counted = window if isinstance(window, Window) else count_window(reference, window)
    if counted.fingerprint != reference.fingerprint:
        raise ValueError("This window was counted on another reference profile; count it again on this one.")
    return [compare_column(name, column, counted.columns[name]) for name, column in reference.columns.items()]


def compare_column(
    name: str,
    reference: NumericProfile | CategoricalProfile,
    window: NumericWindow | CategoricalWindow,
    exact: Distances | None = None,
) -> ColumnDrift:
    """One column against its reference; `exact` are a numeric column's distances where both samples are at hand."""
    if isinstance(reference, NumericProfile):
        assert isinstance(window, NumericWindow)
        ks, error, wasserstein = exact or _distribution_distances(reference, window)
        counts = _numeric_counts(reference, window)
        return _drift(name, "numeric", counts, ks=ks, ks_error=error, wasserstein=wasserstein)
    assert isinstance(window, CategoricalWindow)
    known = dict(reference.counts)
    fresh = sorted(((v, n) for v, n in window.counts.items() if v not in known), key=lambda item: (-item[1], str(item)))
    gone = [(value, n) for value, n in reference.counts if value not in window.counts]
    counts = _categorical_counts(reference, window, fresh)
    return _drift(
        name,
        "categorical",
        counts,
        chi_square=_chi_square(counts),
        new_categories=[] if reference.other else fresh,
        vanished_categories=gone if counts.n_window else [],
    )


def _numeric_counts(reference: NumericProfile, window: NumericWindow) -> _Counts:
    starts = psi_starts(reference)
    cells_reference = np.add.reduceat(reference.counts, starts)
    cells_window = np.add.reduceat(window.counts, starts)
    outside = int(window.counts[0] + window.counts[-1]) if reference.edges else 0
    # With one edge, its lowest value is its highest.
    ends = {1, 2 * len(reference.edges) - 1} if reference.edges else set()
    lone = sum(int(reference.counts[end] == 1) for end in ends)
    return _Counts(
        cells_reference, cells_window, reference.n, int(window.counts.sum()),
        (reference.missing, window.missing), (reference.infinite, window.infinite),
        (lone, outside), (reference.invalid, window.invalid),
    )  # fmt: skip


def psi_starts(reference: NumericProfile) -> NDArray[np.int64]:
    """Where among a column's cells (see NumericWindow) those of PSI begin: below the reference's minimum, its deciles,
    each of which ends at its edge, and above its maximum."""
    ends = np.asarray(reference.deciles, dtype=np.int64) * 2 + 2
    return np.concatenate(([0, 1], ends)) if len(ends) else np.array([0], dtype=np.int64)


def _categorical_counts(
    reference: CategoricalProfile, window: CategoricalWindow, fresh: list[tuple[Category, int]]
) -> _Counts:
    n_window, new = sum(window.counts.values()), sum(n for _, n in fresh)
    known_reference = [n for _, n in reference.counts]
    known_window = [window.counts.get(value, 0) for value, _ in reference.counts]
    if reference.other:
        added_reference, added_window, unseen = [reference.other], [new], (0, 0)
    else:
        added_reference, added_window = [0] * len(fresh), [n for _, n in fresh]
        unseen = (reference.singletons, new)
    return _Counts(
        np.array(known_reference + added_reference, dtype=np.int64),
        np.array(known_window + added_window, dtype=np.int64),
        reference.n, n_window, (reference.missing, window.missing), (0, 0), unseen,
    )  # fmt: skip


def _drift(
    name: str, kind: Kind, counts: _Counts, *,
    ks: TestResult | None = None, ks_error: float = 0.0, wasserstein: float | None = None,
    chi_square: TestResult | None = None,
    new_categories: list[tuple[Category, int]] | None = None,
    vanished_categories: list[tuple[Category, int]] | None = None,
) -> ColumnDrift:  # fmt: skip
    unusable = list(zip(counts.missing, counts.infinite, counts.invalid, strict=True))
    rows_reference, rows_window = counts.n_reference + sum(unusable[0]), counts.n_window + sum(unusable[1])
    a, b = np.append(counts.cells_reference, unusable[0]), np.append(counts.cells_window, unusable[1])
    a, b = measures.pool_rare(a, b, keep_observed=True)
    comparable = rows_reference > 0 and rows_window > 0
    missing, infinite, invalid = (
        _share_change(hits, rows_reference, rows_window) for hits in (counts.missing, counts.infinite, counts.invalid)
    )
    unseen = _share_change(counts.unseen, counts.n_reference, counts.n_window)
    return ColumnDrift(
        name=name, kind=kind, rows_reference=rows_reference, rows_window=rows_window,
        n_reference=counts.n_reference, n_window=counts.n_window,
        psi=measures.psi(a, b) if comparable else None,
        psi_noise=measures.expected_psi(len(a), rows_reference, rows_window) if comparable else 0.0,
        js=measures.js_distance(a, b) if comparable else None,
        kl=measures.kl(a, b) if comparable else None,
        total_variation=measures.total_variation(a, b) if comparable else None,
        ks=ks, ks_error=ks_error, wasserstein=wasserstein, chi_square=chi_square,
        new_categories=new_categories or [], vanished_categories=vanished_categories or [],
        missing_share_reference=missing[0], missing_share_window=missing[1], missing_p=missing[2],
        infinite_share_reference=infinite[0], infinite_share_window=infinite[1], infinite_p=infinite[2],
        invalid_share_reference=invalid[0], invalid_share_window=invalid[1], invalid_p=invalid[2],
        unseen_share_reference=unseen[0], unseen_share_window=unseen[1], unseen_p=unseen[2],
    )  # fmt: skip


def _share_change(hits: tuple[int, int], n_reference: int, n_window: int) -> tuple[float, float, float]:
    p = measures.proportions_p(hits[0], n_reference, hits[1], n_window)
    return hits[0] / max(n_reference, 1), hits[1] / max(n_window, 1), p


def _chi_square(counts: _Counts) -> TestResult | None:
    if counts.n_reference == 0 or counts.n_window == 0:
        return None
    return measures.chi_square(*measures.pool_rare(counts.cells_reference, counts.cells_window))


def _distribution_distances(reference: NumericProfile, window: NumericWindow) -> Distances:
    """Kolmogorov-Smirnov's test, how far above it the exact statistic may lie, and Wasserstein's distance."""
    n_window = int(window.counts.sum())
    if reference.n == 0 or n_window == 0:
        return None, 0.0, None
    f, g = np.cumsum(reference.counts)[:-1] / reference.n, np.cumsum(window.counts)[:-1] / n_window
    difference = f - g
    statistic = float(np.max(np.abs(difference)))
    ks = TestResult(statistic, measures.ks_p(statistic, reference.n, n_window))
    # Between two edges both functions rise by a known amount, wherever in the gap they do so.
    most = np.maximum(f[2::2] - g[1:-1:2], g[2::2] - f[1:-1:2])
    error = max(float(np.max(most, initial=0.0)) - statistic, 0.0)
    if not reference.std:
        return ks, error, None
    # Inside of a gap between two edges both distribution functions are taken as straight lines.
    left, right, gaps = difference[1:-1:2], difference[2::2], np.diff(reference.edge_array)
    distance = float(np.sum(gaps * _mean_absolute(left, right)))
    distance += abs(window.tail_below / n_window - reference.tail_below / reference.n)
    distance += abs(window.tail_above / n_window - reference.tail_above / reference.n)
    return ks, error, distance / reference.std


def _mean_absolute(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of |f| over an interval on which f is the straight line from `left` to `right`."""
    total = np.abs(left) + np.abs(right)
    crossing = left * right < 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(crossing, (left**2 + right**2) / (2 * total), total / 2)
