"""Errors: counted, and judged by tests that are exact however few there are.

A series of errors is mostly zeros, and ranks or means of it say nothing. Here errors are counted, of requests, of
intervals or of hours, and the chance of so many is reckoned given how many there were in all (conditional tests).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.drift.measures import wilson
from monitoring.judging.answers import ALPHA, POWER_FLOOR, Judged, decide, p_text
from monitoring.judging.dependence import effective_size

SHARES = "difference of shares, Fisher's exact test, one-sided; interval of Newcombe (1998)"
RATES = "ratio of rates, exact conditional test, one-sided (Przyborowski and Wilenski 1940)"
PROMISED = "share against a limit, exact binomial test, one-sided (Clopper and Pearson 1934)"


@dataclass(frozen=True)
class ErrorShare:
    """Failures of a canary's requests (or of whatever is counted, `unit`) against a baseline's; each an integer of so
    many. `matters`: the smallest rise of the share that does. `inflation` says how many of the units are worth one,
    where errors come in runs. Judged: everything as a share, canary less baseline."""

    baseline_errors: int
    baseline_of: int
    canary_errors: int
    canary_of: int
    matters: float = 0.05
    unit: str = "requests"
    inflation: float = 1.0
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Raises ValueError for counts that can't be."""
        a, n, b, m = self.baseline_errors, self.baseline_of, self.canary_errors, self.canary_of
        if not (0 <= a <= n and 0 <= b <= m):
            raise ValueError("Of so many there are at least none and at most all with errors.")
        if not n or not m:
            sentence = f"No {self.unit} of the {'canary' if n else 'baseline'} yet."
            return Judged("inconclusive", sentence, SHARES)
        before, now = a / n, b / m
        verb = "failed" if self.unit == "requests" else "had errors"
        found = f"{b:,} of {m:,} {self.unit} of the canary {verb} ({now:.1%}), {a:,} of {n:,} of the baseline"
        a, n, b, m = self._worth(a, n, up=True) + self._worth(b, m, up=False)
        p = fisher_more(a, n, b, m)
        low, high = _newcombe(before * n, n, now * m, m, 1 - 2 * alpha)
        critical = _least(lambda count: fisher_more(a, n, count, m) <= alpha, m)
        share = min(before + self.matters, 1.0)
        power = float(special.bdtrc(critical - 1, m, share)) if critical <= m else 0.0
        seen = float(special.betaincinv(critical, m - critical + 1, self.power_floor)) if critical <= m else 1.0
        answer = decide(significant=p <= alpha, within=high < self.matters)
        runs = f" Errors come in runs: {m} {self.unit} are what the canary's are worth." if self.inflation > 1 else ""
        sentence = f"{found} ({before:.1%}): {_said(answer, p)}{_seen(answer, f'a share of {seen:.1%}')}.{runs}"
        return Judged(answer, sentence, SHARES, now - before, low, high, p, power, max(seen - before, 0.0))

    def _worth(self, errors: int, of: int, *, up: bool) -> tuple[int, int]:
        """Errors and units as whole independent ones, rounded to the side of no finding."""
        units = max(round(of / self.inflation), 1)
        worth = errors / self.inflation
        return min(math.ceil(worth) if up else math.floor(worth), units), units


@dataclass(frozen=True)
class ErrorRate:
    """Errors counted over an exposure (hours, host-hours: any unit, the same for both) of baseline and canary.
    `matters`: the smallest ratio of the rates that does; above 1. Judged: everything as a ratio, canary to baseline."""

    baseline_errors: int
    baseline_exposure: float
    canary_errors: int
    canary_exposure: float
    matters: float = 2.0
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Raises ValueError for counts or exposures below zero."""
        a, b = self.baseline_errors, self.canary_errors
        if min(a, b) < 0 or min(self.baseline_exposure, self.canary_exposure) < 0:
            raise ValueError("Errors and exposures can't be below zero.")
        if not self.baseline_exposure or not self.canary_exposure:
            return Judged("inconclusive", "One of both was not watched for any time.", RATES)
        times = self.canary_exposure / self.baseline_exposure
        p = poisson_more(a, b, times)
        low, high = _ratio_interval(a, b, times, 1 - 2 * alpha)
        estimate = b / a / times if a else (math.inf if b else None)
        critical = _least_unbounded(lambda count: poisson_more(a, count, times) <= alpha)
        # A clean baseline is taken at half an error: nothing says how far below that its rate lies.
        expected = max(a, 0.5) * times
        power = float(special.pdtrc(critical - 1, self.matters * expected))
        detectable = float(special.gammaincinv(critical, self.power_floor)) / expected
        answer = decide(significant=p <= alpha, within=high < self.matters)
        sentence = (
            f"{b:,} errors of the canary, where the baseline's rate makes {a * times:.1f}: {_said(answer, p)}"
            f"{_seen(answer, f'{detectable:.1f} times the rate')}."
        )
        return Judged(answer, sentence, RATES, estimate, low, high, p, power, detectable)


@dataclass(frozen=True)
class PromisedErrors:
    """Errors of requests (an integer of so many) against the largest share that is allowed. `matters`: a share that
    must not pass unseen. Nothing seen is a pass only where that share would have shown. Judged: shares."""

    errors: int
    requests: int
    allowed: float
    matters: float
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Fail when the share is surely above `allowed`, pass when it is surely not, or when there is no error and one
        of `matters` would have been seen. `alpha` is one-sided on either side. Raises ValueError as ErrorShare."""
        k, n = self.errors, self.requests
        if not 0 <= k <= n:
            raise ValueError("Of so many requests at least none and at most all failed.")
        if n == 0:
            return Judged("inconclusive", "There was no request.", PROMISED)
        p = 1.0 if k == 0 else float(special.bdtrc(k - 1, n, self.allowed))
        low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, alpha))
        high = 1.0 if k == n else float(special.betaincinv(k + 1, n - k, 1 - alpha))
        power = 1 - (1 - self.matters) ** n
        detectable = 1 - (1 - self.power_floor) ** (1 / n)
        clean = k == 0 and power >= self.power_floor
        answer = decide(
            significant=p <= alpha,
            within=high <= self.allowed,
            power=power if clean else 0.0,
            floor=self.power_floor,
        )
        sentence = (
            f"{k:,} of {n:,} requests failed ({k / n:.1%}, {low:.1%} to {high:.1%}; {self.allowed:.1%} are allowed): "
            f"{_said(answer, p)}{_seen(answer, f'a share of {detectable:.1%}') if k == 0 else ''}."
        )
        return Judged(answer, sentence, PROMISED, k / n, low, high, p, power, detectable)


def error_intervals(baseline: ArrayLike, canary: ArrayLike, *, matters: float = 0.1) -> ErrorShare:
    """The question for errors per interval, shape (n,) and (m,), NaN where an interval is not known: of how many
    intervals have any. Errors within an interval come together, and count once. Where the baseline has errors too, it
    says how far they come in runs of intervals, and runs count for less. Raises ValueError for one below 0."""
    counted, shown = [], []
    for values in (baseline, canary):
        series = np.asarray(values, dtype=np.float64)
        if (series < 0).any():
            raise ValueError("An interval can't have less than no errors.")
        with_errors = np.where(np.isnan(series), np.nan, series > 0)
        counted.append((int(np.nansum(with_errors)), int((~np.isnan(series)).sum())))
        shown.append(with_errors)
    (a, n), (b, m) = counted
    inflation = max(n / effective_size(shown[0]), 1.0) if a else 1.0
    return ErrorShare(a, n, b, m, matters=matters, unit="intervals", inflation=inflation)


def fisher_more(errors_a: int, of_a: int, errors_b: int, of_b: int) -> float:
    """One-sided p-value that b's share is not larger than a's, given all errors: the hypergeometric upper tail."""
    errors = errors_a + errors_b
    k = np.arange(errors_b, min(errors, of_b) + 1, dtype=np.float64)
    logarithms = _log_choose(of_b, k) + _log_choose(of_a, errors - k) - _log_choose(of_a + of_b, float(errors))
    return float(min(np.exp(logarithms).sum(), 1.0))


def poisson_more(errors_a: int, errors_b: int, times: float) -> float:
    """One-sided p-value that b's rate is not larger than a's, with `times` a's exposure: given all errors, b's are
    binomial with the share times / (1 + times)."""
    if errors_b == 0:
        return 1.0
    return float(special.bdtrc(errors_b - 1, errors_a + errors_b, times / (1 + times)))


def _ratio_interval(a: int, b: int, times: float, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low = 0.0 if b == 0 else float(special.betaincinv(b, a + 1, tail))
    high = 1.0 if a == 0 else float(special.betaincinv(b + 1, a, 1 - tail))
    return low / (1 - low) / times, math.inf if high == 1 else high / (1 - high) / times


def _newcombe(a: float, n: float, b: float, m: float, confidence: float) -> tuple[float, float]:
    """Interval of b/m - a/n from both Wilson intervals (Newcombe 1998, method 10)."""
    before, now = a / n, b / m
    (low_a, high_a), (low_b, high_b) = wilson(a, n, confidence), wilson(b, m, confidence)
    difference = now - before
    return (
        difference - math.hypot(now - low_b, high_a - before),
        difference + math.hypot(high_b - now, before - low_a),
    )


def _log_choose(n: int, k: ArrayLike) -> np.ndarray:
    return special.gammaln(n + 1) - special.gammaln(np.asarray(k) + 1) - special.gammaln(n - np.asarray(k) + 1)


def _least(found: Callable[[int], bool], most: int) -> int:
    """The least count from 0 to `most` for which `found` is so, being so for all above; most + 1 for none."""
    low, high = 0, most + 1
    while low < high:
        middle = (low + high) // 2
        if middle > most or found(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _least_unbounded(found: Callable[[int], bool]) -> int:
    most = 16
    while not found(most):
        most *= 2
    return _least(found, most)


def _said(answer: str, p: float) -> str:
    return {
        "fail": f"more than chance explains ({p_text(p)})",
        "pass": f"not more than matters ({p_text(p)})",
        "inconclusive": f"too little to tell ({p_text(p)})",
    }[answer]


def _seen(answer: str, what: str) -> str:
    return "" if answer == "fail" else f"; {what} would have been seen"
