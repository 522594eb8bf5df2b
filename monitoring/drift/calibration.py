"""How often would a detector cry wolf? Measured: the reference is split against itself, again and again.

Each split takes a window's worth of rows out of the reference by chance, without putting any back, and judges them
against the rest. Of a drift rule, a profile's counts are enough: how many rows of each cell are taken follows the
multivariate hypergeometric distribution, column by column, and is drawn for PSI's few cells first and for the fine ones
only where a floor is near. What this leaves out is that rows of one hour are alike: real traffic is less even than such
a draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.drift.compare import ColumnDrift, compare_column, psi_starts
from monitoring.drift.judge import LEAST_WEIGHT, Limits, judge, overall
from monitoring.drift.measures import EXPECTED_MINIMUM, ZERO_SHARE, expected_psi, pool_rare, psi, wilson
from monitoring.drift.profile import CategoricalProfile, CategoricalWindow, NumericProfile, NumericWindow, Profile
from monitoring.drift.window import numeric_as_reference

SECONDS_A_DAY = 86_400

BLOCK = 20
"""Splits drawn at once."""

LEAST_SPLITS = 100
"""Splits from which the share of alarms says how often there will be one: none in 100 is at most 3.7 %."""
TOO_FEW = "too few splits so far to say how often"

OTHER = "(other)"
"""Stands for the categories that a profile counts together."""


@dataclass(frozen=True)
class FalseAlarms:
    """Of `splits` windows of `rows` rows each, `alarms` raised an alarm; `high` ends the 95 % interval of their share.

    `left_out` are the columns that were not tried: they have more categories than a profile lists, and so few rows of
    each that a split, unlike a window, would lose categories the reference knows.
    """

    splits: int
    rows: int
    alarms: int
    high: float
    left_out: list[str] = field(default_factory=list)

    def days_between(self, *, window_seconds: int, in_a_row: int) -> float:
        """The fewest days between two false alarms that are credible (from `high`) of a rule that asks for `in_a_row`
        breaches. Windows are taken to be independent."""
        return 1 / (SECONDS_A_DAY / window_seconds * self.high**in_a_row)

    def sentence(self, *, window_seconds: int, in_a_row: int) -> str:
        """For the page, beside the rule's limits."""
        days = self.days_between(window_seconds=window_seconds, in_a_row=in_a_row)
        often = f"one false alarm in {days:,.0f} days" if days >= 2 else f"{1 / days:.1f} false alarms a day"
        far = f"with {in_a_row} in a row, at most about {often}" if self.splits >= LEAST_SPLITS else TOO_FEW
        untried = f" Not tried, for its many categories: {', '.join(self.left_out)}." if self.left_out else ""
        return (
            f"Split against itself {self.splits} times, {self.rows:,} rows at a time, the reference raised "
            f"{self.alarms} alarm{'' if self.alarms == 1 else 's'}: {far}.{untried}"
        )


def split_against_itself(
    reference: int, rows: int, raises: Callable[[NDArray[np.bool_]], bool], *, splits: int = 400, seed: int = 0
) -> FalseAlarms:
    """Draw a window of `rows` (at most half) of `reference` rows `splits` times, and count how often `raises` says that
    it is unlike the rest. `raises` takes which rows are the window's, shape (reference,)."""
    rng, taken, alarms = np.random.default_rng(seed), min(rows, reference // 2), 0
    for _ in range(splits):
        drawn = np.zeros(reference, dtype=bool)
        drawn[rng.choice(reference, taken, replace=False)] = True
        alarms += raises(drawn)
    return counted(splits, taken, alarms)


def counted(splits: int, rows: int, alarms: int) -> FalseAlarms:
    """What so many splits came to; raises ValueError for none."""
    return FalseAlarms(splits, rows, alarms, wilson(alarms, splits)[1])


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
    """Split `profile` `splits` times into a window of `rows` rows (at most half of the column with the fewest) and the
    rest, and judge each.

    None where the reference has too few rows for a window that could be judged.
    """
    left_out = [name for name, column in profile.columns.items() if _is_thin(column)]
    columns = [_Column(name, column) for name, column in profile.columns.items() if name not in left_out]
    taken = min([rows, *(column.rows // 2 for column in columns)])
    if not columns or taken < limits.minimum_rows:
        return None
    rng, alarms = np.random.default_rng(seed), 0
    for start in range(0, splits, BLOCK):
        drawn = [column.draw(taken, min(BLOCK, splits - start), rng) for column in columns]
        # Few splits come near a floor, and only these are worth the tests.
        near = np.any([column.near(parts, limits) for column, parts in zip(columns, drawn, strict=True)], axis=0)
        for split in np.flatnonzero(near):
            drifts = [column.compare(parts[split], rng) for column, parts in zip(columns, drawn, strict=True)]
            alarms += overall(judge(drifts, limits=limits), weights, least).outcome == "drift"
    return FalseAlarms(splits, taken, alarms, wilson(alarms, splits)[1], left_out)


def _is_thin(column: NumericProfile | CategoricalProfile) -> bool:
    if isinstance(column, NumericProfile) or not column.other:
        return False
    return sum(n for _, n in column.counts) < EXPECTED_MINIMUM * len(column.counts)


class _Column:
    """A column's rows by cells, unusable ones last: `fine` are all cells, and `coarse` the few that PSI is over, which
    begin at the positions `starts` of `fine`."""

    def __init__(self, name: str, column: NumericProfile | CategoricalProfile) -> None:
        self.name, self.column = name, column
        if isinstance(column, NumericProfile):
            self.fine = np.append(column.counts, [column.missing, column.infinite, column.invalid])
            self.starts = np.append(psi_starts(column), np.arange(len(column.counts), len(self.fine)))
        else:
            self.fine = np.array([n for _, n in column.counts] + [column.other, column.missing, 0, 0], dtype=np.int64)
            self.starts = np.arange(len(self.fine))
        self.coarse = np.add.reduceat(self.fine, self.starts)
        self.rows = int(self.fine.sum())

    def draw(self, taken: int, splits: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """How many of `taken` rows lie in each coarse cell, shape (splits, cells)."""
        return rng.multivariate_hypergeometric(self.coarse, taken, splits, method="marginals")

    def near(self, parts: NDArray[np.int64], limits: Limits) -> NDArray[np.bool_]:
        """Which of the drawn windows differ from their rest by as much as any floor."""
        m = int(parts[0].sum())
        rest, n = self.coarse - parts, self.rows - m
        p, q = (np.where(cells, cells / cells[0].sum(), ZERO_SHARE) for cells in (rest, parts))
        # Pooling small cells, and what chance makes of it, only lower PSI: most windows are done with here.
        found = np.sum((q - p) * np.log(q / p), axis=1) >= limits.psi_floor
        for split in np.flatnonzero(found):
            a, b = pool_rare(rest[split], parts[split], keep_observed=True)
            found[split] = psi(a, b) - expected_psi(len(a), n, m) >= limits.psi_floor
        apart = np.abs(parts[:, -3:] / m - rest[:, -3:] / n).max(axis=1)
        gone = np.where(rest == 0, parts, 0).sum(axis=1) / m
        near: NDArray[np.bool_] = found | (np.maximum(apart, gone) >= limits.share_floor)
        return near

    def compare(self, coarse: NDArray[np.int64], rng: np.random.Generator) -> ColumnDrift:
        """A window with so many rows in each coarse cell against the rest."""
        part = self._split(coarse, rng)
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

    def _split(self, coarse: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows drawn from coarse cells, drawn on from the fine cells of each."""
        part, ends = np.zeros_like(self.fine), [*self.starts[1:], len(self.fine)]
        for start, end, taken in zip(self.starts, ends, coarse, strict=True):
            if end - start == 1:
                part[start] = taken
            elif taken:
                part[start:end] = rng.multivariate_hypergeometric(self.fine[start:end], taken, method="marginals")
        return part
