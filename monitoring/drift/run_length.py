"""How often a chart cries wolf: average run lengths of points that are independent and in control.

Of one limit they are exact; of EWMA and CUSUM by Markov chain, under a normal process; of several run rules together
simulated. For the chain the chart's statistic is cut into states; the mean number of points to a signal solves
(I - Q) t = 1, with Q the chances to go from one state to another without a signal (Brook and Evans 1972; Lucas and
Saccucci 1990 for EWMA). Zero-state: the chart starts at its centre. A shift is in sigmas of one observation.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitoring.drift.control import c4
from monitoring.drift.rules import RuleHit

STATES = 401

RUNS, LENGTH = 1_000, 1_000
"""Series that a simulation draws, and the points of each."""

Floats = NDArray[np.float64]


def shewhart_run_length(shift: float = 0.0, *, width: float = 3.0) -> float:
    """Mean number of points until one lies beyond `width` sigmas: 370.4 without a shift."""
    return 1 / float(special.ndtr(-width - shift) + special.ndtr(-width + shift))


def cusum_run_length(shift: float = 0.0, *, k: float = 0.5, h: float = 5.0) -> float:
    """Mean number of points until a two-sided CUSUM signals: 1/ARL = 1/ARL+ + 1/ARL- (Kemp 1961)."""
    return 1 / (1 / _one_sided_cusum(shift, k, h) + 1 / _one_sided_cusum(-shift, k, h))


def ewma_run_length(shift: float = 0.0, *, weight: float = 0.2, width: float = 2.962) -> float:
    """Mean number of points until an EWMA with asymptotic limits signals."""
    limit = width * math.sqrt(weight / (2 - weight))
    edges = np.linspace(-limit, limit, STATES + 1)
    middles = (edges[:-1] + edges[1:]) / 2
    reach = (edges[None, :] - (1 - weight) * middles[:, None]) / weight - shift
    return _mean_time(np.diff(special.ndtr(reach), axis=1), STATES // 2)


def deviation_run_length(size: int) -> float:
    """Mean number of subgroups of `size` normal values until one's standard deviation lies beyond 3 sigma (S chart)."""
    factor = c4(size)
    reach = 3 * math.sqrt(1 - factor * factor)
    upper, lower = factor + reach, max(factor - reach, 0.0)
    free = size - 1
    return 1 / float(special.chdtrc(free, free * upper**2) + special.chdtr(free, free * lower**2))


def proportion_run_length(centre: float, size: float) -> float:
    """Mean number of samples of `size` rows until a p-chart's share lies beyond 3 sigma (binomial)."""
    rows = max(round(size), 1)
    reach = 3 * math.sqrt(centre * (1 - centre) / rows)
    below, above = math.ceil(rows * (centre - reach)) - 1, math.floor(rows * (centre + reach))
    beyond = float(special.bdtrc(above, rows, centre)) if above < rows else 0.0
    return _between(beyond + (float(special.bdtr(below, rows, centre)) if below >= 0 else 0.0))


def rate_run_length(centre: float, size: float) -> float:
    """Mean number of samples of `size` units until a u-chart's rate lies beyond 3 sigma (Poisson)."""
    mean = centre * size
    reach = 3 * math.sqrt(mean)
    below, above = math.ceil(mean - reach) - 1, math.floor(mean + reach)
    return _between(float(special.pdtrc(above, mean)) + (float(special.pdtr(below, mean)) if below >= 0 else 0.0))


def _between(chance: float) -> float:
    return 1 / chance if chance > 0 else math.inf


def simulated_run_length(
    find: Callable[[Floats], list[RuleHit]], draw: Callable[[np.random.Generator, tuple[int, int]], Floats]
) -> float:
    """Mean number of standardised points until `find` has its first hit; infinite where it has none at all.

    `draw` gives independent points of the shape asked for. All points up to the first hits, or to the series' ends, are
    divided by the number of series with a hit: run lengths are all but geometric.
    """
    z = draw(np.random.default_rng(0), (RUNS, LENGTH))
    # A point without data breaks every run, so that none goes on from one series into the next.
    apart = np.column_stack((z, np.full(RUNS, np.nan)))
    first = np.full(RUNS, LENGTH)
    for hit in find(apart.ravel()):
        row, place = divmod(hit.at, LENGTH + 1)
        first[row] = min(first[row], place)
    signals = int(np.count_nonzero(first < LENGTH))
    return float(np.sum(np.minimum(first + 1, LENGTH))) / signals if signals else math.inf


def _one_sided_cusum(shift: float, k: float, h: float) -> float:
    """States: zero, which holds half a cell, then cells of width w around w, 2w, ... up to h."""
    width = 2 * h / (2 * STATES - 1)
    middles = np.arange(STATES) * width
    ends = middles + width / 2
    reach = special.ndtr(ends[None, :] - middles[:, None] + k - shift)
    chances = np.diff(reach, axis=1, prepend=0.0)
    return _mean_time(chances, 0)


def _mean_time(chances: NDArray[np.float64], start: int) -> float:
    return float(np.linalg.solve(np.eye(len(chances)) - chances, np.ones(len(chances)))[start])
