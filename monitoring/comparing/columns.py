"""The columns of both sides, counted from sketches and held against each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from django.db.models import Sum
from django.utils.translation import gettext

from monitoring import sketches
from monitoring.charts.distributions import cells_of
from monitoring.comparing.sides import Asked, Side
from monitoring.drift.compare import ColumnDrift, compare_column
from monitoring.drift.judge import ColumnVerdict, Verdict, judge, overall
from monitoring.drift.profile import CategoricalProfile, CategoricalWindow, NumericProfile, NumericWindow
from monitoring.drift.sketch import NotMergeable, Sketch, as_reference, hold
from monitoring.models import WindowSketch
from monitoring.profiles import profiles_of
from monitoring.references import versions_of
from monitoring.sketches import FEATURE, OWN, Counted
from registry.models import Endpoint, Version

LATENCY = "latency_ms"
Reference = NumericProfile | CategoricalProfile
Counts = NumericWindow | CategoricalWindow
Cells = list[tuple[str, float, float]]
"""Name of each cell of a column, its share of the rows before, and now."""


class NothingThere(ValueError):
    """A side that holds nothing that could be compared. The message says which, and what to do."""


@dataclass(frozen=True)
class Column:
    """One column of both sides. `error` is by how much any share that the statistics rest on may be another, from 0
    (exact) to 1."""

    name: str
    drift: ColumnDrift
    verdict: ColumnVerdict
    error: float
    weight: float | None
    cells: Cells


@dataclass
class Columns:
    """All columns, those that differ first. `now` and `before` say what was found of both sides; `left_out` names the
    columns that can't be compared; `latency` are ascending milliseconds of both sides, empty where there are none."""

    now: Counted
    before: Counted | None
    training: Version | None
    exact: bool
    overall: Verdict | None = None
    columns: list[Column] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    latency: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))

    @property
    def error(self) -> float:
        """The largest error of a column."""
        return max((column.error for column in self.columns), default=0.0)


def main_number(asked: Asked) -> str:
    """The version that the side names, else the one that answered most; "" where nothing is known of it."""
    if asked.now.version:
        return asked.now.version
    span = {"endpoint": asked.endpoint, "start__gte": asked.now.since, "end__lte": asked.now.until, "windows": 1}
    most = WindowSketch.objects.filter(**span).values_list("version").annotate(found=Sum("rows"))
    return next((version for version, _ in most.order_by("-found", "-version")), "")


def main_version(asked: Asked) -> Version | None:
    """The registry's version of that number: its training data is what a side is held against."""
    number = main_number(asked)
    return versions_of(asked.endpoint, [(number, "")]).get(number)


def by_sketches(asked: Asked) -> Columns:
    """Both sides' columns from the sketches of their windows. Raises NothingThere and monitoring.sketches.TooMuch."""
    training = main_version(asked) if asked.before is None else None
    now = _read(asked.endpoint, asked.now)
    before = _read(asked.endpoint, asked.before) if asked.before else None
    found = Columns(
        now, before, training, exact=False, left_out=plain([*now.unlike, *(before.unlike if before else [])])
    )
    drifts: dict[str, ColumnDrift] = {}
    cells: dict[str, Cells] = {}
    errors: dict[str, float] = {}
    references = training_columns(training) if before is None else {}
    for name, sketch in now.columns.items():
        if name == LATENCY:
            continue
        told: Reference | None = references.get(name)
        earlier: Sketch | None = before.columns.get(name) if before else None
        if told is None and earlier is None:
            found.left_out += plain([name])
            continue
        try:
            reference = told if earlier is None else as_reference(earlier)
            assert reference is not None
            one = hold(sketch, reference)
        except NotMergeable:
            found.left_out += plain([name])
            continue
        profile = reference if isinstance(reference, NumericProfile | CategoricalProfile) else reference.profile
        drifts[name] = compare_column(name, profile, one.window)
        cells[name], errors[name] = cells_of(profile, one.window), one.error
    judge_columns(found, training or main_version(asked), drifts, cells, errors)
    if before:
        found.latency = _latencies(now), _latencies(before)
    return found


def _read(endpoint: Endpoint, side: Side) -> Counted:
    found = sketches.read(endpoint, side.since, side.until, side.version, side.host)
    if not found.rows:
        raise NothingThere(
            gettext(
                "No judged window of %(words)s from %(span)s left a sketch. Choose a span in which it answered, or "
                "have it computed from the rows."
            )
            % {"words": side.words, "span": side.span}
        )
    return found


def _latencies(found: Counted) -> np.ndarray:
    sketch = found.columns.get(LATENCY)
    return np.zeros(0) if sketch is None or sketch.kind != "numeric" else sketch.sample()  # type: ignore[union-attr]


def training_columns(version: Version | None) -> dict[str, Reference]:
    """The columns of a version's training data, named as sketches name them. Raises NothingThere where it has none."""
    profiles = profiles_of(version) if version else None
    if not profiles:
        whose = (
            gettext("Version %(version)s") % {"version": version.number} if version else gettext("What answered there")
        )
        raise NothingThere(
            gettext("%(whose)s came without a profile of its training data. Compare with another span.")
            % {"whose": whose}
        )
    known: dict[str, Reference] = {f"{FEATURE}{name}": column for name, column in profiles[0].columns.items()}
    return known | {name: column for name, column in profiles[1].columns.items() if name in OWN}


def judge_columns(
    found: Columns,
    version: Version | None,
    drifts: Mapping[str, ColumnDrift],
    cells: Mapping[str, Cells],
    errors: Mapping[str, float],
) -> None:
    """Put the columns into `found`, judged together; names without an error are exact."""
    profiles = profiles_of(version) if version else None
    weights = profiles[0].weights if profiles else {}
    named = {name: name.removeprefix(FEATURE) for name in drifts}
    verdicts = judge([_renamed(drifts[name], named[name]) for name in drifts])
    for name, verdict in zip(drifts, verdicts, strict=True):
        drift, weight = _renamed(drifts[name], named[name]), weights.get(named[name])
        found.columns.append(Column(named[name], drift, verdict, errors.get(name, 0.0), weight, cells[name]))
    found.overall = overall(verdicts, weights) if verdicts else None
    rank = {"drift": 0, "no drift": 1, "not enough data": 2}
    found.columns.sort(key=lambda one: (rank[one.verdict.outcome], -(one.drift.psi or 0.0) * (one.weight or 1.0)))


def _renamed(drift: ColumnDrift, name: str) -> ColumnDrift:
    return ColumnDrift(**{**vars(drift), "name": name})


def plain(names: list[str] | set[str]) -> list[str]:
    """The columns as people know them, in order."""
    return sorted({name.removeprefix(FEATURE) for name in names})
