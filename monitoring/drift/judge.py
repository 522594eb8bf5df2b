"""From statistics to one answer per column: drift, no drift, or not enough data.

A column has drifted when a test finds a difference that many tests on many columns would not find by chance
(Benjamini and Hochberg 1995), *and* the difference is large enough to matter. Large samples make anything
significant; small ones make any distance large: neither alone is drift.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.compare import ColumnDrift

Outcome = Literal["drift", "no drift", "not enough data"]

MISTYPED = "values of another type"

LEAST_WEIGHT = 0.05
"""Share of the largest importance below which a column's drift is told and wakes nobody."""


@dataclass(frozen=True)
class ColumnVerdict:
    """The answer for one column, with the test that decided it.

    `p_adjusted` is corrected over all tests of all columns. `effect` is `effect_name`'s size and `floor` what it must
    reach: PSI or a difference of shares, each less what chance alone makes of it on average. Without enough data, p
    and effect are None.
    """

    column: str
    outcome: Outcome
    test: str
    p: float | None
    p_adjusted: float | None
    effect: float | None
    effect_name: str
    floor: float
    sentence: str

    @property
    def drifted(self) -> bool:
        """Whether the answer is "drift"."""
        return self.outcome == "drift"


@dataclass(frozen=True)
class Verdict:
    """The answer for a window as a whole: the columns that drifted, and those of them that the model hardly reads."""

    outcome: Outcome
    drifted: list[str]
    judged: int
    sentence: str
    unimportant: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Hypothesis:
    column: str
    test: str
    p: float
    effect: float
    effect_name: str
    floor: float

    def weight(self, adjusted: float, alpha: float) -> tuple[bool, float, float]:
        """Ranks hypotheses of one column: those that mean drift first, then the larger effect, then the smaller p."""
        relative = self.effect / self.floor if self.floor else self.effect
        return adjusted <= alpha and self.effect >= self.floor, relative, -adjusted


@dataclass(frozen=True)
class Limits:
    """What a difference must reach: `alpha` is the false discovery rate, the floors are of PSI and of shares, and a
    distribution is judged from `minimum_rows` usable rows on, in window and reference."""

    alpha: float = 0.01
    psi_floor: float = 0.2
    share_floor: float = 0.05
    minimum_rows: int = 100


def judge(drifts: Iterable[ColumnDrift], *, limits: Limits = Limits()) -> list[ColumnVerdict]:
    """Judge each column, in the order given.

    Tested are the distribution (KS or chi-square; effect PSI - (k - 1)(1/n + 1/m)), and the shares of missing,
    infinite, mistyped and unseen values (Fisher or z; effect the rise or fall of the share, for unseen values its
    rise, less sampling noise). The false discovery rate is held over all of these.
    """
    return judge_windows([list(drifts)], limits=limits)[0]


def judge_windows(windows: Sequence[Sequence[ColumnDrift]], *, limits: Limits = Limits()) -> list[list[ColumnVerdict]]:
    """Judge many windows at once, as a look back over a week does: one false discovery rate over all their columns."""
    tested = [[_hypotheses(column, limits) for column in window] for window in windows]
    flat = [hypothesis for window in tested for hypotheses in window for hypothesis in hypotheses]
    adjusted = dict(zip(map(id, flat), benjamini_hochberg([h.p for h in flat]).tolist(), strict=True))
    return [
        [
            _judged(column, found, adjusted, limits, len(window))
            for column, found in zip(window, hypotheses, strict=True)
        ]
        for window, hypotheses in zip(windows, tested, strict=True)
    ]


def _judged(
    column: ColumnDrift, found: list[_Hypothesis], adjusted: dict[int, float], limits: Limits, columns: int
) -> ColumnVerdict:
    ranked = sorted(found, key=lambda h: h.weight(adjusted[id(h)], limits.alpha), reverse=True)
    enough = min(column.n_window, column.n_reference) >= limits.minimum_rows
    if ranked and (enough or ranked[0].weight(adjusted[id(ranked[0])], limits.alpha)[0]):
        return _verdict(column, ranked[0], adjusted[id(ranked[0])], limits.alpha, columns)
    return _not_enough(column, limits.psi_floor, limits.minimum_rows)


def overall(
    verdicts: Sequence[ColumnVerdict], weights: Mapping[str, float] | None = None, least: float = LEAST_WEIGHT
) -> Verdict:
    """The window's answer: drift when any column drifted, as the columns' answers are already corrected for many.

    `weights` are importances as shares of the largest (see drift.importance). A column whose weight is below `least`
    is named, and is no reason for the answer; one whose weight is not known counts in full.
    """
    known = weights or {}
    every = [v.column for v in verdicts if v.drifted]
    drifted = [name for name in every if known.get(name, 1.0) >= least]
    unimportant = [name for name in every if name not in drifted]
    judged = sum(1 for v in verdicts if v.outcome != "not enough data")
    if judged == 0:
        sentence = "No column has enough rows to be judged; wait for a larger window."
        return Verdict("not enough data", [], 0, sentence)
    told = f"{len(drifted)} of {judged} columns drifted: {', '.join(drifted)}." if drifted else ""
    if unimportant:
        told += f" Drifted, but hardly read by the model: {', '.join(unimportant)}."
    told = told.strip() or f"None of {judged} columns drifted."
    return Verdict("drift" if drifted else "no drift", drifted, judged, told, unimportant)


def benjamini_hochberg(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjusted p-values, in the order given (Benjamini and Hochberg 1995): reject where at most alpha."""
    p = np.asarray(p_values, dtype=np.float64)
    if len(p) == 0:
        return p
    order = np.argsort(p)[::-1]
    scaled = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1.0)
    return adjusted


def _hypotheses(column: ColumnDrift, limits: Limits) -> list[_Hypothesis]:
    psi_floor, share_floor, minimum_rows = limits.psi_floor, limits.share_floor, limits.minimum_rows
    found = []
    test, name = (column.ks, "Kolmogorov-Smirnov") if column.kind == "numeric" else (column.chi_square, "chi-square")
    if test and column.psi is not None and min(column.n_window, column.n_reference) >= minimum_rows:
        effect = max(column.psi - column.psi_noise, 0.0)
        found.append(_Hypothesis(column.name, name, test.p, effect, "PSI", psi_floor))
    if min(column.rows_window, column.rows_reference) < minimum_rows:
        return found
    for what, before, now, p in (
        ("missing values", column.missing_share_reference, column.missing_share_window, column.missing_p),
        ("infinite values", column.infinite_share_reference, column.infinite_share_window, column.infinite_p),
        (MISTYPED, column.invalid_share_reference, column.invalid_share_window, column.invalid_p),
    ):
        if before or now:
            effect = max(abs(now - before) - _share_noise(before, now, column.rows_reference, column.rows_window), 0.0)
            found.append(_Hypothesis(column.name, what, p, effect, f"share of {what}", share_floor))
    if column.unseen_share_window and min(column.n_window, column.n_reference) >= minimum_rows:
        effect, what = unseen_effect(column), "share of unseen values"
        found.append(_Hypothesis(column.name, "unseen values", column.unseen_p, effect, what, share_floor))
    return found


def unseen_effect(column: ColumnDrift) -> float:
    """By how much the share of values that the reference never held has risen, less what chance makes of it."""
    before, now = column.unseen_share_reference, column.unseen_share_window
    return max(now - before - _share_noise(before, now, column.n_reference, column.n_window), 0.0)


def _share_noise(before: float, now: float, n: int, m: int) -> float:
    """How far apart two shares of one proportion lie on average: sqrt(2 / pi) standard errors (half-normal mean)."""
    pooled = (before * n + now * m) / (n + m)
    return math.sqrt(2 / math.pi * pooled * (1 - pooled) * (1 / n + 1 / m))


def _verdict(column: ColumnDrift, decided: _Hypothesis, adjusted: float, alpha: float, columns: int) -> ColumnVerdict:
    significant, large = adjusted <= alpha, decided.effect >= decided.floor
    outcome: Outcome = "drift" if significant and large else "no drift"
    measured = f"{decided.effect_name} {_describe(column, decided)}"
    chance = f"{decided.test} p {_p_text(adjusted)} after correction over {columns} columns"
    if outcome == "drift":
        sentence = f"{column.name} drifted: {measured} ({chance})."
    elif significant:
        sentence = f"{column.name} has not drifted: a difference is certain but small, {measured} ({chance})."
    else:
        sentence = f"{column.name} has not drifted: {measured} ({chance})."
    return ColumnVerdict(
        column.name, outcome, decided.test, decided.p, adjusted, decided.effect, decided.effect_name, decided.floor,
        sentence + _new_categories(column),
    )  # fmt: skip


def _describe(column: ColumnDrift, decided: _Hypothesis) -> str:
    if decided.effect_name == "PSI":
        return f"{decided.effect:.3f} beyond its sampling noise, limit {decided.floor:g}"
    before, now = {
        "missing values": (column.missing_share_reference, column.missing_share_window),
        "infinite values": (column.infinite_share_reference, column.infinite_share_window),
        MISTYPED: (column.invalid_share_reference, column.invalid_share_window),
        "unseen values": (column.unseen_share_reference, column.unseen_share_window),
    }[decided.test]
    return f"{now:.1%} against {before:.1%} in the reference, limit {decided.floor:.0%} apart"


def _not_enough(column: ColumnDrift, psi_floor: float, minimum_rows: int) -> ColumnVerdict:
    where = "window" if column.n_window <= column.n_reference else "reference"
    sentence = (
        f"{column.name} can't be judged yet: {min(column.n_window, column.n_reference)} usable rows in the {where}, "
        f"at least {minimum_rows} are needed."
    )
    return ColumnVerdict(column.name, "not enough data", "", None, None, None, "PSI", psi_floor, sentence)


def _new_categories(column: ColumnDrift) -> str:
    if not column.new_categories:
        return ""
    named = ", ".join(f"{value} ({count})" for value, count in column.new_categories[:3])
    more = len(column.new_categories) - 3
    return f" Never seen before: {named}{f' and {more} more' if more > 0 else ''}."


def _p_text(p: float) -> str:
    return "below 0.0001" if p < 0.0001 else f"{p:.4f}"
