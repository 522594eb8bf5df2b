"""Are many columns, taken together, unlike a reference? A classifier and MMD, each with a test and a floor.

The classifier names what tells the samples apart; the maximum mean discrepancy needs no classifier to see it. Either
may call it drift, so each has half of alpha. torch is imported only when called.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.classifier import HALF_ROWS, classifier_test, encoded, left_out, rows_of, thinned
from monitoring.drift.judge import Outcome
from monitoring.drift.mmd import MmdResult, mmd_test

PERMUTATIONS = 499
FEWER = 99
"""Permutations where MMD^2 lies below its floor: p is told, and nothing hangs on it."""
MOST_ROWS = 800
"""Rows of each sample that are compared, drawn at random: what this costs does not grow with the window."""


@dataclass(frozen=True)
class JointLimits:
    """Floors: the classifier's ROC AUC (1/2 tells nothing) and MMD^2 of a kernel of median width (0 to 2)."""

    alpha: float = 0.01
    auc: float = 0.6
    mmd: float = 0.01
    minimum_rows: int = 200


@dataclass(frozen=True)
class Joint:
    """The answer, both statistics with their p-values (NaN without enough data), and what told most, with its share."""

    outcome: Outcome
    auc: float
    auc_p: float
    mmd: float
    mmd_p: float
    n_reference: int
    n_window: int
    telling: list[tuple[str, float]]
    by: list[str]
    """Which of the two found it: "classifier", "mmd"."""


def judge_together(
    reference: Mapping[str, ArrayLike], window: Mapping[str, ArrayLike], *, limits: JointLimits, seed: int = 0
) -> Joint:
    """Compare two tables of raw columns, shapes (n,) and (m,), of which at most MOST_ROWS each are drawn by `seed`.

    Raises ValueError when the window lacks a column.
    """
    before, now = thinned(reference, window, MOST_ROWS, np.random.default_rng(seed))
    n, m = rows_of(before), rows_of(now)
    if not _enough(n, m, limits):
        return Joint("not enough data", math.nan, math.nan, math.nan, math.nan, n, m, [], [])
    told = classifier_test(before, now, seed=seed)
    apart = _apart(before, now, limits, seed, FEWER)
    p = 1.0 if apart.p is None else apart.p
    by = []
    if told.p <= limits.alpha / 2 and told.auc >= limits.auc:
        by.append("classifier")
    if p <= limits.alpha / 2 and apart.statistic >= limits.mmd:
        by.append("mmd")
    outcome: Outcome = "drift" if by else "no drift"
    return Joint(outcome, told.auc, told.p, apart.statistic, p, n, m, told.telling, by)


def are_unlike(
    reference: Mapping[str, ArrayLike], window: Mapping[str, ArrayLike], *, limits: JointLimits, seed: int = 0
) -> bool:
    """Whether judge_together's outcome is "drift", without what only its words need. Raises ValueError as it does."""
    before, now = thinned(reference, window, MOST_ROWS, np.random.default_rng(seed))
    if not _enough(rows_of(before), rows_of(now), limits):
        return False
    auc, p = left_out(before, now, seed=seed)
    if p <= limits.alpha / 2 and auc >= limits.auc:
        return True
    apart = _apart(before, now, limits, seed, 0)
    return apart.statistic >= limits.mmd and apart.p is not None and apart.p <= limits.alpha / 2


def _enough(n: int, m: int, limits: JointLimits) -> bool:
    return min(n, m) >= max(limits.minimum_rows, 2 * HALF_ROWS)


def _apart(
    before: Mapping[str, NDArray], now: Mapping[str, NDArray], limits: JointLimits, seed: int, permutations: int
) -> MmdResult:
    """MMD by so many permutations, and by PERMUTATIONS where it reaches its floor."""
    n = rows_of(before)
    both = np.column_stack([part for name in before for _, part in encoded(name, before[name], now[name])])
    spread = both.std(axis=0)
    both = both[:, spread > 0] / spread[spread > 0]
    found = mmd_test(both[:n], both[n:], permutations=permutations, seed=seed)
    if found.statistic < limits.mmd:
        return found
    return mmd_test(both[:n], both[n:], permutations=PERMUTATIONS, seed=seed)
