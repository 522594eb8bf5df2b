"""Is a classifier's treatment of groups alike? Selection, error and calibration rates by group, with intervals.

Each rate of a group is held against the same rate of all other groups together. A difference counts when chance would
rarely make it (Benjamini-Hochberg over groups and rates) and it is large enough to matter; small groups are listed and
not judged. The rates are those of Hardt, Price and Srebro (2016) and, for calibration, of Pleiss et al. (2017).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift import measures
from monitoring.drift.groups import group_codes
from monitoring.drift.judge import Outcome, benjamini_hochberg
from monitoring.drift.values import Category

RateName = Literal["selection rate", "true positive rate", "false positive rate", "precision"]

RATES: tuple[RateName, ...] = ("selection rate", "true positive rate", "false positive rate", "precision")
"""Share answered 1: of all rows, of those that are 1, of those that are 0; and share that is 1 of those answered 1."""


@dataclass(frozen=True)
class GroupRate:
    """One rate of one group: `hits` of `n` rows with Wilson's interval, and the same rate of all other groups.

    `p` is two-sided and corrected over groups and rates; None where either side has too few rows.
    """

    feature: str
    group: Category | None
    rate: RateName
    n: int
    hits: int
    value: float | None
    low: float
    high: float
    others: float | None
    p: float | None
    outcome: Outcome
    sentence: str


def group_rates(
    answers: ArrayLike,
    labels: ArrayLike,
    features: Mapping[str, ArrayLike],
    *,
    minimum_rows: int = 50,
    alpha: float = 0.01,
    difference_floor: float = 0.05,
) -> list[GroupRate]:
    """Every rate of every group of every feature, those that differ most first, those too small to judge last.

    `answers` and `labels` (0 and 1) have shape (n,), and so has every feature (categorical codes; None and NaN are the
    group None). "drift" means that the group is treated unlike the others: at `alpha`, and by at least
    `difference_floor`. Raises ValueError when lengths differ or answers and labels are not 0 and 1.
    """
    said, true = _binary(answers, "answers"), _binary(labels, "labels")
    if len(said) != len(true):
        raise ValueError(f"There are {len(said)} answers and {len(true)} labels; each row needs both.")
    counted = [item for feature, column in features.items() for item in _count(feature, column, said, true)]
    judged = [i for i, (*_, hits, n, all_hits, all_n) in enumerate(counted) if min(n, all_n - n) >= minimum_rows]
    p_values = [_p(*counted[i][3:]) for i in judged]
    adjusted = dict(zip(judged, benjamini_hochberg(p_values).tolist(), strict=True))
    found = [
        _rate(*item, p=adjusted.get(i), minimum=minimum_rows, alpha=alpha, floor=difference_floor)
        for i, item in enumerate(counted)
    ]
    return sorted(
        found, key=lambda r: (r.p is None, -abs((r.value or 0.0) - (r.others or 0.0)), r.feature, str(r.group))
    )


Counted = tuple[str, Category | None, RateName, int, int, int, int]


def _binary(values: ArrayLike, what: str) -> NDArray[np.bool_]:
    array = np.asarray(values)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"The {what} must be 0 or 1, one for each row.")
    return array.astype(bool)


def _count(feature: str, column: ArrayLike, said: NDArray[np.bool_], true: NDArray[np.bool_]) -> list[Counted]:
    """Hits and rows of each rate in each group, and in all groups together."""
    codes, names = group_codes(np.asarray(column))
    if len(codes) != len(said):
        raise ValueError(f"Feature {feature} has {len(codes)} rows, but there are {len(said)} answers.")
    bases = (np.ones(len(said), dtype=bool), true, ~true, said)
    hits = (said, said & true, said & ~true, said & true)
    counted: list[Counted] = []
    for rate, base, hit in zip(RATES, bases, hits, strict=True):
        rows = np.bincount(codes[base], minlength=len(names))
        right = np.bincount(codes[hit], minlength=len(names))
        total, every = int(rows.sum()), int(right.sum())
        counted += [
            (feature, name, rate, int(h), int(n), every, total) for name, n, h in zip(names, rows, right, strict=True)
        ]
    return counted


def _p(hits: int, n: int, all_hits: int, all_n: int) -> float:
    return measures.proportions_p(hits, n, all_hits - hits, all_n - n)


def _rate(
    feature: str, group: Category | None, rate: RateName, hits: int, n: int, all_hits: int, all_n: int, *,
    p: float | None, minimum: int, alpha: float, floor: float,
) -> GroupRate:  # fmt: skip
    low, high = measures.wilson(hits, n)
    value = hits / n if n else None
    others = (all_hits - hits) / (all_n - n) if all_n > n else None
    outcome: Outcome = "not enough data"
    sentence = f"{feature} {group}: {n} rows count for the {rate} and {all_n - n} of other groups; at least {minimum} "
    sentence += "are needed of both."
    if p is not None and value is not None and others is not None:
        outcome = "drift" if p <= alpha and abs(value - others) >= floor else "no drift"
        sentence = (
            f"{feature} {group}: {rate} {value:.1%} ({low:.1%} to {high:.1%}) on {n} rows, {others:.1%} in all other "
            f"groups."
        )
    return GroupRate(feature, group, rate, n, hits, value, low, high, others, p, outcome, sentence)
