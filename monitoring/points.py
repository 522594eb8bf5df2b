"""Writing metric points: the points by COPY, and in the same transaction what each minute and hour comes to by them.

A point may come late for as long as points are kept, and counts in its rollups as one that came in time; an older one
is not taken, since what came at its instant before is not known any more. A second value for an instant of a series
takes the place of the first, in the points and in the rollups.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from psycopg import errors

from audit.clock import database_now
from monitoring.rollups import HOUR, MINUTE, Points, Rollups, combined, latest, minutes

POINTS, MINUTES, HOURS = "monitoring_metricpoint", "monitoring_metricminute", "monitoring_metrichour"
# PostgreSQL counts from 2000, and prefixes each field with its length in bytes: "COPY, Binary Format" in its manual.
_EPOCH = 946_684_800_000_000
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_POINT = {"series": "i8", "at": "i8", "value": "f8", "n": "i4"}
_ROLLUP = {
    "series": "i8", "bin": "i8", "count": "i8", "n": "i8", "low": "f8", "high": "f8", "total": "f8", "weighted": "f8",
    "last": "f8", "last_at": "i8",
}  # fmt: skip
_MOMENTS = ("at", "bin", "last_at")
_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_POINT_COLUMNS = f"p.series_id, {_US.format('p.at')}, p.value, p.n"
_ROLLUP_COLUMNS = (
    f"r.series_id, {_US.format('r.bin')}, r.count, r.n, r.low, r.high, r.total, r.weighted, r.last, "
    f"{_US.format('r.last_at')}, r.sketch"
)
_REPLACE = f"""
    INSERT INTO {POINTS} (series_id, at, value, n)
    SELECT g.series_id, to_timestamp(g.us / 1000000) + (g.us %% 1000000) * interval '1 microsecond', g.value, g.n
    FROM unnest(%s::bigint[], %s::bigint[], %s::float8[], %s::int[]) AS g (series_id, us, value, n)
    ON CONFLICT (series_id, at) DO UPDATE SET value = excluded.value, n = excluded.n
"""  # noqa: S608  names of tables, no value of anybody's
# The bins by their series and end; the bounds let PostgreSQL leave the other partitions alone.
_BINS = """
    unnest(%s::bigint[], %s::bigint[]) AS g (series_id, us)
    CROSS JOIN LATERAL (SELECT to_timestamp(g.us / 1000000) AS bin) AS b
"""
_TAKE = "DELETE FROM {table} AS r USING {bins} WHERE r.series_id = g.series_id AND r.bin = b.bin AND {bounds} "
_BOUNDS = "{} > to_timestamp(%s) AND {} <= to_timestamp(%s)"


def kept_since(now: datetime) -> datetime | None:
    """Older points go, and are not taken: LASTGOOD_METRICS_DAYS before now. None where all are kept (0)."""
    days = settings.LASTGOOD_METRICS_DAYS
    return now - timedelta(days=days) if days else None


def keep(endpoint_id: int, points: Points) -> int:
    """Write the points, all of series of the endpoint, with their rollups; all or none. Returns how many were too old.

    Writers of an endpoint wait for each other, so that no rollup misses what another has just written.
    """
    given, since = len(points.series), kept_since(database_now())
    if since is not None:
        young = points.at >= moments([since])[0]
        points = Points(*(column[young] for column in points))
    too_old = given - len(points.series)
    if given == too_old:
        return too_old
    points = latest(points)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('monitoring.points'), %s)", [endpoint_id])
        try:
            with transaction.atomic():
                copy_points(cursor, POINTS, points)
        except errors.UniqueViolation:
            cursor.execute(_REPLACE, [column.tolist() for column in points])
            _count_again(cursor, minutes(points))
        else:
            _add(cursor, minutes(points))
    return too_old


def copy_points(cursor: Any, table: str, points: Points) -> None:
    """Write points whose instants are new. Raises psycopg.errors.UniqueViolation where one is not."""
    _copy(cursor, table, "series_id, at, value, n", _rows(_POINT, points._asdict()))


def add_rollups(cursor: Any, table: str, found: Rollups) -> None:
    """Write rollups of bins that have none yet."""
    fixed = _rows(_ROLLUP, {name: getattr(found, name) for name in _ROLLUP}, more=1)
    each = len(fixed) // len(found) if len(found) else 0
    rows = b"".join(
        fixed[i * each : (i + 1) * each] + len(sketch).to_bytes(4, "big") + sketch
        for i, sketch in enumerate(found.sketches)
    )
    names = "series_id, bin, count, n, low, high, total, weighted, last, last_at, sketch"
    _copy(cursor, table, names, rows)


def read_points(cursor: Any, query: str, values: Sequence[object]) -> Points:
    """The points that a query of points, named p, finds; {} in it stands for their columns."""
    cursor.execute(query.format(_POINT_COLUMNS), values)
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * 4
    return Points(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64),
        np.array(columns[3], np.int64),
    )


def moments(at: Sequence[datetime]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Microseconds since 1970 of moments with an offset."""
    return np.array([one.astimezone(UTC).replace(tzinfo=None) for one in at], "datetime64[us]").astype(np.int64)


def _add(cursor: Any, found: Rollups) -> None:
    """Add what new points come to, to what their bins held."""
    for table, new in ((MINUTES, found), (HOURS, combined([found], HOUR))):
        before = _taken(cursor, table, new)
        add_rollups(cursor, table, combined([before, new], MINUTE) if len(before) else new)


def _count_again(cursor: Any, touched: Rollups) -> None:
    """Make the rollups of bins anew in which points were replaced: minutes of their points, hours of their minutes."""
    _taken(cursor, MINUTES, touched)
    points = read_points(
        cursor,
        f"SELECT {{}} FROM {_BINS} JOIN {POINTS} AS p ON p.series_id = g.series_id AND p.at <= b.bin "  # noqa: S608
        f"AND p.at > b.bin - interval '1 minute' AND {_BOUNDS.format('p.at', 'p.at')}",
        _pairs(touched, MINUTE),
    )
    add_rollups(cursor, MINUTES, minutes(latest(points)))
    hours = combined([touched], HOUR)
    _taken(cursor, HOURS, hours)
    cursor.execute(
        f"SELECT {_ROLLUP_COLUMNS} FROM {_BINS} JOIN {MINUTES} AS r ON r.series_id = g.series_id "  # noqa: S608
        f"AND r.bin <= b.bin AND r.bin > b.bin - interval '1 hour' AND {_BOUNDS.format('r.bin', 'r.bin')}",
        _pairs(hours, HOUR),
    )
    add_rollups(cursor, HOURS, combined([_rollups(cursor.fetchall())], HOUR))


def _taken(cursor: Any, table: str, bins: Rollups) -> Rollups:
    """What stands for these bins, which is taken away to be written anew."""
    take = _TAKE.format(table=table, bins=_BINS, bounds=_BOUNDS.format("r.bin", "r.bin"))
    cursor.execute(f"{take} RETURNING {_ROLLUP_COLUMNS}", _pairs(bins, MINUTE))
    return _rollups(cursor.fetchall())


def _pairs(bins: Rollups, width: int) -> list[object]:
    first, last = int(bins.bin.min()) - width, int(bins.bin.max())
    return [bins.series.tolist(), bins.bin.tolist(), first // 1_000_000, last // 1_000_000]


def _rollups(rows: list[tuple[Any, ...]]) -> Rollups:
    columns = list(zip(*rows, strict=True)) or [()] * (len(_ROLLUP) + 1)
    arrays = {name: np.array(columns[i], np.dtype(kind)) for i, (name, kind) in enumerate(_ROLLUP.items())}
    return Rollups(**arrays, sketches=[bytes(one) for one in columns[-1]])


def _rows(kinds: dict[str, str], columns: dict[str, Any], more: int = 0) -> bytes:
    """Rows in COPY's binary format; `more` fields are to follow in each."""
    fields = [("fields", ">i2")]
    for name, kind in kinds.items():
        fields += [(f"{name}_size", ">i4"), (name, f">{kind}")]
    rows = np.zeros(len(next(iter(columns.values()))), np.dtype(fields))
    rows["fields"] = len(kinds) + more
    for name, kind in kinds.items():
        rows[f"{name}_size"] = np.dtype(kind).itemsize
        rows[name] = columns[name] - _EPOCH if name in _MOMENTS else columns[name]
    return rows.tobytes()


def _copy(cursor: Any, table: str, columns: str, rows: bytes) -> None:
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(_HEADER + rows + _TRAILER)
