"""Has answering become slower? Quantiles of a window's latencies against a reference's, as ratios with intervals.

Each quantile's interval runs between two order statistics whose ranks come from the binomial distribution (free of any
distribution; Conover 1999, 3.2), and the ratio's is put together from both on the log scale (MOVER; Zou and Donner
2008). Latencies that come in bursts are less certain than their number says: `judging.latency` reckons with fewer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.calibration import FalseAlarms, split_against_itself
from monitoring.drift.judge import Outcome
from monitoring.drift.measures import wilson
from monitoring.drift.profile import NumericProfile
from monitoring.drift.values import numeric_values


@dataclass(frozen=True)
class QuantileRatio:
    """One quantile in both samples (milliseconds) and window / reference with its interval."""

    quantile: float
    reference: float
    window: float
    ratio: float
    low: float
    high: float
    slower: bool


@dataclass(frozen=True)
class LatencyVerdict:
    """The answer, "drift" meaning slower, and the quantiles that it rests on (none without enough data)."""

    outcome: Outcome
    quantiles: list[QuantileRatio]
    n_reference: int
    n_window: int
    sentence: str


def compare_latency(
    reference: ArrayLike | NumericProfile,
    window: ArrayLike,
    *,
    quantiles: Sequence[float] = (0.5, 0.95),
    ratio_floor: float = 1.25,
    rise_floor_ms: float = 1.0,
    alpha: float = 0.01,
    minimum_rows: int = 100,
    effective: tuple[float, float] | None = None,
) -> LatencyVerdict:
    """Compare latencies in milliseconds, shape (n,); the reference may be a profile's column instead of a sample.
    `effective` says how many independent latencies reference and window are worth, where that is fewer than they are.

    A quantile is slower when its ratio's interval (coverage 1 - alpha / number of quantiles) lies above 1, its ratio
    reaches `ratio_floor`, and it rose by `rise_floor_ms`. Missing and infinite values are left out. Raises ValueError
    for a quantile outside of 0 to 1 or a latency below zero.
    """
    if not quantiles or not all(0 < q < 1 for q in quantiles):
        raise ValueError("Quantiles lie between 0 and 1, and at least one is needed.")
    known = reference if isinstance(reference, NumericProfile) else numeric_values(reference).finite
    now = numeric_values(window).finite
    n = known.n if isinstance(known, NumericProfile) else len(known)
    if min(n, len(now)) < max(minimum_rows, 1):
        sentence = f"{len(now)} latencies in the window and {n} in the reference; {minimum_rows} are needed in both."
        return LatencyVerdict("not enough data", [], n, len(now), sentence)
    if min(_at(known, 1), _at(now, 1)) < 0:
        raise ValueError("A latency can't be below zero.")
    confidence = 1 - alpha / len(quantiles)
    worth = effective or (n, len(now))
    ratios = [_ratio(known, n, now, worth, q, confidence, ratio_floor, rise_floor_ms) for q in quantiles]
    return LatencyVerdict(
        "drift" if any(r.slower for r in ratios) else "no drift", ratios, n, len(now), _sentence(ratios)
    )


def latency_false_alarms(
    reference: ArrayLike,
    rows: int,
    *,
    tests: Sequence[tuple[float, float, float]],
    alpha: float,
    minimum_rows: int,
    splits: int = 400,
) -> FalseAlarms | None:
    """Split latencies in milliseconds, shape (n,), into a window of `rows` (at most half) and the rest, and ask each of
    `tests` (quantile, ratio_floor, rise_floor_ms) of every split. None where half are fewer than `minimum_rows`."""
    known = numeric_values(reference).finite
    if len(known) // 2 < max(minimum_rows, 1):
        return None

    def raises(drawn: NDArray[np.bool_]) -> bool:
        window, rest = known[drawn], known[~drawn]
        return any(
            # Hardly any split comes near a floor, and only these are worth the test.
            _at(window, math.ceil(len(window) * quantile)) >= ratio * _at(rest, math.ceil(len(rest) * quantile))
            and compare_latency(
                rest,
                window,
                quantiles=(quantile,),
                ratio_floor=ratio,
                rise_floor_ms=rise,
                alpha=alpha,
                minimum_rows=minimum_rows,
            ).outcome
            == "drift"
            for quantile, ratio, rise in tests
        )

    return split_against_itself(len(known), rows, raises, splits=splits)


def _ratio(
    reference: NDArray[np.floating] | NumericProfile, n: int, window: NDArray[np.floating], worth: tuple[float, float],
    quantile: float, confidence: float, ratio_floor: float, rise_floor: float,
) -> QuantileRatio:  # fmt: skip
    before, before_low, before_high = _interval(reference, n, worth[0], quantile, confidence)
    now, now_low, now_high = _interval(window, len(window), worth[1], quantile, confidence)
    log = math.log(now / before)
    low = log - math.hypot(math.log(now / now_low), math.log(before_high / before))
    high = log + math.hypot(math.log(now_high / now), math.log(before / before_low))
    ratio = now / before
    slower = low > 0 and ratio >= ratio_floor and now - before >= rise_floor
    return QuantileRatio(quantile, before, now, ratio, math.exp(low), math.exp(high), slower)


def _interval(
    sample: NDArray[np.floating] | NumericProfile, n: int, worth: float, quantile: float, confidence: float
) -> tuple[float, float, float]:
    """A quantile and its interval, kept above zero so that they have a logarithm (one microsecond). Of a sample that is
    worth fewer independent latencies than it has, it runs between the quantiles at the ends of Wilson's interval."""
    if worth < n:
        levels = wilson(quantile * worth, worth, confidence)
        below, above = math.floor(levels[0] * n), math.ceil(levels[1] * n)
    else:
        below, above = _ranks(n, quantile, confidence)
    ranks = (math.ceil(n * quantile), below, above)
    value, low, high = (max(_at(sample, min(max(rank, 1), n)), 1e-3) for rank in ranks)
    return value, low, high


def _ranks(n: int, quantile: float, confidence: float) -> tuple[int, int]:
    from scipy import stats  # takes half a second to import, in every process that starts

    tail = (1 - confidence) / 2
    return int(stats.binom.ppf(tail, n, quantile)), int(stats.binom.ppf(1 - tail, n, quantile)) + 1


def _at(sample: NDArray[np.floating] | NumericProfile, rank: int) -> float:
    """The rank-th smallest value, counted from one; of a profile, the first edge that has so many at or below it."""
    if isinstance(sample, NumericProfile):
        return sample.edges[int(np.searchsorted(sample.at_or_below, rank, "left"))]
    return float(sample[rank - 1])


def _sentence(ratios: Sequence[QuantileRatio]) -> str:
    parts = [
        f"{'median' if r.quantile == 0.5 else f'p{100 * r.quantile:g}'} {r.window:.1f} ms against {r.reference:.1f} ms "
        f"({r.ratio:.2f} times, {r.low:.2f} to {r.high:.2f})"
        for r in ratios
    ]
    return f"Latency is {'slower' if any(r.slower for r in ratios) else 'not slower'}: {'; '.join(parts)}."
