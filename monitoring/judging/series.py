"""Has a metric's level changed? Values per interval of a baseline and of a canary.

Welch's t on the two means, with the variance of each mean and the degrees of freedom from the series' effective sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.judging.answers import ALPHA, POWER_FLOOR, Direction, Judged, decide, p_text
from monitoring.judging.dependence import LEAST_VALUES, Floats, dependence

METHOD = "difference of means, t with effective sample sizes (first-order autocorrelation)"
PAIRED = "mean of the differences of the same intervals, t with effective sample size (first-order autocorrelation)"
CONSTANT = "values that never vary, compared as they are (the chance of this split among all orders)"


@dataclass(frozen=True)
class _Change:
    """A difference with its standard error and degrees of freedom, and how many values it came from."""

    difference: float
    error: float
    freedom: float
    effective: float
    values: int


@dataclass(frozen=True)
class Level:
    """`baseline` and `canary`: one value per interval, shape (n,) and (m,), in the order of time, NaN where an interval
    has none. `worse` is the direction that is bad. `matters` is the smallest change that does, as a share of the
    baseline's mean. `paired` says that both were measured in the same intervals: what moves both is then left out.

    Judged: estimate, low, high and detectable in the metric's unit, canary less baseline.
    """

    name: str
    baseline: ArrayLike
    canary: ArrayLike
    worse: Direction = "either"
    matters: float = 0.05
    paired: bool = False
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Raises ValueError for series of another shape, infinite values, or paired series of different lengths."""
        before, now = _series(self.baseline), _series(self.canary)
        if self.paired:
            if len(before) != len(now):
                raise ValueError("Paired series have one value each for the same intervals.")
            gaps = np.isnan(before) | np.isnan(now)
            before, now = np.where(gaps, np.nan, before), np.where(gaps, np.nan, now)
        fewest = min(_values(before), _values(now))
        if fewest < LEAST_VALUES:
            sentence = f"{self.name} can't be judged yet: {fewest} intervals have a value, {LEAST_VALUES} are needed."
            return Judged("inconclusive", sentence, PAIRED if self.paired else METHOD)
        matters = self.matters * abs(float(np.nanmean(before)))
        if _constant(before) and _constant(now):
            return self._constant(before, now, matters, alpha)
        change = _paired(now - before) if self.paired else _unpaired(before, now)
        if change.error == 0:
            return self._constant(before, now, matters, alpha)
        return self._judged(before, now, change, matters, alpha)

    def _judged(self, before: Floats, now: Floats, change: _Change, matters: float, alpha: float) -> Judged:
        tail = alpha / 2 if self.worse == "either" else alpha
        reach = -float(special.stdtrit(change.freedom, tail)) * change.error
        low, high = change.difference - reach, change.difference + reach
        bad = {"up": change.difference, "down": -change.difference, "either": abs(change.difference)}[self.worse]
        p = float(special.stdtr(change.freedom, -bad / change.error)) * (2 if self.worse == "either" else 1)
        p = min(p, 1.0)
        worst = {"up": high, "down": -low, "either": max(high, -low)}[self.worse]
        power = _power(matters, reach, change)
        detectable = reach + float(special.stdtrit(change.freedom, self.power_floor)) * change.error
        answer = decide(significant=p <= alpha, within=worst < matters, power=power, floor=self.power_floor)
        told = self._sentence(answer, before, now, p, detectable, change)
        return Judged(
            answer,
            told,
            PAIRED if self.paired else METHOD,
            change.difference,
            low,
            high,
            p,
            power,
            detectable,
        )

    def _constant(self, before: Floats, now: Floats, matters: float, alpha: float) -> Judged:
        """Values that never vary say nothing of chance: equal ones may come from a metric that is not measured."""
        difference = float(np.nanmean(now) - np.nanmean(before))
        bad = {"up": difference, "down": -difference, "either": abs(difference)}[self.worse]
        n, m = _values(before), _values(now)
        p = min(math.exp(-_log_splits(n, m)) * (2 if self.worse == "either" else 1), 1.0) if bad > 0 else 1.0
        within = bad < matters and difference != 0
        answer = decide(significant=p <= alpha, within=within, power=0.0, floor=self.power_floor)
        varies = "differs by the same amount in every interval" if not _constant(before) else "never varies"
        sentence = (
            f"{self.name} {varies}: {_number(np.nanmean(now))} in the canary, {_number(np.nanmean(before))} in the "
            f"baseline.{' That may be a metric that nobody measures.' if difference == 0 else ''}"
        )
        return Judged(answer, sentence, CONSTANT, difference, difference, difference, p)

    def _sentence(self, answer: str, before: Floats, now: Floats, p: float, detectable: float, change: _Change) -> str:
        mean = float(np.nanmean(before))
        share = f" ({change.difference / abs(mean):+.1%})" if mean else ""
        said = {
            "fail": f"more than chance explains ({p_text(p)})",
            "pass": f"no change that matters ({p_text(p)})",
            "inconclusive": f"too little to tell ({p_text(p)})",
        }[answer]
        seen = f"; a change of {detectable / abs(mean):.1%} would have been seen" if mean else ""
        return (
            f"{self.name} is {_number(np.nanmean(now))} in the canary and {_number(mean)} in the baseline{share}: "
            f"{said}{'' if answer == 'fail' else seen}. {change.values} intervals say as much as "
            f"{change.effective:.0f} independent ones."
        )


def _unpaired(before: Floats, now: Floats) -> _Change:
    shared = dependence([before, now])
    variances, freedoms, effective = [], [], 0.0
    for part in (before, now):
        n = _values(part)
        size = shared.effective(n)
        squares = float(np.nansum((part - np.nanmean(part)) ** 2))
        variances.append(shared.variance(squares, n) / size)
        freedoms.append(max(size - 1, 0.5))
        effective += size
    total = sum(variances)
    parts = sum(variance**2 / freedom for variance, freedom in zip(variances, freedoms, strict=True))
    freedom = total**2 / parts if parts else 1.0
    difference = float(np.nanmean(now) - np.nanmean(before))
    return _Change(difference, math.sqrt(total), max(freedom, 1.0), effective, _values(before) + _values(now))


def _paired(differences: Floats) -> _Change:
    n = _values(differences)
    known = dependence([differences])
    mean, size = float(np.nanmean(differences)), known.effective(n)
    variance = known.variance(float(np.nansum((differences - mean) ** 2)), n) / size
    return _Change(mean, math.sqrt(variance), max(size - 1, 1.0), size, n)


def _power(matters: float, reach: float, change: _Change) -> float:
    """The chance that a change of `matters` gets beyond `reach`, by a t shifted by it (a little below the exact
    noncentral one)."""
    return float(special.stdtr(change.freedom, (matters - reach) / change.error))


def _series(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError("A series has one value per interval.")
    if np.isinf(array).any():
        raise ValueError("A series can't hold infinite values; leave out the intervals that have none.")
    return array


def _values(series: Floats) -> int:
    return int((~np.isnan(series)).sum())


def _constant(series: Floats) -> bool:
    return bool(np.nanmin(series) == np.nanmax(series))


def _log_splits(n: int, m: int) -> float:
    return float(special.gammaln(n + m + 1) - special.gammaln(n + 1) - special.gammaln(m + 1))


def _number(value: float) -> str:
    return f"{float(value):.4g}"
