"""Is one host slower than the rest? Each against the others, window by window, corrected for their number.

The medians of the same windows are compared, as logarithms of the ratio of a host's to the median of the others': what
slows all of them at once is left out. A host is slow where that matters, as a share and in milliseconds, in most of its
windows, and where their mean exceeds their own spread so far that one window alone would rarely do so by chance. One
alone: latencies wander, a few windows hardly show for how long, and all of them may be worth no more than one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.judging.dependence import LEAST_VALUES, Floats

ALPHA = 0.05
MOST_WINDOWS = 24
PER_WINDOW, LEAST_IN_WINDOW = 15, 8
"""Latencies of a host that a window shall have, and below how many it says nothing of the host."""
MOST = 0.75
"""Share of a host's windows in which it has to be slow."""
RATIO, RISE_MS = 2.0, 2.0


@dataclass(frozen=True)
class Timed:
    """What one host answered: `at` in seconds of any clock that all hosts share, `ms` what it took, both (n,)."""

    at: ArrayLike
    ms: ArrayLike


@dataclass(frozen=True)
class Slow:
    """A host that is slow. `own_ms` and `theirs_ms` are the medians over its windows of its own median and of the
    others'; `slow` of its `windows` were so. `ratio` is the geometric mean over them, `spread` the factor by which they
    lie about it (one standard deviation), and `p` how often one window of such a spread is so far from 1 by chance."""

    host: str
    own_ms: float
    theirs_ms: float
    slow: int
    windows: int
    ratio: float
    spread: float
    p: float


def slow_hosts(latencies: Mapping[str, Timed], alpha: float = ALPHA) -> list[Slow]:
    """The hosts that are slow: at least RATIO times the others' median and RISE_MS above it in at least MOST of their
    windows, and `p` at most `alpha` (Bonferroni over the hosts).

    The time from the first to the last answer is cut into LEAST_VALUES to MOST_WINDOWS equal windows, by the answers
    of the host that gave fewest (of those that gave enough). A host is judged by the windows in which it and another
    have LEAST_IN_WINDOW, LEAST_VALUES of them at least.
    Missing latencies are left out. Raises ValueError for `at` and `ms` of different lengths.
    """
    names = list(latencies)
    medians = _medians([_known(latencies[name]) for name in names])
    found = []
    for row, name in enumerate(names):
        others = np.delete(medians, row, axis=0)
        here = ~np.isnan(medians[row]) & ~np.isnan(others).all(axis=0)
        if here.sum() < LEAST_VALUES:
            continue
        slow = _against(name, medians[row, here], np.nanmedian(others[:, here], axis=0), alpha / len(names))
        found += [slow] if slow is not None else []
    return sorted(found, key=lambda one: one.p)


def _against(name: str, own: Floats, theirs: Floats, alpha: float) -> Slow | None:
    own, theirs = np.maximum(own, 1e-3), np.maximum(theirs, 1e-3)
    slow = (own >= RATIO * theirs) & (own - theirs >= RISE_MS)
    if slow.mean() < MOST:
        return None
    logs = np.log(own / theirs)
    spread = max(float(logs.std(ddof=1)), 1e-9)
    p = float(special.stdtr(len(logs) - 1, -logs.mean() / spread))
    if p > alpha:
        return None
    middle = float(np.median(own)), float(np.median(theirs))
    return Slow(name, *middle, int(slow.sum()), len(slow), math.exp(float(logs.mean())), math.exp(spread), p)


def _known(timed: Timed) -> tuple[Floats, Floats]:
    at, ms = np.asarray(timed.at, dtype=np.float64), np.asarray(timed.ms, dtype=np.float64)
    if at.shape != ms.shape:
        raise ValueError("Each latency needs its time.")
    known = np.isfinite(at) & np.isfinite(ms)
    return at[known], ms[known]


def _medians(hosts: list[tuple[Floats, Floats]]) -> Floats:
    """A row for each host and a column for each window: its median there, NaN where it has too few answers."""
    enough = [len(at) for at, _ in hosts if len(at) >= LEAST_VALUES * LEAST_IN_WINDOW]
    windows = min(MOST_WINDOWS, max(LEAST_VALUES, min(enough) // PER_WINDOW)) if len(enough) > 1 else 0
    medians = np.full((len(hosts), max(windows, 1)), np.nan)
    if windows:
        first = min(at.min() for at, _ in hosts if len(at))
        last = max(at.max() for at, _ in hosts if len(at))
        for row, (at, ms) in enumerate(hosts):
            for column, values in _cut(at, ms, first, last, windows):
                medians[row, column] = np.median(values)
    return medians


def _cut(at: Floats, ms: Floats, first: float, last: float, windows: int) -> Iterator[tuple[int, Floats]]:
    place = np.minimum((at - first) / max(last - first, 1e-9) * windows, windows - 1).astype(np.int64)
    for column in range(windows):
        values = ms[place == column]
        if len(values) >= LEAST_IN_WINDOW:
            yield column, values
