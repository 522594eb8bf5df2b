"""Where does a fall of accuracy sit? The slice of one or two features that holds more of it than its share of rows.

A slice is judged by its excess errors beyond those that the fall would have put there had it been spread evenly: of two
slices that hold the same errors, the narrower one explains more (Chung et al. 2019 search in the same spirit).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.groups import GroupAccuracy, check_reference_has, group_codes, rank_groups

MOST_PAIRED = 20
"""Features up to which every two are crossed."""


@dataclass(frozen=True)
class Slice:
    """A slice that drifted: `group` as rank_groups found it, and which share of the fall's excess errors it holds on
    which share of the rows."""

    group: GroupAccuracy
    explains: float
    rows: float
    sentence: str


def worst_slice(
    correct: ArrayLike,
    features: Mapping[str, ArrayLike],
    *,
    reference_correct: ArrayLike,
    reference_features: Mapping[str, ArrayLike],
    minimum_rows: int = 50,
    alpha: float = 0.01,
    drop_floor: float = 0.05,
) -> Slice | None:
    """The slice that explains most of a fall of accuracy; None where accuracy has not fallen, no slice drifted, or the
    fall is spread evenly: there is always a slice that holds the most of it.

    Arguments are rank_groups'. All slices are judged together, so that many are not a reason to find one. Raises
    ValueError when lengths differ or a feature is absent from the reference.
    """
    check_reference_has(features, reference_features)
    right, before = np.asarray(correct).astype(bool), np.asarray(reference_correct).astype(bool)
    fall = (float(before.mean()) - float(right.mean())) if len(right) and len(before) else 0.0
    if fall <= 0:
        return None
    crossed = _crossed(features)
    reference_crossed = _crossed({name: reference_features[name] for name in features})
    groups = rank_groups(
        right, crossed, reference_correct=before, reference_features=reference_crossed, minimum_rows=minimum_rows,
        alpha=alpha, drop_floor=drop_floor,
    )  # fmt: skip
    drifted = [group for group in groups if group.outcome == "drift"]
    if not drifted:
        return None
    worst = max(drifted, key=lambda g: ((g.excess_errors or 0.0) - g.n * fall, -len(g.feature)))
    mine, theirs = _of(crossed[worst.feature], worst.group), _of(reference_crossed[worst.feature], worst.group)
    if _chance_of_more(right, mine, before, theirs) * len(groups) >= alpha:
        return None
    explains, rows = (worst.excess_errors or 0.0) / (fall * len(right)), worst.n / len(right)
    sentence = f"{worst.sentence} That is {explains:.0%} of the fall on {rows:.0%} of the rows."
    return Slice(worst, explains, rows, sentence)


def _of(column: ArrayLike, group: object) -> NDArray[np.bool_]:
    codes, names = group_codes(np.asarray(column))
    return np.isin(codes, [code for code, name in enumerate(names) if name == group])


def _chance_of_more(
    right: NDArray[np.bool_], mine: NDArray[np.bool_], before: NDArray[np.bool_], theirs: NDArray[np.bool_]
) -> float:
    """How likely chance makes the fall inside of a slice exceed that outside by as much as it does: one-sided, by the
    normal distribution of the difference of two differences of shares. 1 where nothing lies outside."""
    falls, variance = [], 0.0
    for now, then in ((right[mine], before[theirs]), (right[~mine], before[~theirs])):
        if not len(now) or not len(then):
            return 1.0
        falls.append(float(then.mean()) - float(now.mean()))
        # One success and one failure more, since a share of 0 or 1 is not known without error.
        shares = [((sample.sum() + 1) / (len(sample) + 2), len(sample)) for sample in (now, then)]
        variance += sum(share * (1 - share) / n for share, n in shares)
    return NormalDist().cdf(-(falls[0] - falls[1]) / variance**0.5)


def _crossed(features: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
    """The features, and every two of them as one: the group of "a and b" where a is 1 and b is 2 is "1, 2"."""
    crossed: dict[str, ArrayLike] = dict(features)
    if len(features) > MOST_PAIRED:
        return crossed
    words = {name: _words(np.asarray(column)) for name, column in features.items()}
    for a, b in combinations(features, 2):
        crossed[f"{a} and {b}"] = words[a] + ", " + words[b]
    return crossed


def _words(column: NDArray) -> NDArray[np.object_]:
    codes, names = group_codes(column)
    return np.array([str(name) for name in names], dtype=object)[codes]
