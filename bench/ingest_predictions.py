"""How many predictions of 20 features come in each second, and how soon they can be asked for.

``ingest_predictions_per_second``: hosts send Arrow streams of 2,000 rows, each accepted, committed and read by one
process with all that the web process and the worker do to it; the rate counts only if every row can be read back.
``floor`` is writing the same tables as Parquet with the same compression, synced, and nothing else.

``ingest_predictions_queryable_p95_seconds``: from the moment the body is there until `load_predictions` finds its rows,
while deliveries arrive at TARGET rows each second; a delivery that waits for those before it waits in this figure too.
"""

import io
import os
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.audit_events_per_second import database
from bench.report import machine, report

ROWS, DELIVERIES = 2_000, int(os.environ.get("DELIVERIES", "100"))
FEATURES = 20
TARGET, MOST_SECONDS = 20_000, 5
PACE = ROWS / TARGET


def body(number: int, start: datetime) -> bytes:
    """One host's delivery: an Arrow stream of ROWS predictions in the columns of the prediction log."""
    rng = np.random.default_rng(number)
    first = int(start.timestamp() * 1_000_000) + number * 100_000
    columns: dict[str, Any] = {
        "id": pa.array([f"{number:06d}{row:06d}" for row in range(ROWS)]),
        "ts": pa.array(first + np.arange(ROWS) * 50, pa.timestamp("us", "UTC")),
        "version": pa.array(["1"] * ROWS),
        "digest": pa.array(["a" * 64] * ROWS),
        "latency_ms": pa.array(rng.gamma(9, 1, ROWS).astype(np.float32)),
        "output": pa.array(rng.integers(0, 2, ROWS)),
        "score": pa.array(rng.random(ROWS).astype(np.float32)),
        **{f"feature.f{column}": pa.array(rng.normal(size=ROWS)) for column in range(FEATURES)},
    }
    table, sink = pa.table(columns), io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def written_plainly(bodies: list[bytes], folder: Path) -> float:
    """Seconds for Parquet alone."""
    begun = time.monotonic()
    for number, one in enumerate(bodies):
        with (folder / f"{number}.parquet").open("wb") as file:
            pq.write_table(pa.ipc.open_stream(one).read_all(), file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
    return time.monotonic() - begun


def taken(endpoint: Any, one: bytes, host: Any = None) -> None:
    """A delivery from its body to rows that can be asked for."""
    from django.db import transaction

    from monitoring import intake
    from monitoring.models import Delivery
    from monitoring.reading import ARROW

    with transaction.atomic():
        # Inside of this transaction nothing is sent to a broker, of which this run has none.
        kept, _ = intake.accept(
            source=intake.PREDICTIONS, key="", endpoint=endpoint, host=host, content_type=ARROW, body=one
        )
        transaction.get_connection().run_on_commit.clear()
    if not intake.process(kept.pk):
        raise SystemExit(f"{Delivery.objects.get(pk=kept.pk)} was not read")


def run(folder: Path) -> tuple[float, float, float]:
    """Rows each second, those of plain Parquet, and the 95th percentile of seconds until a delivery is found."""
    import django

    django.setup()
    from django.db import connections

    from monitoring.windows import load_predictions
    from registry.models import Endpoint, Model

    endpoint = Endpoint.objects.create(
        slug="bench", name="Bench", model=Model.objects.create(slug="bench", name="Bench", team="bench")
    )
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=6)
    bodies = [body(number, start) for number in range(2 * DELIVERIES)]
    floor = DELIVERIES * ROWS / written_plainly(bodies[:DELIVERIES], folder)
    begun = time.monotonic()
    for one in bodies[:DELIVERIES]:
        taken(endpoint, one)
    rate = DELIVERIES * ROWS / (time.monotonic() - begun)

    waits, begun = [], time.monotonic()
    for number, one in enumerate(bodies[DELIVERIES:]):
        arrives = begun + number * PACE
        time.sleep(max(0.0, arrives - time.monotonic()))
        taken(endpoint, one)
        first = start + timedelta(microseconds=(DELIVERIES + number) * 100_000)
        found = load_predictions(endpoint, first, first + timedelta(microseconds=100_000), columns=["id"])
        if len(found) != ROWS:
            raise SystemExit(f"{len(found)} of {ROWS} predictions were found")
        waits.append(time.monotonic() - arrives)
    count = len(load_predictions(endpoint, start, start + timedelta(days=1), columns=["id"]))
    if count != 2 * DELIVERIES * ROWS:
        raise SystemExit(f"{count} of {2 * DELIVERIES * ROWS} predictions can be read back")
    connections.close_all()
    return rate, floor, float(np.quantile(waits, 0.95))


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ.update(env)
        plain = Path(name) / "plain"
        plain.mkdir()
        rate, floor, wait = run(plain)
    met = report("ingest_predictions_per_second", rate, "rows/s", TARGET, at_least=True, on=on, floor=floor)
    met &= report("ingest_predictions_queryable_p95_seconds", wait, "s", MOST_SECONDS, at_least=False, on=on)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
