"""Windows of production data, counted on a profile's edges so that they can be added up."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from monitoring.drift.profile import (
    CategoricalProfile,
    CategoricalWindow,
    NumericProfile,
    NumericWindow,
    Profile,
    Window,
    cell_counts,
    row_count,
)
from monitoring.drift.values import NumericValues, as_float32, category_counts, numeric_values

WORTH_THREADS = 10_000
"""Rows from which a column's sort is longer than handing it to a thread."""

T = TypeVar("T")
R = TypeVar("R")


def count_window(profile: Profile, columns: Mapping[str, ArrayLike], *, threads: int | None = None) -> Window:
    """Count columns of shape (rows,) on the profile's edges, in `threads` threads (None: one per core when it pays).

    A column of the profile that the window lacks is counted as missing in every row; columns that the profile does
    not know are left out. Raises ValueError when lengths differ.
    """
    rows = row_count(columns)

    def count(name: str) -> NumericWindow | CategoricalWindow:
        reference, column = profile.columns[name], columns.get(name)
        if isinstance(reference, NumericProfile):
            return count_sorted(reference, numeric_values(np.full(rows, np.nan) if column is None else column))
        return CategoricalWindow(*(({}, rows) if column is None else category_counts(column)))

    counted = in_threads(count, list(profile.columns), threads or (1 if rows < WORTH_THREADS else None))
    return Window(profile.fingerprint, rows, dict(zip(profile.columns, counted, strict=True)))


def in_threads(work: Callable[[T], R], over: Sequence[T], threads: int | None) -> list[R]:
    """`work` on each, in order, in `threads` threads (one per core when None). NumPy lets others run while it sorts."""
    workers = min(threads or os.cpu_count() or 1, len(over))
    if workers < 2:
        return [work(item) for item in over]
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(work, over))


def count_sorted(reference: NumericProfile, values: NumericValues) -> NumericWindow:
    """Count one sorted column on the edges of its reference."""
    ordered, edges, n = values.finite, reference.edge_array, len(values.finite)
    if reference.single or ordered.dtype == np.float32:
        ordered, edges = as_float32(ordered), as_float32(edges)
    if len(edges) == 0:
        counts = np.array([n], dtype=np.int64)
        return NumericWindow(counts, values.missing, values.infinite, 0.0, 0.0, values.invalid)
    below, at_or_below = np.searchsorted(ordered, edges, "left"), np.searchsorted(ordered, edges, "right")
    with np.errstate(over="ignore"):
        tail_below = float(np.sum(edges[0] - ordered[: below[0]], dtype=np.float64))
        tail_above = float(np.sum(ordered[at_or_below[-1] :] - edges[-1], dtype=np.float64))
    counts = cell_counts(below, at_or_below, n)
    return NumericWindow(counts, values.missing, values.infinite, tail_below, tail_above, values.invalid)


def merge(a: Window, b: Window) -> Window:
    """The window that holds the rows of both. Raises ValueError when they were counted on different profiles."""
    if a.fingerprint != b.fingerprint:
        raise ValueError("These windows were counted on different reference profiles and can't be added.")
    return Window(a.fingerprint, a.rows + b.rows, {name: _merge(c, b.columns[name]) for name, c in a.columns.items()})


def as_reference(profile: Profile, window: Window) -> Profile:
    """The profile of an earlier window (the period before, the same period last week), on the edges of the training
    reference: what a later window counted on `profile` is compared with, after `recount`.

    Cells, and so PSI's deciles, stay the training reference's. Raises ValueError for a window of another profile.
    """
    if window.fingerprint != profile.fingerprint:
        raise ValueError("This window was counted on another reference profile; count it again on this one.")
    columns = {name: _column_as_reference(known, window.columns[name]) for name, known in profile.columns.items()}
    return Profile(window.rows, columns)


def recount(window: Window, reference: Profile) -> Window:
    """The same window, to be compared with `reference`, which `as_reference` made on the edges it was counted on.

    Raises ValueError where the columns or the number of edges differ.
    """
    for name, column in reference.columns.items():
        counted = window.columns.get(name)
        same = isinstance(counted, NumericWindow) == isinstance(column, NumericProfile)
        if counted is None or not same:
            raise ValueError(f"The window has no column {name} of that kind; count it on this profile's edges.")
        if isinstance(counted, NumericWindow) and len(counted.counts) != len(column.counts):
            raise ValueError(f"The window's column {name} was counted on other edges.")
    return replace(window, fingerprint=reference.fingerprint)


def _column_as_reference(
    known: NumericProfile | CategoricalProfile, window: NumericWindow | CategoricalWindow
) -> NumericProfile | CategoricalProfile:
    if isinstance(known, NumericProfile):
        assert isinstance(window, NumericWindow)
        return numeric_as_reference(known, window)
    assert isinstance(window, CategoricalWindow)
    ranked = sorted(window.counts.items(), key=lambda item: (-item[1], str(item[0])))
    return CategoricalProfile(sum(window.counts.values()), window.missing, ranked)


def numeric_as_reference(known: NumericProfile, window: NumericWindow) -> NumericProfile:
    """One column of `as_reference`."""
    up_to = np.cumsum(window.counts)
    return replace(
        known, n=int(up_to[-1]), missing=window.missing, infinite=window.infinite, invalid=window.invalid,
        below=up_to[:-1:2].tolist(), at_or_below=up_to[1::2].tolist(),
        tail_below=window.tail_below, tail_above=window.tail_above,
    )  # fmt: skip


def _merge(
    a: NumericWindow | CategoricalWindow, b: NumericWindow | CategoricalWindow
) -> NumericWindow | CategoricalWindow:
    if isinstance(a, NumericWindow) and isinstance(b, NumericWindow):
        return NumericWindow(
            a.counts + b.counts,
            a.missing + b.missing,
            a.infinite + b.infinite,
            a.tail_below + b.tail_below,
            a.tail_above + b.tail_above,
            a.invalid + b.invalid,
        )
    assert isinstance(a, CategoricalWindow)
    assert isinstance(b, CategoricalWindow)
    return CategoricalWindow(dict(Counter(a.counts) + Counter(b.counts)), a.missing + b.missing)


def window_to_json(window: Window) -> dict:
    """The counts as JSON values, to be kept beside the predictions they were counted from."""
    columns = {}
    for name, column in window.columns.items():
        if isinstance(column, NumericWindow):
            columns[name] = {
                "kind": "numeric",
                "counts": column.counts.tolist(),
                "missing": column.missing,
                "infinite": column.infinite,
                "tail_below": column.tail_below,
                "tail_above": column.tail_above,
                "invalid": column.invalid,
            }
        else:
            columns[name] = {
                "kind": "categorical",
                "counts": [[value, n] for value, n in column.counts.items()],
                "missing": column.missing,
            }
    return {"fingerprint": window.fingerprint, "rows": window.rows, "columns": columns}


def window_from_json(document: Mapping) -> Window:
    """Read `window_to_json` back."""
    columns: dict[str, NumericWindow | CategoricalWindow] = {}
    for name, column in document["columns"].items():
        if column["kind"] == "numeric":
            columns[name] = NumericWindow(
                np.asarray(column["counts"], dtype=np.int64),
                column["missing"],
                column["infinite"],
                column["tail_below"],
                column["tail_above"],
                column.get("invalid", 0),
            )
        else:
            columns[name] = CategoricalWindow(dict(column["counts"]), column["missing"])
    return Window(document["fingerprint"], document["rows"], columns)
