"""What a sketch leaves open: between which two numbers a statistic of the rows lies, and whether a verdict hangs on it.

A sketch tells the share of rows on each side of a value to within `Held.error`, either way, and `hold` takes what lies
nearest to the reference. So each share at an edge is at most twice the error away from the rows', and each cell, which
lies between two edges, four times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitoring.drift import measures
from monitoring.drift.compare import ColumnDrift, compare_column, psi_starts
from monitoring.drift.judge import Limits, unseen_effect
from monitoring.drift.profile import CategoricalWindow, NumericProfile, NumericWindow, Profile
from monitoring.drift.sketch import Held, NotMergeable, Reference, Sketch, hold

OF_A_CELL = 4
Floats = NDArray[np.float64]


def compare_sketches(
    profile: Profile, sketches: Mapping[str, Sketch | None], rows: int, limits: Limits
) -> tuple[list[ColumnDrift], list[str], float]:
    """Each column of the profile against its sketch of a window of `rows` rows: the drifts in the profile's order; the
    names of the columns whose verdict the rows alone can give; and the largest error of the others.

    Rows that a sketch lacks are missing values, and so are all rows of a column that is not named; None is a column
    that hosts counted in ways that do not merge.
    """
    drifts, open_, error = [], [], 0.0
    for name, reference in profile.columns.items():
        held = _held(reference, sketches[name], rows) if name in sketches else _absent(reference, rows)
        drift = compare_column(name, reference, (held or _absent(reference, rows)).window)
        drifts.append(drift)
        if held is None or hangs_on_rows(drift, reference, held, limits):
            open_.append(name)
        else:
            error = max(error, held.error)
    return drifts, open_, error


def _held(reference: Reference, sketch: Sketch | None, rows: int) -> Held | None:
    if sketch is None:
        return None
    try:
        return hold(replace(sketch, missing=sketch.missing + rows - sketch.rows), reference)
    except NotMergeable:
        return None


def _absent(reference: Reference, rows: int) -> Held:
    if isinstance(reference, NumericProfile):
        cells = np.zeros(2 * len(reference.edges) + 1, np.int64)
        return Held(NumericWindow(cells, rows, 0, 0.0, 0.0, 0), 0.0)
    return Held(CategoricalWindow({}, rows), 0.0)


def hangs_on_rows(drift: ColumnDrift, reference: Reference, held: Held, limits: Limits) -> bool:
    """Whether the column's PSI, or its share of unseen values, may lie on either side of what it must reach."""
    if not held.error or drift.psi is None:
        return False
    low, high = psi_between(drift, reference, held)
    if low - drift.psi_noise < limits.psi_floor <= high - drift.psi_noise:
        return True
    most = replace(drift, unseen_share_window=min(drift.unseen_share_window + OF_A_CELL * held.error, 1.0))
    return unseen_effect(drift) < limits.share_floor <= unseen_effect(most)


def psi_between(drift: ColumnDrift, reference: Reference, held: Held) -> tuple[float, float]:
    """The least and the most PSI that the rows behind the sketch can have: each cell's share is as far away as its
    error lets it be, all of them at once. PSI's part of a cell is convex in its share, so its ends bound it."""
    assert drift.psi is not None
    before, now = _shares(reference, held)
    reach = OF_A_CELL * held.error
    low, high = np.maximum(now - reach, measures.ZERO_SHARE), np.maximum(now + reach, measures.ZERO_SHARE)
    parts = [(share - before) * np.log(share / before) for share in (low, np.maximum(now, measures.ZERO_SHARE), high)]
    least = np.where((low <= before) & (before <= high), 0.0, np.minimum(parts[0], parts[2]))
    most = np.maximum(parts[0], parts[2])
    told = float(np.sum(parts[1]))
    return drift.psi - (told - float(np.sum(least))), drift.psi + float(np.sum(most)) - told


def _shares(reference: Reference, held: Held) -> tuple[Floats, Floats]:
    """Each cell's share of the usable rows of the reference, and of the window."""
    if isinstance(reference, NumericProfile):
        assert isinstance(held.window, NumericWindow)
        starts = psi_starts(reference)
        a, b = np.add.reduceat(reference.counts, starts), np.add.reduceat(held.window.counts, starts)
    else:
        assert isinstance(held.window, CategoricalWindow)
        known = dict(reference.counts)
        names = list(dict.fromkeys([*known, *held.window.counts]))
        a = np.array([known.get(name, 0) for name in names])
        b = np.array([held.window.counts.get(name, 0) for name in names])
    return np.maximum(a / max(int(a.sum()), 1), measures.ZERO_SHARE), b / max(int(b.sum()), 1)
