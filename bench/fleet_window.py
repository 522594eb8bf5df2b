"""What the inputs of a fleet's window cost when it is judged: its sketches, and not its rows.

``fleet_window_inputs_seconds``: processor time of one core to have the merged sketches of 20 features of a window of
HOSTS hosts, whose rows came in deliveries of 2,000 and were sketched while they came as the worker does it. The peers
in the same run are the same window with a quarter of the rows, the same window where nothing was sketched before (all
rows are read), the rest of its reading (answers, latencies and labels), and what sketching took while the rows came.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.audit_events_per_second import database
from bench.ingest_predictions import ROWS, body, taken
from bench.report import machine, report

HOSTS = 4
DELIVERIES = int(os.environ.get("DELIVERIES", "400"))
EACH = 23
"""Deliveries between two looks of the worker, such that some are left when the window ends."""
LENGTH = timedelta(seconds=DELIVERIES // 10)
"""Ten deliveries a second, as `body` writes them."""
TARGET = 0.25
"""Of what reading all rows costs, in the same run."""


def seconds(ask: Callable[[], Any]) -> float:
    begun = time.process_time()
    ask()
    return time.process_time() - begun


def measured(endpoint: Any, hosts: list[Any], start: datetime, deliveries: int) -> dict[str, float]:
    """Seconds for a window of so many deliveries: the inputs from what was sketched, all sketching before that, the
    inputs from their rows, and the columns that are read of all rows in any case."""
    from monitoring import fleet, partials
    from monitoring.models import Monitor, PartialSketch, Window

    monitor, _ = Monitor.objects.update_or_create(
        endpoint=endpoint, defaults={"window_seconds": LENGTH.total_seconds(), "next_window_at": start}
    )
    before = 0.0
    for number in range(deliveries):
        taken(endpoint, body(number, start), hosts[number % HOSTS])
        if number % EACH == EACH - 1:
            before += seconds(lambda: partials.advance(monitor.pk))
    window = Window.objects.create(endpoint=endpoint, start=start, end=start + LENGTH, due_at=start + LENGTH)
    ready = median(seconds(lambda: fleet.inputs(window)) for _ in range(3))
    stored = sum(len(one.content) for one in PartialSketch.objects.all())
    PartialSketch.objects.all().delete()
    whole = median(seconds(lambda: fleet.inputs(window)) for _ in range(3))
    answers = median(seconds(lambda: fleet.read(window, features=False)) for _ in range(3))
    return {"ready": ready, "before": before, "rows": whole, "answers": answers, "stored": stored / 1e6}


def run() -> tuple[dict[str, float], dict[str, float]]:
    """The figures of a window of DELIVERIES, and of one of a quarter of them."""
    import django

    django.setup()
    from django.db import connections

    from registry.models import Endpoint, Host, Model

    endpoint = Endpoint.objects.create(
        slug="bench", name="Bench", model=Model.objects.create(slug="bench", name="Bench", team="bench")
    )
    hosts = [Host.objects.create(name=f"h{n}", address=f"http://127.0.0.1:{9000 + n}") for n in range(HOSTS)]
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    quarter = measured(endpoint, hosts, start - timedelta(hours=1), DELIVERIES // 4)
    whole = measured(endpoint, hosts, start, DELIVERIES)
    connections.close_all()
    return whole, quarter


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ.update(env)
        whole, quarter = run()
    peers = {
        "rows": DELIVERIES * ROWS,
        "a quarter of the rows": round(quarter["ready"], 4),
        "all rows read": round(whole["rows"], 4),
        "a quarter of the rows, all read": round(quarter["rows"], 4),
        "answers, latencies and labels": round(whole["answers"], 4),
        "sketching while they came": round(whole["before"], 4),
        "MB of partial sketches": round(whole["stored"], 2),
    }
    name, limit = "fleet_window_inputs_seconds", TARGET * whole["rows"]
    return 0 if report(name, whole["ready"], "s", limit, at_least=False, on=on, peers=peers) else 1


if __name__ == "__main__":
    sys.exit(main())
