"""Two versions on the same rows: is one of them right more often?

Rows on which both are right, or both wrong, say nothing about which is better. Only those on which one alone is right
count (McNemar 1947), here by the exact binomial test. Two intervals of two shares, held against each other, would throw
the pairing away, and with it most of what the rows can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

SHRINK = 2.0
"""Rows added, half to each kind of disagreement (Agresti and Min 2005)."""


@dataclass(frozen=True)
class Paired:
    """`difference` is the share of rows that `first` is right in less that of `second`, with its 95 % interval;
    `gained` rows are right with the first alone, `lost` with the second alone; `p` is two-sided."""

    n: int
    gained: int
    lost: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def better(self) -> bool:
        """Whether the first is surely better, at the interval's level."""
        return self.low > 0 and self.p < 0.05

    @property
    def worse(self) -> bool:
        return self.high < 0 and self.p < 0.05


def paired(first_right: ArrayLike, second_right: ArrayLike, confidence: float = 0.95) -> Paired:
    """Compare two boolean arrays of shape (n,), row by row. The interval is Wald's with Agresti and Min's rows added,
    which keeps its coverage where few rows disagree. Raises ValueError for arrays of different or no length."""
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    n = len(first)
    if n != len(second) or not n:
        raise ValueError(f"{n} rows can't be paired with {len(second)}.")
    gained, lost = int((first & ~second).sum()), int((~first & second).sum())
    p = min(2 * float(special.bdtr(min(gained, lost), gained + lost, 0.5)), 1.0)
    more, less, rows = gained + SHRINK / 2, lost + SHRINK / 2, n + SHRINK
    middle = (more - less) / rows
    spread = math.sqrt(max(more + less - (more - less) ** 2 / rows, 0.0)) / rows
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    return Paired(
        n, gained, lost, (gained - lost) / n, max(middle - z * spread, -1.0), min(middle + z * spread, 1.0), p
    )
