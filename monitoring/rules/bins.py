"""Rollups of a series as arrays, and what they come to over windows that end at given moments.

Nothing here touches the database. Moments and lengths are microseconds since 1970 in UTC. A window of length w that
ends at t holds the bins that end after t - w and not after t.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SECOND = 1_000_000
MINUTE, HOUR, DAY, WEEK = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND, 604_800 * SECOND


class Bins(NamedTuple):
    """Bins in the order of their ends; several of one end stand in the order in which they were read.

    `n` are the observations behind a bin, `total` the sum of its values and `weighted` that of value times n.
    """

    at: Integers
    count: Integers
    n: Integers
    total: Floats
    weighted: Floats
    low: Floats
    high: Floats


KINDS = (np.int64, np.int64, np.int64, np.float64, np.float64, np.float64, np.float64)


def bins_of(rows: Sequence[Sequence[float]]) -> Bins:
    """Rows of (at, count, n, total, weighted, low, high) in any order."""
    columns = list(zip(*rows, strict=True)) or [()] * len(KINDS)
    found = Bins(*(np.array(column, kind) for column, kind in zip(columns, KINDS, strict=True)))
    order = np.argsort(found.at, kind="stable")
    return Bins(*(column[order] for column in found))


def means(bins: Bins, ends: Integers, window: int) -> Floats:
    """The mean of each window weighed by observations; where a value has none behind it, the mean of the values."""
    n, weighted = sums(bins, bins.n, ends, window), sums(bins, bins.weighted, ends, window)
    count, total = sums(bins, bins.count, ends, window), sums(bins, bins.total, ends, window)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n > 0, weighted / n, total / count)


def totals(bins: Bins, ends: Integers, window: int) -> Floats:
    """The sum of the values of each window."""
    return sums(bins, bins.total, ends, window)


def lowest(bins: Bins, ends: Integers, window: int) -> Floats:
    """The lowest value of each window."""
    return _reduced(np.minimum, bins, bins.low, ends, window)


def highest(bins: Bins, ends: Integers, window: int) -> Floats:
    """The highest value of each window."""
    return _reduced(np.maximum, bins, bins.high, ends, window)


def sums(bins: Bins, values: Integers | Floats, ends: Integers, window: int) -> Floats:
    """The sum of each window's `values`, one to a bin; NaN where a window holds no bin."""
    return _reduced(np.add, bins, values, ends, window)


def _reduced(how: np.ufunc, bins: Bins, values: NDArray, ends: Integers, window: int) -> Floats:
    """Each window is reduced by itself, so that what it comes to does not depend on what else was read with it."""
    first = np.searchsorted(bins.at, ends - window, side="right")
    after = np.searchsorted(bins.at, ends, side="right")
    found = np.full(len(ends), np.nan)
    held = first < after
    if held.any():
        cuts = np.column_stack((first[held], after[held])).ravel()
        found[held] = how.reduceat(np.append(values.astype(np.float64), 0.0), cuts)[::2]
    return found


def stretches(held: Bools) -> list[slice]:
    """Where it is true without a break."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], held.astype(np.int8), [0]))))
    return [slice(int(first), int(after)) for first, after in edges.reshape(-1, 2)]
