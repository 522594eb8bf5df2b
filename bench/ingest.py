"""How many metric points each second are written by COPY with their rollups: ``ingest_points_per_second``.

A delivery is 100,000 points: 1,000 series, one point every 10 s each. Deliveries follow each other in time, written by
one process in one transaction each on a private PostgreSQL with its durable settings, as a worker writes them once
they are parsed. The rate counts only if every point is there afterwards and the rollups by minute and by hour add up.
``floor`` is a plain COPY of the same rows into a table with the same key and nothing else.

Beside it: how many each second one process parses from JSON lines, as they are pushed, and writes in the same way.
"""

import json
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from bench.audit_events_per_second import database
from bench.report import machine, report

SERIES, EACH, DELIVERIES = 1_000, 100, int(os.environ.get("DELIVERIES", "10"))
STEP = 10_000_000
TARGET = 100_000
PLAIN = "CREATE TABLE plain (series_id bigint, at timestamptz, value float8, n int, PRIMARY KEY (series_id, at))"


def delivery(keys: Any, first: int, number: int) -> Any:
    """The points of one delivery: those of `number` begin where the one before ended."""
    from monitoring.rollups import Points

    rng = np.random.default_rng(number)
    at = first + (number * EACH + np.arange(EACH)) * STEP
    size = SERIES * EACH
    return Points(np.repeat(keys, EACH), np.tile(at, SERIES), rng.gamma(9, 10, size), np.full(size, 200))


def copied_plainly(deliveries: list[Any]) -> float:
    """Seconds that PostgreSQL takes for the rows alone."""
    from django.db import connection

    from monitoring.points import copy_points

    with connection.cursor() as cursor:
        begun = time.monotonic()
        for points in deliveries:
            copy_points(cursor, "plain", points)
        return time.monotonic() - begun


def written(endpoint_id: int, deliveries: list[Any]) -> float:
    """Seconds for the points with their rollups, each delivery committed."""
    from monitoring.points import keep

    begun = time.monotonic()
    for points in deliveries:
        keep(endpoint_id, points)
    return time.monotonic() - begun


def check(deliveries: list[Any]) -> None:
    """Every point is there, and the rollups hold each once. Raises SystemExit otherwise."""
    from django.db.models import Sum

    from monitoring.models import MetricHour, MetricMinute, MetricPoint

    count = sum(len(points.series) for points in deliveries)
    total = sum(float(points.value.sum()) for points in deliveries)
    found = [
        MetricPoint.objects.count(),
        *(m.objects.aggregate(c=Sum("count"))["c"] for m in (MetricMinute, MetricHour)),
    ]
    if found != [count] * 3:
        raise SystemExit(f"{count} points were written; points, minutes and hours hold {found}")
    for model in (MetricMinute, MetricHour):
        held = model.objects.aggregate(t=Sum("total"))["t"]
        if abs(held - total) > 1e-9 * total:
            raise SystemExit(f"the values add up to {total}, those of {model.__name__} to {held}")


def pushed(endpoint: Any, first: datetime) -> float:
    """Points each second from bodies of JSON lines."""
    from monitoring.exposition import read_points
    from monitoring.series import keep_points

    series = [f"pushed_{number}" for number in range(100)]
    bodies = [
        b"\n".join(
            json.dumps({"name": name, "ts": (first + timedelta(seconds=second)).isoformat(), "value": second}).encode()
            for name in series
            for second in range(start, start + 200)
        )
        for start in (0, 200)
    ]
    begun = time.monotonic()
    for body in bodies:
        keep_points(endpoint, None, read_points("application/x-ndjson", body, received_at=first))
    return sum(body.count(b"\n") + 1 for body in bodies) / (time.monotonic() - begun)


def run() -> tuple[float, float, float]:
    """Points each second: with rollups, by plain COPY, and from bodies of JSON."""
    import django

    django.setup()
    from django.db import connections

    from monitoring.series import series_for
    from registry.models import Endpoint, Model

    endpoint = Endpoint.objects.create(
        slug="bench", name="Bench", model=Model.objects.create(slug="bench", name="Bench", team="bench")
    )
    found = series_for(endpoint, {(f"metric_{number}", None, "", ""): "" for number in range(SERIES)})
    keys = np.array(list(found.values()))
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    first = int(start.timestamp()) * 1_000_000 + STEP
    deliveries = [delivery(keys, first, number) for number in range(DELIVERIES)]
    count = SERIES * EACH * DELIVERIES
    with connections["owner"].cursor() as cursor:
        cursor.execute(PLAIN)
        cursor.execute(f"GRANT INSERT ON plain TO {connections['default'].settings_dict['USER']}")
    floor = count / copied_plainly(deliveries)
    rate = count / written(endpoint.pk, deliveries)
    check(deliveries)
    whole = pushed(endpoint, start)
    connections.close_all()
    return rate, floor, whole


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ.update(env)
        rate, floor, whole = run()
    parsed = {"parsed from JSON lines and written": round(whole)}
    met = report("ingest_points_per_second", rate, "points/s", TARGET, at_least=True, on=on, floor=floor, peers=parsed)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
