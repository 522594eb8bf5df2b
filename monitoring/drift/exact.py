"""Exact two-sample statistics of whole tables from one sort per column, ties exact.

For when both samples are at hand, as in a replay: nothing is binned but PSI and its kin, whose cells are the
reference's deciles. Each column is sorted once with NumPy's vectorised sort. Wasserstein's distance is then a sum over
ranks, which are the same for all columns of one length, and the Kolmogorov-Smirnov statistic is looked for only in
those stretches of ranks where it can lie. The reference is sorted once, so a new window pays for itself alone. NumPy
lets go of the interpreter while it sorts, so columns run in threads. Numeric columns of large tables go to a CUDA
device where there is one (monitoring/drift/accelerated.py), with the same results.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift import accelerated, measures
from monitoring.drift.accelerated import Sorted
from monitoring.drift.compare import ColumnDrift, compare_column
from monitoring.drift.measures import TestResult
from monitoring.drift.profile import (
    Kind,
    NumericProfile,
    NumericWindow,
    Profile,
    profile_categorical,
    profile_numeric,
    row_count,
)
from monitoring.drift.values import NumericValues, as_float32, category_counts, numeric_values
from monitoring.drift.window import CategoricalWindow, count_sorted, in_threads

STRETCH = 64
"""Ranks of the reference between two looks of the Kolmogorov-Smirnov search."""

DECILES = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExactReference:
    """A reference held whole: its profile (of deciles), and each numeric column sorted, on torch's `device` where it is
    not None and the column had room there."""

    profile: Profile
    ordered: dict[str, NumericValues | Sorted]
    device: str | None = None


def sort_reference(
    columns: Mapping[str, ArrayLike],
    kinds: Mapping[str, Kind],
    *,
    threads: int | None = None,
    device: str | None = None,
) -> ExactReference:
    """Sort the columns named in `kinds`, each of shape (rows,), in `threads` threads (one per core when None).

    `device` is torch's; None takes CUDA where there is one and the table is large enough to be worth it, else NumPy.
    Raises ValueError when a column is absent or lengths differ.
    """
    absent = sorted(set(kinds) - set(columns))
    if absent:
        raise ValueError(f"These columns have a kind but no values: {', '.join(absent)}.")
    rows = row_count({name: columns[name] for name in kinds})
    numeric = [name for name, kind in kinds.items() if kind == "numeric"]
    device = device or accelerated.accelerator(rows * len(numeric))
    prepare = partial(_prepared, columns, device)
    prepared = dict(zip(numeric, in_threads(prepare, numeric, _threads(device, threads)), strict=True))
    profiled = {name: prepared[name][1] if name in prepared else profile_categorical(columns[name]) for name in kinds}
    return ExactReference(Profile(rows, profiled), {name: found[0] for name, found in prepared.items()}, device)


def _threads(device: str | None, threads: int | None) -> int | None:
    return accelerated.COLUMNS_AT_ONCE if device else threads


def _prepared(
    columns: Mapping[str, ArrayLike], device: str | None, name: str
) -> tuple[NumericValues | Sorted, NumericProfile]:
    if device:
        try:
            with accelerated.on_device(device):
                there = accelerated.sort_column(columns[name], device)
                return there, accelerated.profile_sorted(there, DECILES)
        except accelerated.NoRoom:
            log.warning("the reference's column %s has no room on %s", name, device)
    values = numeric_values(columns[name])
    return values, profile_numeric(values, DECILES)


def compare_exact(
    reference: ExactReference, window: Mapping[str, ArrayLike], *, threads: int | None = None
) -> list[ColumnDrift]:
    """Compare raw columns of shape (rows,) with the reference, column by column, in its order.

    A column that the window lacks is missing in every row, as in `compare`. Raises ValueError when lengths differ.
    """
    rows = row_count(window)

    def one(name: str) -> ColumnDrift:
        known = reference.profile.columns[name]
        column = window.get(name)
        if isinstance(known, NumericProfile):
            values = np.full(rows, np.nan) if column is None else column
            return _compare_numeric(name, known, reference.ordered[name], values)
        counted = CategoricalWindow(*(({}, rows) if column is None else category_counts(column)))
        return compare_column(name, known, counted)

    return in_threads(one, list(reference.profile.columns), _threads(reference.device, threads))


def _compare_numeric(
    name: str, known: NumericProfile, reference: NumericValues | Sorted, column: ArrayLike
) -> ColumnDrift:
    if isinstance(reference, Sorted):
        try:
            with accelerated.on_device(str(reference.finite.device)):
                return _compare_there(name, known, reference, column)
        except accelerated.NoRoom:
            log.warning("the window's column %s has no room on %s", name, reference.finite.device)
            reference = reference.held()
    return _compare_sorted(name, known, reference.finite, numeric_values(column))


def _compare_there(name: str, known: NumericProfile, reference: Sorted, column: ArrayLike) -> ColumnDrift:
    values = accelerated.sort_column(column, str(reference.finite.device))
    counted = accelerated.count_sorted(known, values)
    window = accelerated.like(values.finite, reference.finite)
    if not len(reference.finite) or not len(window):
        return compare_column(name, known, counted)
    statistic = accelerated.ks_statistic(reference.finite, window)
    distance = accelerated.wasserstein_distance(reference.finite, window)
    return _compared(name, known, counted, statistic, distance)


def _compare_sorted(
    name: str, known: NumericProfile, reference: NDArray[np.floating], values: NumericValues
) -> ColumnDrift:
    counted = count_sorted(known, values)
    window = as_float32(values.finite) if known.single else values.finite
    if not len(reference) or not len(window):
        return compare_column(name, known, counted)
    return _compared(name, known, counted, ks_statistic(reference, window), wasserstein_distance(reference, window))


def _compared(
    name: str, known: NumericProfile, counted: NumericWindow, statistic: float, distance: float
) -> ColumnDrift:
    ks = TestResult(statistic, measures.ks_p(statistic, known.n, int(counted.counts.sum())))
    return compare_column(name, known, counted, (ks, 0.0, distance / known.std if known.std else None))


def ks_statistic(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The largest distance between the distribution functions of two samples in ascending order, shapes (n,), (m,).

    With F rising by 1/n at each a_i, it is the largest of (i + 1)/n - G(a_i) and G(a_i-) - i/n (i from 0). Both
    F and G only rise, so the ends of a stretch of ranks bound what can lie within it, and most are never looked into.
    """
    n, m = len(a), len(b)
    starts = np.arange(0, n, STRETCH)
    ends = np.minimum(starts + STRETCH, n)
    at_start, at_end = np.searchsorted(b, a[starts], "right") / m, np.searchsorted(b, a[ends - 1], "left") / m
    best = max(
        float(np.max((starts + 1) / n - at_start)),
        float(np.max(ends / n - np.searchsorted(b, a[ends - 1], "right") / m)),
        float(np.max(at_end - (ends - 1) / n)),
        float(np.max(np.searchsorted(b, a[starts], "left") / m - starts / n)),
    )
    above = _ranks_of(starts, ends, ends / n - at_start > best)
    if len(above):
        best = max(best, float(np.max((above + 1) / n - np.searchsorted(b, a[above], "right") / m)))
    below = _ranks_of(starts, ends, at_end - starts / n > best)
    if len(below):
        best = max(best, float(np.max(np.searchsorted(b, a[below], "left") / m - below / n)))
    return max(best, 0.0)


def _ranks_of(starts: NDArray[np.intp], ends: NDArray[np.intp], chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """All ranks of the chosen stretches, ascending. Only the last stretch may be shorter than the others."""
    ranks = (starts[chosen][:, None] + np.arange(STRETCH)).ravel()
    return ranks[: len(ranks) - int(np.count_nonzero(ranks >= ends[-1]))]


def wasserstein_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """The first Wasserstein distance of two samples in ascending order, in their own unit.

    It is the mean of |F^-1(u) - G^-1(u)| over u; both are steps, whose places depend on n and m alone.
    """
    if len(a) == len(b):
        return float(np.mean(np.abs(np.subtract(a, b, dtype=np.float64))))
    rank_a, rank_b, weights = _quantile_steps(len(a), len(b))
    return float(np.dot(np.abs(np.subtract(a[rank_a], b[rank_b], dtype=np.float64)), weights))


@lru_cache(maxsize=2)
def _quantile_steps(n: int, m: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The steps of both quantile functions together: which rank of each sample, and the share of rows on it."""
    # In units of 1 / (n m), the two run up in steps of m and of n; a stable sort merges the two runs.
    ends = np.unique(np.concatenate((np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)))
    starts = np.concatenate(([0], ends[:-1]))
    return starts // m, starts // n, (ends - starts) / (n * m)
