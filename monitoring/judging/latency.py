"""Has answering become slower? Quantiles of latencies that come in bursts, in the order of time.

A quantile is an average: of "is at or below it". So the effective size of that series of zeros and ones says how many
independent latencies the sample is worth at this quantile, and the interval of `drift.latency` is taken for so many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.drift.latency import QuantileRatio, compare_latency
from monitoring.drift.values import as_float64
from monitoring.judging.answers import ALPHA, POWER_FLOOR, Judged, decide
from monitoring.judging.dependence import effective_size

METHOD = "ratio of quantiles, intervals between order statistics at the effective sample sizes"


@dataclass(frozen=True)
class LatencyQuantile:
    """`baseline` and `canary`: milliseconds of single requests, shape (n,) and (m,), in the order of time; missing ones
    are left out. It matters when the quantile is more than `ratio` times the baseline's and more than `rise_ms` above.

    Judged: everything as a ratio, canary to baseline; p from the 95 % interval's lower arm on the log scale. Below
    `least` latencies on either side the answer is inconclusive.
    """

    baseline: ArrayLike
    canary: ArrayLike
    quantile: float = 0.5
    ratio: float = 2.0
    rise_ms: float = 1.0
    least: int = 50
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Fail when slower by more than matters and more than chance explains. Raises ValueError as compare_latency."""
        found = self._ratio(alpha)
        if found is None:
            return Judged("inconclusive", f"At least {self.least} latencies are needed on both sides.", METHOD)
        most = max(self.ratio * found.reference, found.reference + self.rise_ms) / found.reference
        error = self._error(found if alpha == ALPHA else self._ratio(ALPHA))
        p = min(2 * float(special.ndtr(-math.log(found.ratio) / error)), 1.0)
        reach = -float(special.ndtri(alpha / 2)) * error
        power = float(special.ndtr((math.log(most) - reach) / error))
        detectable = math.exp(reach + float(special.ndtri(self.power_floor)) * error)
        higher = p <= alpha
        answer = decide(
            significant=higher and found.ratio > most,
            within=found.high <= most,
            power=0.0 if higher else power,
            floor=self.power_floor,
        )
        name = "median" if self.quantile == 0.5 else f"p{100 * self.quantile:g}"
        said = {"fail": "slower", "pass": "not slower", "inconclusive": "too little to tell"}[answer]
        sentence = (
            f"The canary's {name} is {found.window:.2f} ms, the baseline's {found.reference:.2f} ms ({found.ratio:.2f} "
            f"times, {found.low:.2f} to {found.high:.2f}; above {most:.2f} times matters): {said}."
        )
        return Judged(answer, sentence, METHOD, found.ratio, found.low, found.high, p, power, detectable)

    def _ratio(self, alpha: float) -> QuantileRatio | None:
        return quantile_ratio(
            self.baseline,
            self.canary,
            self.quantile,
            ratio_floor=self.ratio,
            rise_floor_ms=self.rise_ms,
            alpha=alpha,
            minimum_rows=self.least,
        )

    @staticmethod
    def _error(found: QuantileRatio | None) -> float:
        """The logarithm's standard error, from the lower arm of its 95 % interval."""
        arm = math.log(found.ratio / found.low) if found else 0.0
        return max(arm / -float(special.ndtri(ALPHA / 2)), 1e-9)


def quantile_ratio(
    baseline: ArrayLike,
    canary: ArrayLike,
    quantile: float,
    *,
    ratio_floor: float,
    rise_floor_ms: float,
    alpha: float,
    minimum_rows: int,
) -> QuantileRatio | None:
    """One quantile of both samples, in the order of time, and their ratio with its interval (coverage 1 - alpha); None
    where one of them has fewer than `minimum_rows`. Raises ValueError as compare_latency does."""
    before, now = _latencies(baseline), _latencies(canary)
    found = compare_latency(
        before,
        now,
        quantiles=(quantile,),
        ratio_floor=ratio_floor,
        rise_floor_ms=rise_floor_ms,
        alpha=alpha,
        minimum_rows=minimum_rows,
        effective=(_effective(before, quantile), _effective(now, quantile)),
    )
    return found.quantiles[0] if found.quantiles else None


def _latencies(values: ArrayLike) -> np.ndarray:
    array, _ = as_float64(np.asarray(values))
    return array[np.isfinite(array)]


def _effective(latencies: np.ndarray, quantile: float) -> float:
    if not len(latencies) or not 0 < quantile < 1:
        return float(len(latencies))
    return effective_size(latencies <= np.quantile(latencies, quantile))
