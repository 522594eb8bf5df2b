"""How often would the drift rule cry wolf? Measured: the reference is split against itself, again and again.

Each split takes a window's worth of rows out of the reference by chance, without putting any back, and judges them
against the rest. A profile's counts are enough for that: which rows are taken is drawn by their rank, column by column.
What this leaves out is that rows of one hour are alike: real traffic is less even than a draw from the whole reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.compare import ColumnDrift, compare_column, psi_starts
from monitoring.drift.judge import LEAST_WEIGHT, Limits, judge, overall
from monitoring.drift.measures import expected_psi, pool_rare, psi, wilson
from monitoring.drift.profile import CategoricalProfile, CategoricalWindow, NumericProfile, NumericWindow, Profile
from monitoring.drift.window import numeric_as_reference

SECONDS_A_DAY = 86_400

OTHER = "(other)"
"""Stands for the categories that a profile counts together."""


@dataclass(frozen=True)
class FalseAlarms:
    """Of `splits` windows of `rows` rows each, `alarms` were judged to have drifted; `high` ends the 95 % interval."""

    splits: int
    rows: int
    alarms: int
    high: float

    def days_between(self, *, window_seconds: int, in_a_row: int) -> float:
        """The fewest days between two false alarms that are credible (from `high`) of a rule that asks for `in_a_row`
        breaches. Windows are taken to be independent."""
        return 1 / (SECONDS_A_DAY / window_seconds * self.high**in_a_row)

    def sentence(self, *, window_seconds: int, in_a_row: int) -> str:
        """For the page, beside the rule's limits."""
        days = self.days_between(window_seconds=window_seconds, in_a_row=in_a_row)
        often = f"one false alarm in {days:,.0f} days" if days >= 2 else f"{1 / days:.1f} false alarms a day"
        return (
            f"Split against itself {self.splits} times, {self.rows:,} rows at a time, the reference was judged to have "
            f"drifted {self.alarms} times: with {in_a_row} in a row, at most about {often}."
        )


def false_alarms(
    profile: Profile,
    rows: int,
    *,
    limits: Limits,
    weights: Mapping[str, float] | None = None,
    least: float = LEAST_WEIGHT,
    splits: int = 400,
    seed: int = 0,
) -> FalseAlarms | None:
    """Split `profile` `splits` times into a window of `rows` rows (at most half of it) and the rest, and judge each.

    None where the reference has too few rows for a window that could be judged.
    """
    taken = min(rows, profile.rows // 2)
    if taken < limits.minimum_rows:
        return None
    rng, alarms = np.random.default_rng(seed), 0
    columns = [_Column(name, column) for name, column in profile.columns.items()]
    for _ in range(splits):
        drawn = [rng.choice(profile.rows, taken, replace=False, shuffle=False) for _ in columns]
        # Few splits come near a floor, and only these are worth the tests.
        if any(column.near(ranks, limits) for column, ranks in zip(columns, drawn, strict=True)):
            drifts = [column.compare(ranks) for column, ranks in zip(columns, drawn, strict=True)]
            alarms += overall(judge(drifts, limits=limits), weights, least).outcome == "drift"
    return FalseAlarms(splits, taken, alarms, wilson(alarms, splits)[1])


class _Column:
    """A column's rows in the order of its cells: the finest ones and the few that PSI is over, unusable rows last."""

    def __init__(self, name: str, column: NumericProfile | CategoricalProfile) -> None:
        self.name, self.column = name, column
        if isinstance(column, NumericProfile):
            unusable = [column.missing, column.infinite, column.invalid]
            coarse = np.add.reduceat(column.counts, psi_starts(column))
            self.fine, self.coarse = np.append(column.counts, unusable), np.append(coarse, unusable)
        else:
            self.fine = np.array([n for _, n in column.counts] + [column.other, column.missing, 0, 0], dtype=np.int64)
            self.coarse = self.fine

    def near(self, ranks: NDArray[np.int64], limits: Limits) -> bool:
        """Whether the rows at these ranks, as a window, differ from the rest by as much as any floor."""
        part = _counted(self.coarse, ranks)
        rest = self.coarse - part
        n, m = int(rest.sum()), len(ranks)
        a, b = pool_rare(rest, part, keep_observed=True)
        if psi(a, b) - expected_psi(len(a), n, m) >= limits.psi_floor:
            return True
        apart = np.abs(part[-3:] / m - rest[-3:] / n).max()
        return bool(max(apart, part[rest == 0].sum() / m) >= limits.share_floor)

    def compare(self, ranks: NDArray[np.int64]) -> ColumnDrift:
        """The rows at these ranks, as a window, against the rest."""
        part = _counted(self.fine, ranks)
        rest, column = self.fine - part, self.column
        if isinstance(column, NumericProfile):
            window, left = (NumericWindow(c[:-3], int(c[-3]), int(c[-2]), 0.0, 0.0, int(c[-1])) for c in (part, rest))
            return compare_column(self.name, numeric_as_reference(column, left), window)
        values = [*(value for value, _ in column.counts), OTHER]
        known = [(value, int(n)) for value, n in zip(values[:-1], rest, strict=False) if n]
        usable, other, missing = int(rest[:-3].sum()), int(rest[-4]), int(rest[-3])
        reference = replace(column, n=usable, missing=missing, counts=known, other=other)
        counts = {value: int(n) for value, n in zip(values, part, strict=False) if n}
        return compare_column(self.name, reference, CategoricalWindow(counts, int(part[-3])))


def _counted(cells: NDArray[np.int64], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the ranks lie in each cell."""
    return np.bincount(np.searchsorted(np.cumsum(cells), ranks, "right"), minlength=len(cells))
