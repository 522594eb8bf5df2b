"""Reading predictions back: the rows of a span, with the labels that have become known joined to them."""

from collections.abc import Collection, Sequence
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import connection

from monitoring import store
from monitoring.models import PredictionBatch
from monitoring.reading import FIXED_COLUMNS
from registry.models import Endpoint, Host

LABELS_AT_ONCE = 50_000


def load_predictions(
    endpoint: Endpoint,
    start: datetime,
    end: datetime,
    versions: Collection[str] | None = None,
    hosts: Collection[str | Host] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """The predictions of `endpoint` answered in [start, end), ordered by time.

    `versions` are version numbers as text, `hosts` are hosts or their names; None means all. The columns are those of
    the prediction log (id, ts, version, digest, latency_ms, output, score, feature.<NAME>, input.<NAME>), `host`
    (name, null when unknown) and `label` (float64, null while unknown), or only the ones in `columns`.
    Raises monitoring.store.StoreDamaged when a stored file is not what was written.
    """
    batches = PredictionBatch.objects.filter(endpoint=endpoint, first_at__lt=end, last_at__gte=start)
    if versions is not None:
        batches = batches.filter(version__in=[str(version) for version in versions])
    if hosts is not None:
        batches = batches.filter(host__name__in=[str(host) for host in hosts])
    wanted = None if columns is None else list(dict.fromkeys(["ts", *columns, *(["id"] if "label" in columns else [])]))
    parts = [_read(batch, start, end, wanted) for batch in batches.select_related("host").order_by("first_at", "id")]
    table = pa.concat_tables(parts or [_empty()], promote_options="permissive")
    table = table.sort_by("ts")
    if columns is None or "label" in columns:
        table = table.append_column("label", _labels(endpoint, table.column("id")))
    return table if columns is None else table.select([name for name in columns if name in table.column_names])


def _empty() -> pa.Table:
    fields = {**FIXED_COLUMNS, "output": pa.int64(), "host": pa.string()}
    return pa.schema(list(fields.items())).empty_table()


def _read(batch: PredictionBatch, start: datetime, end: datetime, columns: list[str] | None) -> pa.Table:
    table = store.read(batch.path, batch.sha256, columns)
    if not (start <= batch.first_at and batch.last_at < end):
        at = table.column("ts")
        table = table.filter(
            pc.and_(pc.greater_equal(at, pa.scalar(start, at.type)), pc.less(at, pa.scalar(end, at.type)))
        )
    if columns is None or "host" in columns:
        name = pa.scalar(batch.host.name if batch.host else None, pa.string())
        table = table.append_column("host", pa.repeat(name, len(table)))
    return table


def _labels(endpoint: Endpoint, ids: pa.ChunkedArray) -> pa.Array:
    wanted = ids.to_pylist()
    known: dict[str, float] = {}
    for at in range(0, len(wanted), LABELS_AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT prediction_id, label FROM monitoring_label WHERE endpoint_id = %s AND prediction_id = ANY(%s)",
                [endpoint.pk, wanted[at : at + LABELS_AT_ONCE]],
            )
            known.update(cursor.fetchall())
    return pa.array([known.get(identity) for identity in wanted], pa.float64())


def numpy_column(table: pa.Table, name: str) -> np.ndarray:
    """One column of a table as an array of shape (rows,); nulls become NaN in numeric columns."""
    column = table.column(name)
    if column.null_count and pa.types.is_integer(column.type):
        column = column.cast(pa.float64())
    return column.to_numpy(zero_copy_only=False)
