"""Rollups of metric points, in arrays: what a minute or an hour of a series comes to, and how two such are one.

Nothing here touches the database. Moments are microseconds since 1970 in UTC. A bin is named by its end and holds the
points after its beginning up to and at its end, since a point stands at the end of what it measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring import sketch

MINUTE, HOUR = 60_000_000, 3_600_000_000
"""Lengths of bins in microseconds."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Points(NamedTuple):
    """Points of any series in any order: the series' key, the moment, the value, and the observations behind it."""

    series: Integers
    at: Integers
    value: Floats
    n: Integers


@dataclass(frozen=True)
class Rollups:
    """One row of each array is one bin of one series. `total` is the sum of the values, `weighted` the sum of value
    times n; `last` is the value of the latest point, at `last_at`; `sketches` are as monitoring/sketch.py packs them.
    """

    series: Integers
    bin: Integers
    count: Integers
    n: Integers
    low: Floats
    high: Floats
    total: Floats
    weighted: Floats
    last: Floats
    last_at: Integers
    sketches: list[bytes]

    def __len__(self) -> int:
        return len(self.series)


def latest(points: Points) -> Points:
    """The points ordered by series and moment; of several of one instant, the one that stands last."""
    order = np.lexsort((points.at, points.series))
    ordered = Points(*(column[order] for column in points))
    same = (ordered.series[1:] == ordered.series[:-1]) & (ordered.at[1:] == ordered.at[:-1])
    if not same.any():
        return ordered
    kept = np.concatenate((~same, [True]))
    return Points(*(column[kept] for column in ordered))


def minutes(points: Points) -> Rollups:
    """The rollups by minute of points that are ordered, one for an instant of a series, as `latest` returns them."""
    ends = _ends(points.at, MINUTE)
    starts = _starts(points.series, ends)
    groups = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(ends))))
    last = np.append(starts[1:], len(ends)) - 1 if len(starts) else starts
    numbers = sketch.cells(points.value)
    return Rollups(
        series=points.series[starts],
        bin=ends[starts],
        count=_added(np.ones(len(ends), np.int64), starts),
        n=_added(points.n, starts),
        low=_reduced(np.minimum, points.value, starts),
        high=_reduced(np.maximum, points.value, starts),
        total=_added(points.value, starts),
        weighted=_added(points.value * points.n, starts),
        last=points.value[last],
        last_at=points.at[last],
        sketches=sketch.packed(groups, numbers, np.ones(len(numbers), np.int64), len(starts)),
    )


def combined(parts: Sequence[Rollups], width: int) -> Rollups:
    """The parts in bins of `width`, a multiple of their own, each bin of a series once; nothing is lost but order.

    The parts hold no point twice.
    """
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS}
    ends = _ends(whole["bin"], width)
    order = np.lexsort((whole["last_at"], ends, whole["series"]))
    held = {name: array[order] for name, array in whole.items()}
    ends = ends[order]
    starts = _starts(held["series"], ends)
    last = np.append(starts[1:], len(ends)) - 1 if len(starts) else starts
    groups = np.empty(len(ends), np.int64)
    groups[order] = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(ends))))
    owners, numbers, counts = sketch.unpacked([one for part in parts for one in part.sketches])
    return Rollups(
        series=held["series"][starts],
        bin=ends[starts],
        low=_reduced(np.minimum, held["low"], starts),
        high=_reduced(np.maximum, held["high"], starts),
        last=held["last"][last],
        last_at=held["last_at"][last],
        sketches=sketch.packed(groups[owners], numbers, counts, len(starts)),
        **{name: _added(held[name], starts) for name in ("count", "n", "total", "weighted")},
    )


_ARRAYS = ("series", "bin", "count", "n", "low", "high", "total", "weighted", "last", "last_at")


def _ends(at: Integers, width: int) -> Integers:
    return -(-at // width) * width


def _starts(series: Integers, ends: Integers) -> Integers:
    """Where each run of one bin of one series begins."""
    if not len(series):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], (series[1:] != series[:-1]) | (ends[1:] != ends[:-1]))))


def _added(values: NDArray, starts: Integers) -> NDArray:
    return _reduced(np.add, values, starts)


def _reduced(how: np.ufunc, values: NDArray, starts: Integers) -> NDArray:
    return how.reduceat(values, starts) if len(starts) else values[:0]
