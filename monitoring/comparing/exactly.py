"""Both sides' columns from every row: some columns at a time, so that what is held does not grow with the span."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.utils.translation import gettext

from monitoring import sketches
from monitoring.charts.distributions import cells_of
from monitoring.comparing.columns import (
    LATENCY,
    Cells,
    Columns,
    Counts,
    NothingThere,
    Reference,
    judge_columns,
    main_version,
    plain,
    training_columns,
)
from monitoring.comparing.sides import Asked, Side
from monitoring.drift.compare import ColumnDrift, compare_column
from monitoring.drift.exact import compare_exact, sort_reference
from monitoring.drift.profile import CategoricalWindow, NumericProfile, Profile
from monitoring.drift.values import category_counts, numeric_values
from monitoring.drift.window import count_sorted, count_window
from monitoring.references import versions_of
from monitoring.sketches import Counted, TooMuch
from monitoring.store import StoreDamaged
from monitoring.windows import batches_within, load_predictions, numpy_column
from registry.models import Endpoint, Version

MOST_ROWS = 20_000_000
"""Predictions of one side that are computed from."""
CELLS = 12_000_000
"""Values of both sides that are held at once: about 100 MB as they are sorted."""
Told = Callable[[int, int, int], None]
"""Is told how many columns of how many are done, and how many rows both sides have. What it raises ends the work."""


@dataclass(frozen=True)
class _Rows:
    """One side's batches, fixed when the work begins, so that all columns are of the same rows; `most` is the version
    that answered most of them."""

    endpoint: Endpoint
    side: Side
    batches: list[int]
    names: list[str]
    digests: list[str]
    facts: Counted
    most: str
    latency: pa.Table

    def read(self, names: list[str]) -> pa.Table:
        """Those columns of every row. Raises StoreDamaged, also where rows went in the meantime."""
        table = _load(self.endpoint, self.side, self.batches, ["ts", *names])
        if len(table) != self.facts.rows:
            raise StoreDamaged(
                f"Predictions of {self.side.span} were removed while they were compared. Ask for what is still there."
            )
        return table


def exactly(asked: Asked, told: Told) -> tuple[Columns, str]:
    """The columns of both sides from their rows, and the SHA-256 over the files that these lie in.

    Raises NothingThere, monitoring.sketches.TooMuch, monitoring.store.StoreDamaged, and what `told` raises.
    """
    now = _rows(asked.endpoint, asked.now)
    before = _rows(asked.endpoint, asked.before) if asked.before else None
    version = main_version(asked) or versions_of(asked.endpoint, [(now.most, "")]).get(now.most)
    training = version if before is None else None
    references = training_columns(training) if before is None else {}
    shared = [name for name in now.names if (name in before.names if before else name in references)]
    other = set(now.names) ^ set(before.names) if before else set(now.names) - set(shared)
    facts = before.facts if before else None
    found = Columns(now.facts, facts, training, exact=True, left_out=plain(other))
    rows = now.facts.rows + (facts.rows if facts else 0)
    drifts: dict[str, ColumnDrift] = {}
    cells: dict[str, Cells] = {}
    told(0, len(shared), rows)
    for names in _groups(shared, rows):
        table = now.read(names)
        one = _beside(version, table, before.read(names)) if before else _trained(references, names, table)
        for drift, held in one:
            drifts[drift.name], cells[drift.name] = drift, held
        told(len(drifts), len(shared), rows)
    judge_columns(found, version, {name: drifts[name] for name in shared if name in drifts}, cells, {})
    if before:
        found.latency = _ordered(now.latency), _ordered(before.latency)
    return found, _digest([*now.digests, *(before.digests if before else [])])


def _rows(endpoint: Endpoint, side: Side) -> _Rows:
    only = ({"version": side.version} if side.version else {}) | ({"host__name": side.host} if side.host else {})
    within = batches_within(endpoint, side.since, side.until).filter(**only).order_by("first_at", "pk")
    chosen = list(within.values_list("pk", "path", "sha256", "rows"))
    rows = sum(count for *_, count in chosen)
    if rows > MOST_ROWS:
        raise TooMuch(
            f"{side.words.capitalize()} answered up to {rows:,} times from {side.span}; at most {MOST_ROWS:,} rows are "
            f"computed exactly. Choose a shorter span, or stay with the sketches."
        )
    keys = [key for key, *_ in chosen]
    table = _load(endpoint, side, keys, ["ts", "version", "host", LATENCY])
    if not len(table):
        raise NothingThere(
            gettext("Nothing was answered by %(words)s from %(span)s. Choose a span in which it answered.")
            % {"words": side.words, "span": side.span}
        )
    names = [name for name in sketches.columns_in(path for _, path, *_ in chosen) if name != LATENCY]
    digests = [f"{path} {sha256}" for _, path, sha256, _ in chosen]
    counts = pc.value_counts(table.column("version")).to_pylist()
    most = max(counts, key=lambda one: one["counts"])["values"] or ""
    return _Rows(endpoint, side, keys, names, digests, _told(table), most, table.select([LATENCY]))


def _load(endpoint: Endpoint, side: Side, batches: list[int], names: list[str]) -> pa.Table:
    versions, hosts = ([side.version] if side.version else None), ([side.host] if side.host else None)
    return load_predictions(endpoint, side.since, side.until, versions, hosts, names, batches)


def _told(table: pa.Table) -> Counted:
    times: list[datetime] = [table.column("ts")[place].as_py() for place in (0, -1)]
    versions, hosts = (
        sorted(one for one in table.column(name).unique().to_pylist() if one) for name in ("version", "host")
    )
    return Counted(len(table), 0, times[0], times[1], versions, hosts)


def _groups(names: list[str], rows: int) -> Iterator[list[str]]:
    each = max(CELLS // max(rows, 1), 1)
    for place in range(0, len(names), each):
        yield names[place : place + each]


def _trained(
    references: dict[str, Reference], names: list[str], table: pa.Table
) -> Iterator[tuple[ColumnDrift, Cells]]:
    known = Profile(0, {name: references[name] for name in names})
    counted = count_window(known, {name: numpy_column(table, name) for name in names})
    for name, reference in known.columns.items():
        yield compare_column(name, reference, counted.columns[name]), cells_of(reference, counted.columns[name])


def _beside(version: Version | None, table: pa.Table, before: pa.Table) -> Iterator[tuple[ColumnDrift, Cells]]:
    kinds = sketches.kinds_of(version, before)
    window = {name: numpy_column(table, name) for name in kinds}
    reference = sort_reference({name: numpy_column(before, name) for name in kinds}, kinds)
    for drift in compare_exact(reference, window):
        profile = reference.profile.columns[drift.name]
        yield drift, cells_of(profile, _counts(profile, window[drift.name]))


def _counts(reference: Reference, values: np.ndarray) -> Counts:
    if isinstance(reference, NumericProfile):
        return count_sorted(reference, numeric_values(values))
    return CategoricalWindow(*category_counts(values))


def _ordered(table: pa.Table) -> np.ndarray:
    return numeric_values(numpy_column(table, LATENCY)).finite


def _digest(files: list[str]) -> str:
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
