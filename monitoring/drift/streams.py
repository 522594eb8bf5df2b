"""Detectors of change that read a whole stream at once: DDM, HDDM and Page-Hinkley, with river's results to the index.

Each takes a stream that begins anew, shape (n,), and says of every value whether the detector signals there and whether
it warns; what follows the first signal is not meant to be read. `signals` starts a detector again behind each signal.
What a detector keeps of the past is a running sum, a running minimum or an exponential mean, so no value needs a step
of Python's own.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]
Reader = Callable[[Floats], tuple[Marks, Marks]]

FIRST_ROWS = 2_048
"""Values that are read at once behind a signal; twice as many each time that they hold none."""


def signals(stream: Floats, read: Reader) -> tuple[list[int], list[int]]:
    """Positions at which `read` signals, and at which it begins to warn."""
    changes, warned, start, rows = [], np.zeros(len(stream), dtype=bool), 0, FIRST_ROWS
    while start < len(stream):
        change, warning = read(stream[start : start + rows])
        at = int(change.argmax())
        if change[at]:
            changes.append(start + at)
            warned[start : start + at + 1] = warning[: at + 1]
            start, rows = start + at + 1, FIRST_ROWS
        elif start + rows < len(stream):
            rows *= 2
        else:
            warned[start:] = warning
            break
    return changes, np.flatnonzero(warned & ~np.concatenate(([False], warned[:-1]))).tolist()


def ddm(*, warm_start: int = 30, warning_threshold: float = 2.0, drift_threshold: float = 3.0) -> Reader:
    """Gama 2004: the share of errors and its deviation against where their sum was least."""

    def read(errors: Floats) -> tuple[Marks, Marks]:
        n = np.arange(1, len(errors) + 1)
        share = np.cumsum(errors) / n
        deviation = np.sqrt(share * (1 - share) / n)
        told = n > warm_start
        both = np.where(told, share + deviation, np.inf)
        least = _latest(both <= np.minimum.accumulate(both))
        beyond = [
            told & (both > share[least] + width * deviation[least]) for width in (drift_threshold, warning_threshold)
        ]
        return beyond[0], beyond[1] & ~beyond[0]

    return read


def hddm_a(
    *, drift_confidence: float = 0.001, warning_confidence: float = 0.005, two_sided_test: bool = False
) -> Reader:
    """Frias-Blanco 2015, by averages: the mean so far against the mean up to where its upper bound was least."""

    def read(errors: Floats) -> tuple[Marks, Marks]:
        n = np.arange(1, len(errors) + 1)
        mean, bound = np.cumsum(errors) / n, np.sqrt(np.log(1 / drift_confidence) / (2 * n))

        def risen(side: int, confidence: float) -> Marks:
            upper = side * mean + bound
            cut = _latest(upper <= np.minimum.accumulate(upper))
            room = (n - n[cut]) / (n[cut] * n)
            found: Marks = (n > n[cut]) & (side * (mean - mean[cut]) >= np.sqrt(room / 2 * np.log(2 / confidence)))
            return found

        return _both_sides(risen, drift_confidence, warning_confidence, two_sided_test)

    return read


def hddm_w(
    *,
    drift_confidence: float = 0.001,
    warning_confidence: float = 0.005,
    lambda_val: float = 0.05,
    two_sided_test: bool = False,
) -> Reader:
    """Frias-Blanco 2015, by exponential means: the one since the upper bound was least against the one up to there."""

    def read(errors: Floats) -> tuple[Marks, Marks]:
        n, keep = np.arange(len(errors)), 1 - lambda_val
        mean, plain = (_exponential(errors, lambda_val, first) for first in (errors[0], lambda_val * errors[0]))
        weight = _exponential(np.full(len(errors), lambda_val), lambda_val, lambda_val**2 + keep**2, keep**2)
        bound = np.sqrt(weight * np.log(1 / drift_confidence) / 2)

        def risen(side: int, confidence: float) -> Marks:
            upper = side * mean + bound
            before = np.concatenate(([np.inf], np.minimum.accumulate(upper)[:-1]))
            cut = _latest(upper < before)
            first = np.minimum(cut + 1, len(errors) - 1)
            since = plain + keep ** (n - first).clip(0) * (errors[first] - plain[first])
            room = weight[cut] + weight[(n - first).clip(0)]
            found: Marks = (n > cut) & (side * (since - mean[cut]) > np.sqrt(room * np.log(1 / confidence) / 2))
            return found

        return _both_sides(risen, drift_confidence, warning_confidence, two_sided_test)

    return read


def page_hinkley(
    *,
    min_instances: int = 30,
    delta: float = 0.005,
    threshold: float = 50.0,
    alpha: float = 1 - 0.0001,
    mode: str = "both",
) -> Reader:
    """Page 1954: the fading sum of what lies above the mean so far against its least, and of what lies below. It does
    not warn. Raises ValueError for a `mode` but up, down and both."""
    if mode not in ("up", "down", "both"):
        raise ValueError("Page-Hinkley's mode is up, down or both.")

    def read(values: Floats) -> tuple[Marks, Marks]:
        n = np.arange(1, len(values) + 1)
        apart = values - np.cumsum(values) / n
        up, down = (_exponential(apart + by, 1.0, apart[0] + by, alpha) for by in (-delta, delta))
        found = np.zeros(len(values), dtype=bool)
        if mode != "down":
            found |= up - np.minimum.accumulate(up) > threshold
        if mode != "up":
            # river begins its maximum at -1.
            found |= np.maximum(np.maximum.accumulate(down), -1.0) - down > threshold
        return found & (n >= min_instances), np.zeros(len(values), dtype=bool)

    return read


def _latest(marks: Marks) -> NDArray[np.int64]:
    """For each position, the newest one up to it that is marked; 0 where none is."""
    return np.maximum.accumulate(np.where(marks, np.arange(len(marks)), 0))


def _exponential(values: Floats, weight: float, first: float, keep: float | None = None) -> Floats:
    """`first`, and then weight x value + keep (1 - weight) x what came before, rounded as a plain loop rounds."""
    from scipy import signal  # takes half a second to import, in every process that starts

    kept = 1 - weight if keep is None else keep
    rest, _ = signal.lfilter([weight], [1.0, -kept], values[1:], zi=[kept * first])
    return np.concatenate(([first], rest))


def _both_sides(risen: Callable[[int, float], Marks], drift: float, warning: float, both: bool) -> tuple[Marks, Marks]:
    """Signals and warnings of a rise (1), and where both sides are asked of a fall (-1)."""
    told = [(risen(side, drift), risen(side, warning)) for side in ((1, -1) if both else (1,))]
    changes = [change for change, _ in told]
    return np.logical_or.reduce(changes), np.logical_or.reduce([warned & ~change for change, warned in told])
