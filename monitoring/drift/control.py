"""Control charts: Shewhart's for individuals, subgroups (X-bar and S), proportions and rates, EWMA, and CUSUM.

Each returns a Chart: what is plotted, its limits point by point, and which points are out. Sources: NIST/SEMATECH
e-Handbook of Statistical Methods 6.3.2 and 6.3.3; Montgomery, Introduction to Statistical Quality Control.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from monitoring.drift.rules import RuleHit, nelson, western_electric

D2_OF_TWO = 1.128
"""Mean range of two standard normal values, to the three places that the handbooks' tables give."""

RuleSet = Literal["nelson", "western-electric", "none"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Chart:
    """A control chart of n points. `points`, `lower` and `upper` have shape (n,), in the unit of what is plotted.

    `z`, shape (n,), are the points standardised: how many of its own sigmas each lies from the centre. `sigma` is of
    one observation (for a p-chart, of the mean-sized sample). `hits` hold the points beyond a limit and those that a
    run rule names. A point without data is NaN and in no hit.
    """

    points: Floats
    centre: float
    sigma: float
    lower: Floats
    upper: Floats
    z: Floats
    hits: list[RuleHit]

    @property
    def out(self) -> list[int]:
        """Points beyond a limit."""
        with np.errstate(invalid="ignore"):
            return np.flatnonzero((self.points > self.upper) | (self.points < self.lower)).tolist()


@dataclass(frozen=True)
class CusumChart:
    """Two one-sided cumulative sums of shape (n,), in the data's unit, and the decision limit `h` for both.

    `signals` are the points at which either sum exceeds `h`; `since` is, for the first of them, the point from which
    its sum has been above zero: the estimated start of the change (None without a signal).
    """

    high: Floats
    low: Floats
    h: float
    signals: list[int]
    since: int | None


def individuals_sigma(values: ArrayLike) -> float:
    """Sigma of single observations: mean moving range / 1.128 (NIST 6.3.2.2). Raises ValueError under two values."""
    x = _series(values)
    ranges = np.abs(np.diff(x))
    if np.all(np.isnan(ranges)):
        raise ValueError("A moving range needs two neighbouring values.")
    return float(np.nanmean(ranges)) / D2_OF_TWO


def individuals(
    values: ArrayLike, *, centre: float | None = None, sigma: float | None = None, rules: RuleSet = "nelson"
) -> Chart:
    """Shewhart chart of single observations, limits at 3 sigma.

    Centre and sigma are the stable period's; where not given they are the series' own mean and moving range.
    Raises ValueError for a sigma below zero or a series too short to estimate it.
    """
    x = _series(values)
    middle = float(np.nanmean(x)) if centre is None else centre
    spread = individuals_sigma(x) if sigma is None else _not_negative(sigma)
    return _frozen(x, middle, spread, rules)


def proportions(hits: ArrayLike, sizes: ArrayLike, *, centre: float | None = None, rules: RuleSet = "nelson") -> Chart:
    """p-chart with samples of varying size, limits at 3 sigma of each sample's own size (NIST 6.3.3.2).

    `hits` and `sizes` have shape (n,). An empty sample is a point without data. Raises ValueError when a sample
    has more hits than rows, or none has rows.
    """
    count, size = _series(hits), _series(sizes)
    if len(count) != len(size) or np.any(count > size) or np.any(count < 0):
        raise ValueError("Each sample needs between none and all of its rows as hits.")
    if not np.nansum(size) > 0:
        raise ValueError("A p-chart needs a sample with rows.")
    middle = float(np.nansum(count) / np.nansum(size)) if centre is None else centre
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(size > 0, count / size, np.nan)
        spread = np.where(size > 0, np.sqrt(middle * (1 - middle) / size), np.nan)
    sigma = math.sqrt(middle * (1 - middle) / float(np.nanmean(size[size > 0])))
    lower, upper = np.maximum(middle - 3 * spread, 0.0), np.minimum(middle + 3 * spread, 1.0)
    z = standardised(share - middle, spread)
    return Chart(share, middle, sigma, lower, upper, z, _runs(z, rules))


def rates(counts: ArrayLike, sizes: ArrayLike, *, centre: float | None = None, rules: RuleSet = "nelson") -> Chart:
    """u-chart of counts per unit, such as errors per request, limits at 3 sigma of a Poisson count (NIST 6.3.3.1).

    `counts` and `sizes` have shape (n,); a sample of size 0 is a point without data. `centre` is the stable period's
    rate. Raises ValueError for counts below zero, different lengths or no sample with a size.
    """
    count, size = _series(counts), _series(sizes)
    if len(count) != len(size) or np.any(count < 0) or np.any(size < 0):
        raise ValueError("Each sample needs a count and a size, neither below zero.")
    if not np.nansum(size) > 0:
        raise ValueError("A u-chart needs a sample with a size.")
    middle = float(np.nansum(count) / np.nansum(size)) if centre is None else _not_negative(centre)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(size > 0, count / size, np.nan)
        spread = np.where(size > 0, np.sqrt(middle / size), np.nan)
    sigma = math.sqrt(middle / float(np.nanmean(size[size > 0])))
    lower = np.maximum(middle - 3 * spread, 0.0)
    z = standardised(rate - middle, spread)
    return Chart(rate, middle, sigma, lower, middle + 3 * spread, z, _runs(z, rules))


@dataclass(frozen=True)
class Phase1:
    """Limits frozen from a stable period: subgroups of `size`, their grand mean, and sigma of one observation."""

    centre: float
    sigma: float
    size: int


def freeze(subgroups: ArrayLike) -> Phase1:
    """Phase 1: centre and sigma from subgroups of shape (k, size), sigma being the mean standard deviation / c4
    (NIST 6.3.2.1). Raises ValueError for fewer than two subgroups of at least two values."""
    groups = _groups(subgroups)
    if len(groups) < 2:
        raise ValueError("A stable period needs at least two subgroups.")
    spread = float(np.mean(groups.std(axis=1, ddof=1)))
    return Phase1(float(groups.mean()), spread / c4(groups.shape[1]), groups.shape[1])


def xbar_s(subgroups: ArrayLike, limits: Phase1, *, rules: RuleSet = "nelson") -> tuple[Chart, Chart]:
    """X-bar and S charts of subgroups of shape (k, size), against limits frozen in phase 1 (NIST 6.3.2.1).

    Raises ValueError for subgroups of another size than those that the limits come from.
    """
    groups = _groups(subgroups)
    size = groups.shape[1]
    if size != limits.size:
        raise ValueError(f"The limits are of subgroups of {limits.size} values, and these have {size}.")
    mean_sigma = limits.sigma / math.sqrt(size)
    factor = c4(size)
    deviation, deviation_sigma = limits.sigma * factor, limits.sigma * math.sqrt(1 - factor * factor)
    means = _frozen(groups.mean(axis=1), limits.centre, mean_sigma, rules)
    spreads = _frozen(groups.std(axis=1, ddof=1), deviation, deviation_sigma, rules)
    return means, replace(spreads, lower=np.maximum(spreads.lower, 0.0))


def c4(size: int) -> float:
    """Mean standard deviation of `size` normal values, in sigmas: sqrt(2 / (n - 1)) G(n / 2) / G((n - 1) / 2)"""
    logarithm = float(special.gammaln(size / 2) - special.gammaln((size - 1) / 2))
    return math.sqrt(2 / (size - 1)) * math.exp(logarithm)


def _groups(subgroups: ArrayLike) -> Floats:
    groups = np.asarray(subgroups, dtype=np.float64)
    if groups.ndim != 2 or groups.shape[1] < 2:
        raise ValueError("Subgroups are a table with at least two values in each row.")
    return groups


def _frozen(points: Floats, centre: float, sigma: float, rules: RuleSet) -> Chart:
    limits = np.full(len(points), 3 * sigma)
    z = standardised(points - centre, sigma)
    return Chart(points, centre, sigma, centre - limits, centre + limits, z, _runs(z, rules))


def ewma(
    values: ArrayLike, *, target: float, sigma: float, weight: float = 0.2, width: float = 2.962, exact: bool = True
) -> Chart:
    """Exponentially weighted moving average, z_i = weight x_i + (1 - weight) z_(i-1), z_0 = target (NIST 6.3.2.4).

    Limits are target +- width sigma sqrt(weight / (2 - weight) [1 - (1 - weight)^(2i)]); `exact=False` leaves the
    bracket out. The defaults have one false alarm in 500 points. A missing point repeats the last average. Raises
    ValueError for a weight outside (0, 1] or a sigma below zero.
    """
    if not 0 < weight <= 1:
        raise ValueError("An EWMA's weight lies above 0 and at most at 1.")
    x = _series(values)
    averages = np.empty(len(x))
    last, seen, steps = target, 0, np.empty(len(x))
    for i, value in enumerate(x.tolist()):
        if not math.isnan(value):
            last, seen = weight * value + (1 - weight) * last, seen + 1
        averages[i], steps[i] = last, seen
    bracket = 1 - (1 - weight) ** (2 * steps) if exact else np.ones(len(x))
    limits = ewma_limit(sigma=sigma, weight=weight, width=width) * np.sqrt(bracket)
    hits = _beyond("ewma", f"moving average beyond {width:g} sigma of its own", averages - target, limits, ~np.isnan(x))
    z = standardised(averages - target, limits / width)
    return Chart(averages, target, sigma, target - limits, target + limits, z, hits)


def cusum(values: ArrayLike, *, target: float, sigma: float, k: float = 0.5, h: float = 5.0) -> CusumChart:
    """Two-sided tabular CUSUM (NIST 6.3.2.3): S+ = max(0, S+ + x - target - k), S- = max(0, S- + target - k - x).

    `k` and `h` are in sigmas; k is half of the shift to be found. The defaults have one false alarm in 465 points. A
    missing point leaves the sums as they are. Raises ValueError for a sigma not above zero.
    """
    if not sigma > 0:
        raise ValueError("A CUSUM needs a sigma above zero.")
    x = _series(values)
    high, low = np.empty(len(x)), np.empty(len(x))
    up = down = 0.0
    for i, value in enumerate(x.tolist()):
        if not math.isnan(value):
            up = max(0.0, up + value - target - k * sigma)
            down = max(0.0, down + target - k * sigma - value)
        high[i], low[i] = up, down
    limit = h * sigma
    signals = np.flatnonzero(((high > limit) | (low > limit)) & ~np.isnan(x)).tolist()
    since = None
    if signals:
        first = signals[0]
        side = high if high[first] > limit else low
        since = int(np.flatnonzero(np.append(True, side[:first] == 0))[-1])
    return CusumChart(high, low, limit, signals, since)


def ewma_limit(*, sigma: float, weight: float, width: float) -> float:
    """How far from its target an EWMA may lie in the long run: width sigma sqrt(weight / (2 - weight))."""
    return width * _not_negative(sigma) * math.sqrt(weight / (2 - weight))


def last_ewma(rows: Floats, *, target: float, weight: float) -> Floats:
    """The EWMA after the last point of each of n rows of m points, shape (n, m), begun at the target; shape (n,).

    A missing point (NaN) repeats the last average.
    """
    averages = np.full(len(rows), target)
    for point in rows.T:
        averages = np.where(np.isnan(point), averages, weight * point + (1 - weight) * averages)
    return averages


def last_cusum(rows: Floats, *, target: float, sigma: float, k: float, h: float) -> tuple[Floats, Floats]:
    """Both sums of a tabular CUSUM, in sigmas, after the last point of each of n rows of m points, shape (n, m), begun
    at 0; two of shape (n,).

    A sum grows to 2 h at most, so that it is back below h after at most h / k points at the target, however long a
    shift went on; when it first passes h does not depend on that. A missing point (NaN) leaves the sums as they are.
    Raises ValueError for a sigma not above zero.
    """
    if not sigma > 0:
        raise ValueError("A CUSUM needs a sigma above zero.")
    up, down = np.zeros(len(rows)), np.zeros(len(rows))
    for point in rows.T:
        z = (point - target) / sigma
        missing = np.isnan(z)
        up = np.where(missing, up, np.clip(up + z - k, 0.0, 2 * h))
        down = np.where(missing, down, np.clip(down - z - k, 0.0, 2 * h))
    return up, down


def standardised(distance: Floats, sigma: Floats | float) -> Floats:
    """Distances from the centre, shape (n,), in sigmas. Without spread any distance is infinitely many."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(distance == 0, 0.0, distance / sigma)


def _series(values: ArrayLike) -> Floats:
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise ValueError("A chart needs a series of at least one point.")
    return x


def _not_negative(sigma: float) -> float:
    if not sigma >= 0:
        raise ValueError("A sigma can't be below zero.")
    return sigma


def _runs(z: Floats, rules: RuleSet) -> list[RuleHit]:
    if rules == "nelson":
        return nelson(z)
    if rules == "western-electric":
        return western_electric(z)
    return nelson(z, rules=(1,))


def _beyond(rule: str, meaning: str, distance: Floats, limits: Floats, known: NDArray[np.bool_]) -> list[RuleHit]:
    out = np.flatnonzero((np.abs(distance) > limits) & known)
    groups = np.split(out, np.flatnonzero(np.diff(out) > 1) + 1) if len(out) else []
    return [RuleHit(rule, meaning, int(group[0]), tuple(group.tolist())) for group in groups]
