"""How often a chart cries wolf: average run lengths under a normal process, by Markov chain.

The chart's statistic is cut into states; the mean number of points to a signal solves (I - Q) t = 1, with Q the
chances to go from one state to another without a signal (Brook and Evans 1972; Lucas and Saccucci 1990 for EWMA).
Zero-state: the chart starts at its centre. A shift is in sigmas of one observation.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

STATES = 401


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
