"""The columns of both sides: counted from sketches, or exactly from the rows, and held against each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
from django.db.models import Sum

from monitoring import sketches
from monitoring.comparing.sides import Asked, Side
from monitoring.drift.compare import ColumnDrift, compare_column
from monitoring.drift.exact import compare_exact, sort_reference
from monitoring.drift.judge import ColumnVerdict, Verdict, judge, overall
from monitoring.drift.profile import (
    CategoricalProfile,
    CategoricalWindow,
    NumericProfile,
    NumericWindow,
    Profile,
)
from monitoring.drift.sketch import NotMergeable, Sketch, as_reference, hold, sketch_column
from monitoring.drift.values import category_counts, numeric_values
from monitoring.drift.window import count_sorted, count_window
from monitoring.models import PredictionBatch, WindowSketch
from monitoring.profiles import profiles_of
from monitoring.references import versions_of
from monitoring.sketches import FEATURE, OWN, Counted
from monitoring.windows import load_predictions, numpy_column
from registry.models import Endpoint, Version

LATENCY = "latency_ms"
MOST_ROWS = 500_000
"""Predictions of one side that are read for an exact comparison."""
Reference = NumericProfile | CategoricalProfile
Counts = NumericWindow | CategoricalWindow


class NothingThere(ValueError):
    """A side that holds nothing that could be compared. The message says which, and what to do."""


@dataclass(frozen=True)
class Column:
    """One column of both sides. `error` is by how much any share that the statistics rest on may be another, from 0
    (exact) to 1; `cells` are name, share before, share now."""

    name: str
    drift: ColumnDrift
    verdict: ColumnVerdict
    error: float
    weight: float | None
    reference: Reference
    counts: Counts


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


def compared(asked: Asked) -> Columns:
    """Both sides' columns. Raises NothingThere, monitoring.sketches.TooMuch and monitoring.store.StoreDamaged."""
    training = main_version(asked) if asked.before is None else None
    return _exactly(asked, training) if asked.exact else _by_sketches(asked, training)


def _by_sketches(asked: Asked, training: Version | None) -> Columns:
    now = _read(asked.endpoint, asked.now)
    before = _read(asked.endpoint, asked.before) if asked.before else None
    found = Columns(
        now, before, training, exact=False, left_out=_plain([*now.unlike, *(before.unlike if before else [])])
    )
    held: dict[str, tuple[Reference, Counts, float]] = {}
    references = _training(training) if before is None else {}
    for name, sketch in now.columns.items():
        if name == LATENCY:
            continue
        told: Reference | None = references.get(name)
        earlier: Sketch | None = before.columns.get(name) if before else None
        if told is None and earlier is None:
            found.left_out += _plain([name])
            continue
        try:
            reference = told if earlier is None else as_reference(earlier)
            assert reference is not None
            one = hold(sketch, reference)
        except NotMergeable:
            found.left_out += _plain([name])
            continue
        profile = reference if isinstance(reference, NumericProfile | CategoricalProfile) else reference.profile
        held[name] = (profile, one.window, one.error)
    drifts = {name: compare_column(name, *pair[:2]) for name, pair in held.items()}
    _judge(found, asked, drifts, held)
    if before:
        found.latency = _latencies(now), _latencies(before)
    return found


def _read(endpoint: Endpoint, side: Side) -> Counted:
    found = sketches.read(endpoint, side.since, side.until, side.version, side.host)
    if not found.rows:
        raise NothingThere(
            f"No judged window of {side.words} from {side.span} left a sketch. Choose a span in which it answered, or "
            f"have it computed from the rows."
        )
    return found


def _latencies(found: Counted) -> np.ndarray:
    sketch = found.columns.get(LATENCY)
    return np.zeros(0) if sketch is None or sketch.kind != "numeric" else sketch.sample()  # type: ignore[union-attr]


def _training(version: Version | None) -> dict[str, Reference]:
    """The columns of a version's training data, named as sketches name them."""
    profiles = profiles_of(version) if version else None
    if not profiles:
        whose = f"Version {version.number}" if version else "What answered there"
        raise NothingThere(f"{whose} came without a profile of its training data. Compare with another span.")
    known: dict[str, Reference] = {f"{FEATURE}{name}": column for name, column in profiles[0].columns.items()}
    return known | {name: column for name, column in profiles[1].columns.items() if name in OWN}


def _exactly(asked: Asked, training: Version | None) -> Columns:
    table = _rows(asked.endpoint, asked.now)
    names = [name for name in table.column_names if name.startswith(FEATURE) or name in ("output", "score")]
    window = {name: numpy_column(table, name) for name in names}
    now = _told(table)
    if asked.before is None:
        references = _training(training)
        known = Profile(0, {name: references[name] for name in names if name in references})
        counted = count_window(known, {name: window[name] for name in known.columns})
        held = {name: (known.columns[name], counted.columns[name], 0.0) for name in known.columns}
        found = Columns(now, None, training, exact=True, left_out=_plain(set(names) - set(held)))
        _judge(found, asked, {name: compare_column(name, *pair[:2]) for name, pair in held.items()}, held)
        return found
    other = _rows(asked.endpoint, asked.before)
    shared = [name for name in names if name in other.column_names]
    before = {name: numpy_column(other, name) for name in shared}
    version = main_version(asked)
    kinds = {name: kind for name, kind in sketches.kinds_of(version, table).items() if name in shared}
    reference = sort_reference(before, kinds)
    drifts = {drift.name: drift for drift in compare_exact(reference, {name: window[name] for name in kinds})}
    profile = reference.profile.columns
    held = {name: (profile[name], _counts(profile[name], window[name]), 0.0) for name in kinds}
    found = Columns(now, _told(other), None, exact=True, left_out=_plain(set(names) - set(shared)))
    _judge(found, asked, drifts, held)
    found.latency = _sorted(table), _sorted(other)
    return found


def _counts(reference: Reference, values: np.ndarray) -> Counts:
    if isinstance(reference, NumericProfile):
        return count_sorted(reference, numeric_values(values))
    return CategoricalWindow(*category_counts(values))


def _sorted(table: pa.Table) -> np.ndarray:
    sketch = sketch_column(numpy_column(table, LATENCY), "numeric", points=max(len(table), 10))
    return sketch.sample()  # type: ignore[union-attr]


def _rows(endpoint: Endpoint, side: Side) -> pa.Table:
    batches = PredictionBatch.objects.filter(endpoint=endpoint, first_at__lt=side.until, last_at__gte=side.since)
    only = ({"version": side.version} if side.version else {}) | ({"host__name": side.host} if side.host else {})
    rows = batches.filter(**only).aggregate(found=Sum("rows"))["found"] or 0
    if rows > MOST_ROWS:
        raise sketches.TooMuch(
            f"{side.words.capitalize()} answered up to {rows:,} times from {side.span}; at most {MOST_ROWS:,} rows are "
            f"computed exactly. Choose a shorter span, or stay with the sketches."
        )
    versions, hosts = ([side.version] if side.version else None), ([side.host] if side.host else None)
    table = load_predictions(endpoint, side.since, side.until, versions, hosts)
    if not len(table):
        raise NothingThere(
            f"Nothing was answered by {side.words} from {side.span}. Choose a span in which it answered."
        )
    return table


def _told(table: pa.Table) -> Counted:
    times: list[datetime] = [table.column("ts")[place].as_py() for place in (0, -1)]
    versions, hosts = (sorted({one for one in table.column(name).to_pylist() if one}) for name in ("version", "host"))
    return Counted(len(table), 0, times[0], times[1], versions, hosts)


def _judge(
    found: Columns, asked: Asked, drifts: Mapping[str, ColumnDrift], held: Mapping[str, tuple[Reference, Counts, float]]
) -> None:
    version = found.training or main_version(asked)
    profiles = profiles_of(version) if version else None
    weights = profiles[0].weights if profiles else {}
    named = {name: name.removeprefix(FEATURE) for name in drifts}
    verdicts = judge([_renamed(drifts[name], named[name]) for name in drifts])
    for name, verdict in zip(drifts, verdicts, strict=True):
        reference, counts, error = held[name]
        drift = _renamed(drifts[name], named[name])
        found.columns.append(Column(named[name], drift, verdict, error, weights.get(named[name]), reference, counts))
    found.overall = overall(verdicts, weights) if verdicts else None
    rank = {"drift": 0, "no drift": 1, "not enough data": 2}
    found.columns.sort(key=lambda one: (rank[one.verdict.outcome], -(one.drift.psi or 0.0) * (one.weight or 1.0)))


def _renamed(drift: ColumnDrift, name: str) -> ColumnDrift:
    return ColumnDrift(**{**vars(drift), "name": name})


def _plain(names: list[str] | set[str]) -> list[str]:
    return sorted({name.removeprefix(FEATURE) for name in names})
