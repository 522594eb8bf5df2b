"""Reading what deliveries bring. Nothing here touches the database; what cannot be read raises Unreadable."""

import io
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from audit import strictjson
from monitoring.arrow import is_compressed

ARROW = "application/vnd.apache.arrow.stream"
MAX_TABLE_BYTES = 512 * 2**20
"""Most memory that one delivery's table may take once it is unpacked."""

FIXED_COLUMNS = {
    "id": pa.string(),
    "ts": pa.timestamp("us", tz="UTC"),
    "version": pa.string(),
    "digest": pa.string(),
    "latency_ms": pa.float32(),
    "score": pa.float32(),
}
REQUIRED = ("id", "ts", "version", "output")


class Unreadable(ValueError):
    """The body is not what its sender promised. The message says what is wrong with which part."""


@dataclass(frozen=True)
class LabelRow:
    id: str
    label: float
    at: datetime


@dataclass(frozen=True)
class PointRow:
    name: str
    at: datetime
    value: float
    n: int
    host: str
    version: str
    column: str
    unit: str


def read_predictions(content_type: str, body: bytes) -> pa.Table:
    """The predictions of a delivery, in the columns and types of the prediction log.

    `content_type` is Arrow's stream, else JSON lines whose keys are the column names. Raises Unreadable.
    """
    table = _arrow_table(body) if content_type.split(";")[0].strip() == ARROW else _json_table(body)
    absent = [name for name in REQUIRED if name not in table.column_names]
    if absent:
        raise Unreadable(f"The predictions lack the column {absent[0]}; id, ts, version and output are needed.")
    repeated = {name for name in table.column_names if table.column_names.count(name) > 1}
    if repeated:
        raise Unreadable(f"The column {sorted(repeated)[0]} appears twice.")
    table = _with_types(table)
    for name in REQUIRED:
        if table.column(name).null_count:
            raise Unreadable(f"The column {name} has {table.column(name).null_count} rows without a value.")
    return table


def _arrow_table(body: bytes) -> pa.Table:
    batches, size = [], 0
    try:
        if is_compressed(body):
            raise Unreadable("The Arrow stream is compressed; send it as it is, and let the connection compress it.")
        with pa.ipc.open_stream(io.BytesIO(body)) as reader:
            for batch in reader:
                size += batch.nbytes
                if size > MAX_TABLE_BYTES:
                    raise Unreadable(
                        f"The table is larger than {MAX_TABLE_BYTES} bytes unpacked; send smaller batches."
                    )
                batch.validate(full=True)
                batches.append(batch)
            return pa.Table.from_batches(batches, schema=reader.schema)
    except (pa.ArrowException, OSError, EOFError, struct.error) as error:
        raise Unreadable(f"The body is not an Arrow stream: {_first_line(error)}") from error


def _json_table(body: bytes) -> pa.Table:
    rows = []
    for number, row in _json_lines(body):
        if "ts" in row:
            row["ts"] = instant(row["ts"], f"line {number}")
        rows.append(row)
    try:
        return pa.Table.from_pylist(rows, schema=None if not rows else _json_schema(rows))
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise Unreadable(f"The lines do not make one table: {_first_line(error)}") from error


def _json_schema(rows: list[dict[str, Any]]) -> pa.Schema:
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.schema(
        [(name, FIXED_COLUMNS.get(name) or pa.infer_type([row.get(name) for row in rows])) for name in names]
    )


def _with_types(table: pa.Table) -> pa.Table:
    for name, wanted in FIXED_COLUMNS.items():
        if name not in table.column_names:
            empty = pa.nulls(len(table), wanted) if name != "digest" else pa.array([""] * len(table), wanted)
            table = table.append_column(name, empty)
        else:
            table = _cast(table, name, wanted)
    output = table.schema.field("output").type
    return _cast(table, "output", pa.float64() if pa.types.is_floating(output) else pa.int64())


def _cast(table: pa.Table, name: str, wanted: pa.DataType) -> pa.Table:
    index = table.column_names.index(name)
    try:
        return table.set_column(index, name, table.column(name).cast(wanted))
    except pa.ArrowException as error:
        raise Unreadable(f"The column {name} cannot be read as {wanted}: {_first_line(error)}") from error


def read_labels(body: bytes) -> list[LabelRow]:
    """The labels of a delivery of JSON lines {"id", "label", "ts"}; the latest for each id. Raises Unreadable."""
    latest: dict[str, LabelRow] = {}
    for number, row in _json_lines(body):
        identity, label = row.get("id"), row.get("label")
        if not isinstance(identity, str) or not 0 < len(identity) <= 64:
            raise Unreadable(f'Line {number} has no "id" of 1 to 64 characters.')
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise Unreadable(f'Line {number} has no "label" that is a finite number.')
        read = LabelRow(identity, float(label), instant(row.get("ts"), f"line {number}"))
        if identity not in latest or latest[identity].at <= read.at:
            latest[identity] = read
    return list(latest.values())


def read_json_points(body: bytes) -> list[PointRow]:
    """The points of a delivery of JSON lines {"name", "ts", "value"} with n, host, version, column and unit where
    they apply. Raises Unreadable."""
    points = []
    for number, row in _json_lines(body):
        name, value, n = row.get("name"), row.get("value"), row.get("n", 1)
        if not isinstance(name, str) or not 0 < len(name) <= 60:
            raise Unreadable(f'Line {number} has no "name" of 1 to 60 characters.')
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise Unreadable(f'Line {number} has no "value" that is a finite number.')
        if isinstance(n, bool) or not isinstance(n, int) or not 0 < n < 2**31:
            raise Unreadable(f'Line {number} has an "n" that is not a count.')
        texts = [str(row.get(key, ""))[:limit] for key, limit in (("host", 50), ("version", 40), ("column", 200))]
        at = instant(row.get("ts"), f"line {number}")
        points.append(PointRow(name, at, float(value), n, *texts, str(row.get("unit", ""))[:20]))
    return points


def _json_lines(body: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = strictjson.parse(line)
        except strictjson.NotStrictJson as error:
            raise Unreadable(f"Line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise Unreadable(f"Line {number} is not a JSON object.")
        yield number, row


def instant(value: object, where: str) -> datetime:
    """An RFC 3339 time with its offset, as UTC. Raises Unreadable, which names `where` it stood."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError as error:
        raise Unreadable(f"In {where} the time {value!r} is not an RFC 3339 time.") from error
    if moment.tzinfo is None:
        raise Unreadable(f"In {where} the time {value!r} has no offset; write it in UTC with a Z.")
    return moment.astimezone(UTC)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
