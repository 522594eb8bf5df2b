"""Exact two-sample statistics of numeric columns from one sort per column, ties exact.

For when both samples are at hand, as in a replay: nothing is binned but PSI and JS, whose cells are the reference's
deciles. Each sample is sorted with NumPy's vectorised sort and the two runs are merged once; every statistic is then
a sum over the merged order. NumPy lets go of the interpreter while it sorts, so columns run in threads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift import measures
from monitoring.drift.measures import TestResult
from monitoring.drift.values import numeric_values


@dataclass(frozen=True)
class ExactDrift:
    """Statistics of one column's finite values; `wasserstein` is in the column's own unit, JS a distance in base 2."""

    n_reference: int
    n_window: int
    ks: TestResult
    wasserstein: float
    psi: float
    js: float


def compare_exact(reference: ArrayLike, window: ArrayLike) -> ExactDrift:
    """Compare two samples of shape (n,) and (m,). Raises ValueError when one has no finite value."""
    a, b = numeric_values(reference).finite, numeric_values(window).finite
    n, m = len(a), len(b)
    if n == 0 or m == 0:
        raise ValueError("An exact comparison needs a finite value in both samples.")
    merged = np.concatenate((a, b), dtype=np.float64)
    # Two ascending runs: the stable sort finds them and merges in linear time.
    order = np.argsort(merged, kind="stable")
    merged = merged[order]
    in_reference = np.cumsum(order < n)
    in_window = np.arange(1, n + m + 1) - in_reference
    difference = in_reference / n - in_window / m
    gaps = np.diff(merged)
    last_of_tie = np.append(gaps > 0, True)
    statistic = float(np.max(np.abs(difference[last_of_tie])))
    cells_a, cells_b = _decile_counts(a, b)
    return ExactDrift(
        n,
        m,
        TestResult(statistic, measures.ks_p(statistic, n, m)),
        float(np.sum(np.abs(difference[:-1]) * gaps)),
        measures.psi(cells_a, cells_b),
        measures.js_distance(cells_a, cells_b),
    )


def compare_columns(
    reference: Mapping[str, ArrayLike], window: Mapping[str, ArrayLike], *, threads: int | None = None
) -> dict[str, ExactDrift]:
    """Compare every column of `reference` with its namesake, in `threads` threads (one per core when None).

    Raises ValueError when the window lacks a column or a column has no finite value.
    """
    absent = sorted(set(reference) - set(window))
    if absent:
        raise ValueError(f"The window lacks these columns: {', '.join(absent)}.")
    with ThreadPoolExecutor(max_workers=threads or os.cpu_count() or 1) as pool:
        results = pool.map(lambda name: compare_exact(reference[name], window[name]), reference)
        return dict(zip(reference, results, strict=True))


def _decile_counts(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of two sorted samples below `a`'s minimum, in its deciles (closed on the right), above its maximum."""
    ends = np.unique(a[np.arange(1, 11) * (len(a) - 1) // 10])
    return tuple(
        np.diff(
            np.concatenate(
                ([0, np.searchsorted(sample, a[0], "left")], np.searchsorted(sample, ends, "right"), [len(sample)])
            )
        )
        for sample in (a, b)
    )  # type: ignore[return-value]
