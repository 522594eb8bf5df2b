"""Reading what deliveries bring. Nothing here touches the database; what cannot be read raises Unreadable."""

import io
import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from audit import strictjson
from monitoring import column_types
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
ADDED = ("host", "label")
"""Columns that the log adds when it is read: from the delivery's address, and from the labels."""

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What is said to be of before or after was not measured then: the sender's clock or unit is wrong."""
LARGEST = 1e280
"""Values beyond it, of either sign, are no measurements, and the sum of a few would be no number."""
TEXTS = {"host": 50, "version": 40, "column": 200, "unit": 20}
"""What places a point, and the most characters of it."""


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
    _check_names(table.column_names)
    table = _with_types(table)
    for name in REQUIRED:
        if table.column(name).null_count:
            raise Unreadable(f"The column {name} has {table.column(name).null_count} rows without a value.")
    early, late = (pa.scalar(moment, FIXED_COLUMNS["ts"]) for moment in (EARLIEST, LATEST))
    at = table.column("ts")
    if pc.any(pc.or_(pc.less(at, early), pc.greater_equal(at, late))).as_py():
        raise Unreadable(f"The column ts has a time that is not between the years {EARLIEST.year} and {LATEST.year}.")
    return table


def _check_names(names: list[str]) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise Unreadable(f"The column {min(repeated)} appears twice.")
    added = [name for name in ADDED if name in names]
    if added:
        raise Unreadable(
            f"The predictions have a column {added[0]}, which is not theirs to say: name the host in the address "
            "(?host=), send labels to /api/v1/ingest/labels/, and an input called so as feature.<name>."
        )
    if any(column_types.NUL in name for name in names):
        raise Unreadable("The name of a column holds the character NUL; leave it out.")


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
    table = _set(table, "latency_ms", _durations(table.column("latency_ms")))
    output = table.schema.field("output").type
    table = _cast(table, "output", pa.float64() if pa.types.is_floating(output) else pa.int64())
    return pa.table({name: _kept(name, table.column(name)) for name in table.column_names})


def _kept(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if name in FIXED_COLUMNS or name == "output":
        return column
    try:
        return column_types.kept(column)
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise Unreadable(f"The column {name[:80]} cannot be kept as {column.type}: {_first_line(error)}") from error


def _durations(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Only what can be a duration: one that is below zero or not finite was not measured, and is null."""
    measured = pc.and_(pc.is_finite(column), pc.greater_equal(column, 0))
    return pc.if_else(measured, column, pa.scalar(None, column.type))


def _cast(table: pa.Table, name: str, wanted: pa.DataType) -> pa.Table:
    column = table.column(name)
    if pa.types.is_timestamp(wanted) and not (pa.types.is_timestamp(column.type) or column_types.is_text(column.type)):
        raise Unreadable(f"The column {name} is of type {column.type}; send Arrow's timestamps in UTC.")
    try:
        # A clock that counts nanoseconds says no more than one of microseconds does.
        options = pc.CastOptions(wanted, allow_time_truncate=True)
        return _set(table, name, column.cast(options=options))
    except pa.ArrowException as error:
        raise Unreadable(f"The column {name} cannot be read as {wanted}: {_first_line(error)}") from error


def _set(table: pa.Table, name: str, column: pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def read_labels(body: bytes) -> list[LabelRow]:
    """The labels of a delivery of JSON lines {"id", "label", "ts"}; the latest for each id. Raises Unreadable."""
    latest: dict[str, LabelRow] = {}
    for number, row in _json_lines(body):
        identity, label = row.get("id"), row.get("label")
        if not isinstance(identity, str) or not 0 < len(identity) <= 64:
            raise Unreadable(f'Line {number} has no "id" of 1 to 64 characters.')
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise Unreadable(f'Line {number} has no "label" that is a finite number.')
        read = LabelRow(identity, float(label), measured_at(instant(row.get("ts"), f"line {number}"), f"line {number}"))
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
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_measured(value):
            raise Unreadable(f'Line {number} has no "value" that is a finite number, at most {LARGEST:g}.')
        if isinstance(n, bool) or not isinstance(n, int) or not 0 < n < 2**31:
            raise Unreadable(f'Line {number} has an "n" that is not a count.')
        at = measured_at(instant(row.get("ts"), f"line {number}"), f"line {number}")
        points.append(PointRow(name, at, float(value), n, **{key: _text(row.get(key), key, number) for key in TEXTS}))
    return points


def is_measured(value: float) -> bool:
    """Whether a value can be one that was measured: finite, and not so large that sums of such are not."""
    return math.isfinite(value) and abs(value) <= LARGEST


def _text(value: object, key: str, number: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | None) or len(text := f"{value}") > TEXTS[key]:
        raise Unreadable(f'Line {number} has a "{key}" that is not a text of at most {TEXTS[key]} characters.')
    return "" if value is None else text


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
    shown = repr(value)[:100]
    try:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except OverflowError as error:
        raise Unreadable(f"In {where} the time {shown} is in no year from 1 to 9999 of UTC.") from error
    except ValueError as error:
        raise Unreadable(f"In {where} the time {shown} is not an RFC 3339 time.") from error
    raise Unreadable(f"In {where} the time {shown} has no offset; write it in UTC with a Z.")


def measured_at(moment: datetime, where: str) -> datetime:
    """The moment, where something can have been measured at it. Raises Unreadable, which names `where` it stood."""
    if not EARLIEST <= moment < LATEST:
        raise Unreadable(f"In {where} the time {moment} is not between the years {EARLIEST.year} and {LATEST.year}.")
    return moment


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
