"""Reading predictions back: the rows of a span, with the labels that have become known joined to them."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, LiteralString

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import connection
from django.db.models import QuerySet

from monitoring import store
from monitoring.models import PredictionBatch
from monitoring.reading import FIXED_COLUMNS
from registry.models import Endpoint, Host

LABELS_AT_ONCE = 50_000
LABEL: LiteralString = """SELECT prediction_id, label FROM monitoring_label
    WHERE endpoint_id = %s AND prediction_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"""
LABELLED_AT: LiteralString = """SELECT prediction_id, extract(epoch FROM at)::float8 FROM monitoring_label
    WHERE endpoint_id = %s AND prediction_id = ANY(ARRAY(SELECT json_array_elements_text(%s::json)))"""
"""Seconds of Unix time at which the label became known."""
NUL = "\0"


class MixedScalar(pa.ExtensionScalar):
    """A value of a column of Mixed."""

    def as_py(self, **options: Any) -> Any:
        return None if self.value is None else json.loads(self.value.as_py())


class Mixed(pa.ExtensionType):
    """A column whose deliveries disagree about its type: each value as JSON, so that 1 stays apart from "1"."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "lastgood.mixed")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "Mixed":
        return cls()

    def __arrow_ext_scalar_class__(self) -> type[MixedScalar]:
        return MixedScalar


def batches_within(endpoint: Endpoint, start: datetime, end: datetime) -> QuerySet[PredictionBatch]:
    """The deliveries that may hold predictions answered in [start, end)."""
    return PredictionBatch.objects.filter(endpoint=endpoint, first_at__lt=end, last_at__gte=start)


def load_predictions(
    endpoint: Endpoint,
    start: datetime,
    end: datetime,
    versions: Collection[str] | None = None,
    hosts: Collection[str | Host] | None = None,
    columns: Sequence[str] | None = None,
    batches: Collection[int] | None = None,
) -> pa.Table:
    """The predictions of `endpoint` answered in [start, end), ordered by time.

    `versions` are version numbers as text, `hosts` are hosts or their names; None means all. The columns are those of
    the prediction log (id, ts, version, digest, latency_ms, output, score, feature.<NAME>, input.<NAME>), `host`
    (name, null when unknown) and `label` (float64, null while unknown), or only the ones in `columns`. A column
    of which deliveries hold types that have nothing in common is of the type Mixed. `batches` are the keys of those
    that are read; None means all.
    Raises monitoring.store.StoreDamaged when a stored file is not what was written.
    """
    found = batches_within(endpoint, start, end)
    if batches is not None:
        found = found.filter(pk__in=batches)
    if versions is not None:
        found = found.filter(version__in=[str(version) for version in versions])
    if hosts is not None:
        found = found.filter(host__name__in=[str(host) for host in hosts])
    wanted = None if columns is None else list(dict.fromkeys(["ts", *columns, *(["id"] if "label" in columns else [])]))
    parts = [_read(batch, start, end, wanted) for batch in found.select_related("host").order_by("first_at", "id")]
    table = joined(parts or [_empty()]).sort_by("ts")
    if columns is None or "label" in columns:
        table = table.append_column("label", pa.array(of_labels(endpoint, table.column("id")), pa.float64()))
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def joined(parts: Sequence[pa.Table]) -> pa.Table:
    """One table of all rows. Columns that a part lacks are null there; those whose types clash become Mixed."""
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        names = dict.fromkeys(name for part in parts for name in part.column_names)
        clashing = {
            name for name in names if _clashes([part.select([name]) for part in parts if name in part.schema.names])
        }
        return pa.concat_tables([_mixed(part, clashing) for part in parts], promote_options="permissive")


def _clashes(parts: list[pa.Table]) -> bool:
    try:
        pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException:
        return True
    return False


def _mixed(table: pa.Table, clashing: set[str]) -> pa.Table:
    for index, name in enumerate(table.column_names):
        column = table.column(name)
        if name in clashing and not isinstance(column.type, Mixed):
            texts = [None if v is None else json.dumps(v, default=str) for v in column.to_pylist()]
            values = pa.ExtensionArray.from_storage(Mixed(), pa.array(texts, pa.string()))
            table = table.set_column(index, name, values)
    return table


def _empty() -> pa.Table:
    fields = {**FIXED_COLUMNS, "output": pa.int64(), "host": pa.string()}
    return pa.schema(list(fields.items())).empty_table()


def _read(batch: PredictionBatch, start: datetime, end: datetime, columns: list[str] | None) -> pa.Table:
    table = _without_dictionaries(store.read(batch.path, batch.sha256, columns))
    if not (start <= batch.first_at and batch.last_at < end):
        at = table.column("ts")
        table = table.filter(
            pc.and_(pc.greater_equal(at, pa.scalar(start, at.type)), pc.less(at, pa.scalar(end, at.type)))
        )
    if columns is None or "host" in columns:
        name = pa.scalar(batch.host.name if batch.host else None, pa.string())
        table = table.append_column("host", pa.repeat(name, len(table)))
    return table


def _without_dictionaries(table: pa.Table) -> pa.Table:
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def of_labels(endpoint: Endpoint, ids: pa.ChunkedArray, fact: LiteralString = LABEL) -> list[float | None]:
    """LABEL or LABELLED_AT of each prediction, in the order of `ids`; None without a label.

    The ids are sent as JSON: as an array, writing them takes longer than finding them. PostgreSQL has no text with a
    NUL, so no label is about an id that holds one.
    """
    wanted = ids.to_pylist()
    known: dict[str, float] = {}
    for at in range(0, len(wanted), LABELS_AT_ONCE):
        some = [identity for identity in wanted[at : at + LABELS_AT_ONCE] if identity and NUL not in identity]
        with connection.cursor() as cursor:
            cursor.execute(fact, [endpoint.pk, json.dumps(some)])
            known.update(cursor.fetchall())
    return [known.get(identity) for identity in wanted]


def numpy_column(table: pa.Table, name: str) -> np.ndarray:
    """One column of a table as an array of shape (rows,); nulls become NaN in numeric columns, None in all others."""
    column = table.column(name)
    if isinstance(column.type, Mixed):
        values = np.empty(len(column), dtype=object)
        for row, value in enumerate(column.to_pylist()):
            values[row] = value
        return values
    if column.null_count and pa.types.is_integer(column.type):
        column = column.cast(pa.float64())
    return column.to_numpy(zero_copy_only=False)
