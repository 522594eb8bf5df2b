"""Has the relation between inputs and labels changed? Streams of errors, and accuracy window by window.

The stream detectors are river's, whose indices the tests pin. They say *where* an error rate changed, and `judge_rise`
asks all of them whether it rose; `accuracy_windows` holds labels against the accuracy that a version was released with.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.drift import measures, streams
from monitoring.drift.calibration import FalseAlarms, counted
from monitoring.drift.judge import Outcome, benjamini_hochberg

Detector = Literal["ddm", "hddm-a", "hddm-w", "adwin", "page-hinkley"]

ERRORS_ONLY: frozenset[str] = frozenset({"ddm", "hddm-a", "hddm-w"})
"""Detectors that read errors, 0 and 1, and warn before they signal."""

STREAM_DETECTORS: dict[Detector, dict[str, Any]] = {
    "adwin": {}, "ddm": {}, "hddm-a": {}, "hddm-w": {}, "page-hinkley": {"mode": "up"},
}  # fmt: skip
"""Those that judge a rise of errors, with the parameters in which they differ from river's."""

READERS: dict[Detector, Callable[..., streams.Reader]] = {
    "ddm": streams.ddm, "hddm-a": streams.hddm_a, "hddm-w": streams.hddm_w, "page-hinkley": streams.page_hinkley,
}  # fmt: skip

ADWIN_CLOCK = 32
"""Values between two of river's looks for a cut, unless its `clock` says otherwise."""


@dataclass(frozen=True)
class StreamChanges:
    """Positions in the stream at which a detector signalled a change, and at which it began to warn (DDM and HDDM)."""

    detector: Detector
    changes: list[int]
    warnings: list[int]


@dataclass(frozen=True)
class AccuracyWindow:
    """Labels `start` to `stop` (excluded) of the stream, with Wilson's interval around their accuracy.

    `p` is one-sided, that accuracy fell, and corrected over the windows; None without enough labels. `drop` is the
    reference accuracy less this one.
    """

    start: int
    stop: int
    accuracy: float
    low: float
    high: float
    drop: float
    p: float | None
    outcome: Outcome
    sentence: str


@dataclass(frozen=True)
class RiseLimits:
    """When errors have risen: by at least `rise`, and by the signal of at least `agree` of the stream detectors."""

    rise: float = 0.05
    agree: int = 2
    minimum_rows: int = 200


@dataclass(frozen=True)
class Rise:
    """Shares of errors in the reference and in the window, the window's with Wilson's interval of 95 %, and where in
    the window each detector first signals, from 0; None where it does not."""

    outcome: Outcome
    before: float
    now: float
    low: float
    high: float
    n_before: int
    n: int
    signals: dict[Detector, int | None]

    @property
    def signalled(self) -> list[Detector]:
        """The detectors that signal, the earliest first."""
        found = [(at, name) for name, at in self.signals.items() if at is not None]
        return [name for _, name in sorted(found)]


def judge_rise(reference: ArrayLike, window: ArrayLike, *, limits: RiseLimits) -> Rise:
    """Do errors (1) become more from `reference`, shape (n,), to `window`, shape (m,), each in the order of time?

    Every detector reads the reference and then the window, and what it signals in the window counts. "Drift" when at
    least `agree` of them signal and the share of errors lies `rise` above the reference's. Raises ValueError for values
    but 0 and 1.
    """
    before, now = (np.asarray(errors, dtype=np.float64) for errors in (reference, window))
    n, m = len(before), len(now)
    if min(n, m) < max(limits.minimum_rows, 1):
        return Rise("not enough data", math.nan, math.nan, math.nan, math.nan, n, m, {})
    shares = float(before.mean()), float(now.mean())
    both = np.concatenate((before, now))
    signals = {
        name: next((at - n for at in detect_changes(both, name, **given).changes if at >= n), None)
        for name, given in STREAM_DETECTORS.items()
    }
    certain = sum(at is not None for at in signals.values()) >= limits.agree
    outcome: Outcome = "drift" if certain and shares[1] - shares[0] >= limits.rise else "no drift"
    return Rise(outcome, *shares, *measures.wilson(int(now.sum()), m), n, m, signals)


def accuracy_false_alarms(
    accuracy: float,
    reference_rows: int,
    rows: int,
    alpha: float,
    drop_floor: float,
    minimum_rows: int,
    splits: int = 400,
    seed: int = 0,
) -> FalseAlarms | None:
    """Split the rows that `accuracy` was measured on into a window of `rows` (at most half) and the rest, and ask
    accuracy_windows of each split. None where half are fewer than `minimum_rows`."""
    taken = min(rows, reference_rows // 2)
    if taken < max(minimum_rows, 1):
        return None
    hits = round(accuracy * reference_rows)
    drawn = np.random.default_rng(seed).hypergeometric(hits, reference_rows - hits, taken, splits)
    rest = reference_rows - taken
    alarms = sum(
        accuracy_windows(
            np.arange(taken) < right,
            reference_accuracy=(hits - right) / rest,
            reference_rows=rest,
            size=taken,
            alpha=alpha,
            drop_floor=drop_floor,
            minimum_rows=minimum_rows,
        )[0].outcome
        == "drift"
        for right in drawn.tolist()
    )
    return counted(splits, taken, alarms)


def detect_changes(values: Iterable[float], detector: Detector, **parameters: float) -> StreamChanges:
    """Run a detector over a stream: errors as 0 and 1 for "ddm" (Gama 2004, one-sided: it sees only more errors) and
    "hddm-a" and "hddm-w" (Frias-Blanco 2015; one-sided unless `two_sided_test`), any numbers for "adwin" (Bifet and
    Gavalda 2007) and "page-hinkley" (Page 1954), both of which see both directions.

    `parameters` are river's. Raises ValueError for another detector, for missing values, or for values but 0 and 1
    where errors are read.
    """
    array = np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError("A stream can't hold missing values; leave out the rows whose label has not come.")
    if detector in ERRORS_ONLY and not np.isin(array, (0.0, 1.0)).all():
        raise ValueError("DDM and HDDM read errors: 1 for a wrong answer and 0 for a right one.")
    if detector == "adwin":
        return StreamChanges(detector, _adwin_changes(array.tolist(), parameters), [])
    if detector not in READERS:
        raise ValueError(f"There is no detector {detector}; choose one of {', '.join(['adwin', *READERS])}.")
    return StreamChanges(detector, *streams.signals(array, READERS[detector](**parameters)))


def _adwin_changes(stream: list[float], parameters: dict[str, float]) -> list[int]:
    """ADWIN looks for a cut at every `clock`-th value only, so it is asked only then and fed in between without a loop
    of Python's own."""
    from river.drift import ADWIN

    model, clock, changes = ADWIN(**parameters), int(parameters.get("clock", ADWIN_CLOCK)), []
    for start in range(0, len(stream), clock):
        deque(map(model.update, stream[start : start + clock]), maxlen=0)
        if model.drift_detected:
            changes.append(min(start + clock, len(stream)) - 1)
    return changes


def accuracy_windows(
    correct: ArrayLike,
    *,
    reference_accuracy: float,
    reference_rows: int,
    size: int = 500,
    alpha: float = 0.01,
    drop_floor: float = 0.03,
    minimum_rows: int = 100,
) -> list[AccuracyWindow]:
    """Cut a stream of right (true) and wrong (false) answers, shape (n,), into windows of `size` and judge each.

    A window has drifted when its accuracy is below the reference's by a one-sided pooled two-proportion z test at
    `alpha` (Benjamini-Hochberg over the windows) and by at least `drop_floor`. The last window may be shorter; under
    `minimum_rows` it is not judged. Raises ValueError for a reference without rows or an accuracy outside 0 to 1.
    """
    if reference_rows <= 0 or not 0 <= reference_accuracy <= 1:
        raise ValueError("The reference needs an accuracy between 0 and 1 and the number of rows that it was taken on.")
    if size < 1:
        raise ValueError("A window holds at least one label.")
    right = np.asarray(correct).astype(bool)
    starts = list(range(0, len(right), size))
    hits = [int(right[start : start + size].sum()) for start in starts]
    rows = [min(size, len(right) - start) for start in starts]
    reference_hits = round(reference_accuracy * reference_rows)
    judged = [i for i, n in enumerate(rows) if n >= minimum_rows]
    p_values = [
        float(special.ndtr(measures.proportions_z(reference_hits, reference_rows, hits[i], rows[i]))) for i in judged
    ]
    adjusted = dict(zip(judged, benjamini_hochberg(p_values).tolist(), strict=True))
    return [
        _accuracy_window(start, n, h, reference_accuracy, adjusted.get(i), alpha, drop_floor, minimum_rows)
        for i, (start, n, h) in enumerate(zip(starts, rows, hits, strict=True))
    ]


def _accuracy_window(
    start: int, rows: int, hits: int, reference: float, p: float | None, alpha: float, floor: float, minimum: int
) -> AccuracyWindow:
    accuracy, (low, high) = hits / rows, measures.wilson(hits, rows)
    drop = reference - accuracy
    outcome: Outcome
    if p is None:
        outcome, sentence = "not enough data", f"{rows} labels have come; at least {minimum} are needed."
    else:
        outcome = "drift" if p <= alpha and drop >= floor else "no drift"
        sentence = (
            f"Accuracy {accuracy:.1%} ({low:.1%} to {high:.1%}) on {rows} labels, {reference:.1%} in the reference: "
            f"{'fallen' if outcome == 'drift' else 'not fallen'} by {floor:.0%} or more."
        )
    return AccuracyWindow(start, start + rows, accuracy, low, high, drop, p, outcome, sentence)
