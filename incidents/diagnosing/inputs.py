"""Has what is sent changed, and how? The incident's rows against those before it, column by column. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.drift.classifier import classifier_test
from monitoring.drift.compare import ColumnDrift, compare
from monitoring.drift.judge import Limits, judge
from monitoring.drift.profile import Profile, build_profile

LIMITS = Limits(0.01, 0.1, 0.05, 100)
SHARE = 0.05
STUCK = 0.98
SCALED = 1.5
SAME_SHAPE = 0.1
"""Largest Kolmogorov-Smirnov distance at which a column, scaled back, is the one from before."""
SAME_SHARES = 0.04
"""Largest total variation at which shares, sorted, are the ones from before under other codes."""
AUC, AUC_P, CLASSIFIED_ROWS = 0.56, 1e-4, 1500
FEW = 2
MANY_VALUES = 30

Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Moved:
    """A column that is unlike before. `how` is missing, new, outside, stuck, recoded or scaled, which people don't do,
    or spread: its values are the usual ones in other shares. `because` says it."""

    column: str
    how: str
    because: str

    @property
    def broken(self) -> bool:
        return self.how != "spread"


@dataclass(frozen=True)
class Inputs:
    """What moved, over how many rows, and whether the columns beside one or two that moved have moved with them
    (`others`: None where it was not asked). `verdict` is "same", "upstream", "shift" or "unknown" (too few rows)."""

    rows: int
    rows_before: int
    moved: list[Moved]
    others: bool | None
    verdict: str


def compared(before: Columns, now: Columns) -> Inputs:
    """Compare raw columns, each (n,) and (m,). Those of one table are missing in the other: a column that is not sent
    any more is broken."""
    rows_before, rows = _rows(before), _rows(now)
    if min(rows_before, rows) < LIMITS.minimum_rows:
        return Inputs(rows, rows_before, [], None, "unknown")
    gone = [Moved(name, "missing", f"{name} is not sent any more") for name in before if name not in now]
    shared = {name: column for name, column in before.items() if name in now}
    profile = Profile.from_json(build_profile(shared, {name: _kind(column) for name, column in shared.items()}))
    drifts = {drift.name: drift for drift in compare(profile, {name: now[name] for name in shared})}
    drifted = [one.column for one in judge(list(drifts.values()), limits=LIMITS) if one.drifted]
    moved = gone + [_how(drifts[name], shared[name], now[name]) for name in drifted]
    asked = bool(moved) and len(moved) <= FEW and not any(one.broken for one in moved)
    others = _others_moved(shared, now, [one.column for one in moved]) if asked else None
    return Inputs(rows, rows_before, moved, others, _verdict(moved, others))


def _verdict(moved: Sequence[Moved], others: bool | None) -> str:
    """People differ in much at once, and go on giving the usual answers; a broken column is broken by itself."""
    if not moved:
        return "same"
    if any(one.broken for one in moved):
        return "upstream"
    return "upstream" if others is False else "shift"


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))


def _kind(column: np.ndarray) -> str:
    number = column.dtype.kind in "iuf"
    return (
        "numeric" if number and len(np.unique(column[~np.isnan(column.astype(float))])) > MANY_VALUES else "categorical"
    )


def _how(drift: ColumnDrift, before: np.ndarray, now: np.ndarray) -> Moved:
    name = drift.name
    was, are = _missing(before), _missing(now)
    if are - was >= SHARE:
        return Moved(name, "missing", f"{name} is missing in {are:.0%} of the rows, before in {was:.0%}")
    new = sum(count for _, count in drift.new_categories) / max(drift.rows_window, 1)
    if new >= SHARE:
        codes = ", ".join(str(code) for code, _ in drift.new_categories[:3])
        return Moved(name, "new", f"{name} has values that it never had before ({codes}) in {new:.0%} of the rows")
    value, share = _commonest(now)
    if share >= STUCK and _commonest(before)[1] < share - SHARE:
        return Moved(name, "stuck", f"{name} is {value} in {share:.0%} of the rows")
    if drift.kind == "categorical":
        return _recoded(drift, before, now)
    return _scaled(name, before, now)


def _missing(column: np.ndarray) -> float:
    if column.dtype.kind == "f":
        return float(np.isnan(column).mean())
    return float(np.mean([value is None for value in column])) if column.dtype.kind == "O" else 0.0


def _commonest(column: np.ndarray) -> tuple[object, float]:
    values, counts = np.unique(column.astype(str), return_counts=True)
    at = int(counts.argmax())
    return values[at], float(counts[at] / counts.sum())


def _recoded(drift: ColumnDrift, before: np.ndarray, now: np.ndarray) -> Moved:
    """The same shares under other codes: what changed is how the column is written."""
    name = drift.name
    codes = sorted(set(before.tolist()) | set(now.tolist()), key=str)
    was, are = (np.array([(column == code).mean() for code in codes]) for column in (before, now))
    apart = float(np.abs(was - are).sum() / 2)
    sorted_apart = float(np.abs(np.sort(was) - np.sort(are)).sum() / 2)
    if sorted_apart <= max(SAME_SHARES, apart / 8) and sorted_apart <= apart / 2:
        return Moved(name, "recoded", f"{name} has the shares from before under other codes")
    at = int(np.abs(was - are).argmax())
    return Moved(name, "spread", f"{name} is {codes[at]} in {are[at]:.0%} of the rows, before in {was[at]:.0%}")


def _scaled(name: str, before: np.ndarray, now: np.ndarray) -> Moved:
    old, new = (column.astype(float)[np.isfinite(column.astype(float))] for column in (before, now))
    was, are = float(np.median(old)), float(np.median(new))
    if was * are > 0 and abs(math.log(are / was)) >= math.log(SCALED):
        ratio = float(
            np.median(
                np.quantile(new, DECILES) / np.where(np.quantile(old, DECILES) == 0, np.nan, np.quantile(old, DECILES))
            )
        )
        if math.isfinite(ratio) and _distance(old * ratio, new) <= SAME_SHAPE:
            return Moved(name, "scaled", f"{name} is {ratio:.3g} times what it was: median {are:.4g}, before {was:.4g}")
    outside = float(((new < old.min()) | (new > old.max())).mean())
    if outside >= SHARE:
        return Moved(name, "outside", f"{name} lies outside of its earlier range in {outside:.0%} of the rows")
    return Moved(name, "spread", f"{name} has median {are:.4g}, before {was:.4g}")


DECILES = np.linspace(0.1, 0.9, 9)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    at = np.sort(np.concatenate([one, other]))
    below = [np.searchsorted(np.sort(values), at, side="right") / len(values) for values in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def _others_moved(before: Columns, now: Columns, moved: Sequence[str]) -> bool | None:
    """Whether the columns beside those that moved tell the rows apart; None where there are none or too few rows."""
    rest = [name for name in before if name not in moved]
    if not rest:
        return None
    try:
        told = classifier_test(
            {name: before[name] for name in rest}, {name: now[name] for name in rest}, maximum_rows=CLASSIFIED_ROWS
        )
    except ValueError:
        return None
    return bool(told.auc >= AUC and told.p < AUC_P)
