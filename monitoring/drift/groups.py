"""Which group of rows is hit most: accuracy by each value of each feature, ranked by the errors too many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift import measures
from monitoring.drift.judge import Outcome, benjamini_hochberg
from monitoring.drift.values import Category, is_missing


@dataclass(frozen=True)
class GroupAccuracy:
    """One group's accuracy with Wilson's interval, against its accuracy in the reference.

    `excess_errors` are the errors beyond what the reference's accuracy lets expect: what a repair could win back.
    `p` is two-sided and corrected over the groups judged; None where either sample is too small.
    """

    feature: str
    group: Category | None
    n: int
    errors: int
    accuracy: float
    low: float
    high: float
    reference_accuracy: float | None
    excess_errors: float | None
    p: float | None
    outcome: Outcome
    sentence: str


def check_reference_has(features: Mapping[str, ArrayLike], reference_features: Mapping[str, ArrayLike]) -> None:
    """Raises ValueError naming the features that the reference lacks."""
    absent = sorted(set(features) - set(reference_features))
    if absent:
        raise ValueError(f"The reference lacks these features: {', '.join(absent)}.")


def rank_groups(
    correct: ArrayLike,
    features: Mapping[str, ArrayLike],
    *,
    reference_correct: ArrayLike,
    reference_features: Mapping[str, ArrayLike],
    minimum_rows: int = 50,
    alpha: float = 0.01,
    drop_floor: float = 0.05,
) -> list[GroupAccuracy]:
    """Compare each group's accuracy in the window with the same group's in the reference, most excess errors first.

    `correct` has shape (n,) and so has every feature (categorical codes; bin numbers beforehand); None or NaN is the
    group None. A group drifted when its accuracy differs at `alpha` (two-proportion test, Benjamini-Hochberg over
    groups) and fell by at least `drop_floor`. Groups with fewer than `minimum_rows` in either sample come last,
    unjudged. Raises ValueError when lengths differ or a feature is absent from the reference.
    """
    window, reference = _tally(correct, features), _tally(reference_correct, reference_features)
    check_reference_has(features, reference_features)
    judged = [
        key for key, (n, _) in window.items() if n >= minimum_rows and reference.get(key, (0, 0))[0] >= minimum_rows
    ]
    p_values = [measures.proportions_p(reference[k][1], reference[k][0], window[k][1], window[k][0]) for k in judged]
    adjusted = dict(zip(judged, benjamini_hochberg(p_values).tolist(), strict=True))
    groups = [
        _group(key, counts, reference.get(key), adjusted.get(key), minimum_rows, alpha, drop_floor)
        for key, counts in window.items()
    ]
    return sorted(groups, key=lambda g: (g.p is None, -(g.excess_errors or 0.0), -g.n, g.feature, str(g.group)))


def _tally(correct: ArrayLike, features: Mapping[str, ArrayLike]) -> dict[tuple[str, Category | None], tuple[int, int]]:
    """Rows and right answers of every group."""
    right = np.asarray(correct).astype(bool)
    tally = {}
    for feature, column in features.items():
        codes, names = group_codes(np.asarray(column))
        if len(codes) != len(right):
            raise ValueError(f"Feature {feature} has {len(codes)} rows, but there are {len(right)} answers.")
        rows = np.bincount(codes, minlength=len(names))
        hits = np.bincount(codes[right], minlength=len(names))
        tally.update({(feature, name): (int(n), int(h)) for name, n, h in zip(names, rows, hits, strict=True)})
    return tally


def group_codes(column: NDArray) -> tuple[NDArray[np.intp], list[Category | None]]:
    """Each row's group as a number, shape (n,), and the groups' names; missing cells are the group None."""
    if column.dtype.kind != "O":
        missing = np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=bool)
        names, codes = np.unique(column[~missing], return_inverse=True)
        every = np.full(len(column), len(names), dtype=np.intp)
        every[~missing] = codes
        plain = [int(v) if isinstance(v, float) and v.is_integer() else v for v in names.tolist()]
        return every, [*plain, None] if missing.any() else plain
    found: dict[Category | None, int] = {}
    values = [None if is_missing(value) else value for value in column.tolist()]
    codes = np.array([found.setdefault(value, len(found)) for value in values], dtype=np.intp)
    return codes, list(found)


def _group(
    key: tuple[str, Category | None], window: tuple[int, int], reference: tuple[int, int] | None, p: float | None,
    minimum: int, alpha: float, floor: float,
) -> GroupAccuracy:  # fmt: skip
    (feature, group), (n, hits) = key, window
    low, high = measures.wilson(hits, n)
    accuracy = hits / n
    expected = reference[1] / reference[0] if reference and reference[0] else None
    excess = n * (expected - accuracy) if expected is not None else None
    outcome: Outcome = "not enough data"
    sentence = f"{feature} {group}: {n} rows in the window and {reference[0] if reference else 0} in the reference; "
    sentence += f"at least {minimum} are needed in both."
    if p is not None and expected is not None and excess is not None:
        outcome = "drift" if p <= alpha and expected - accuracy >= floor else "no drift"
        sentence = (
            f"{feature} {group}: accuracy {accuracy:.1%} ({low:.1%} to {high:.1%}) on {n} rows, {expected:.1%} in the "
            f"reference; {abs(excess):.0f} {'more' if excess >= 0 else 'fewer'} errors than expected."
        )
    return GroupAccuracy(
        feature, group, n, n - hits, accuracy, low, high, expected, excess, p, outcome, sentence
    )  # fmt: skip
