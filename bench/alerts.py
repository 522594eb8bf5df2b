"""How soon a fault in the served model becomes an alert, and how often nothing does: ``fault_to_alert_windows`` and
``false_alerts_24h``.

The demo's traffic (people of 2017 and 2018, three hosts, the truth about each answer) is fed in windows of five minutes
whose timestamps lie in the past, through the intake, the store, the detectors at their defaults and their alerts; then
rules over metrics, one of each kind that needs no weeks behind it, are judged over the same hours by their rollups.

``false_alerts_24h``: alerts in WINDOWS (288: a day) windows that version 1 answers, by detectors and rules together; 0
is asked. ``fault_to_alert_windows``: from the first window that version 2 answers to the alert, the most of the demo's
three faults (recode, scale, slow), each put in after HEALTHY windows; at most 2 is asked. WINDOWS=24 and
FAULTS=recode make it quick; OMP_NUM_THREADS=1 gives what a worker has. SEED draws other people in another order.
"""

import io
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.audit_events_per_second import database
from bench.report import machine, report
from demo.build import cached
from demo.census import FEATURES, TRAFFIC_SEED, People, traffic

WINDOWS, HEALTHY, MOST = int(os.environ.get("WINDOWS", "288")), 6, 6
SEED = int(os.environ.get("SEED", "0"))
ROWS, HOSTS = 120, ("gpu-1", "gpu-2", "gpu-3")
LENGTH = timedelta(minutes=5)
FAULTS = tuple(os.environ.get("FAULTS", "recode,scale,slow").split(","))
CACHE = Path("var") / "demo-cache"
MEDIAN_MS, SLOWER = 1.0, 12.0
TARGET_WINDOWS, TARGET_FALSE = 2, 0


class Answerer:
    """One version as it answers: the network that the demo trains, and how long an answer takes."""

    def __init__(self, package: Any, number: int, slower: float = 1.0) -> None:
        from demo.training import Network

        self.number, self.digest, self.median_ms = number, package.digest, MEDIAN_MS * slower
        self.network: Network = network_of(package)

    def table(self, group: People, start: datetime, host: str, rng: np.random.Generator) -> pa.Table:
        """The people's answers as the host logs them, evenly over the window."""
        from demo.training import predict

        score = predict(self.network, group)
        rows, step = len(group), LENGTH // timedelta(microseconds=1) // len(group)
        stamps = int(start.timestamp()) * 1_000_000 + np.arange(rows) * step
        return pa.table(
            {
                "id": pa.array([f"{host}-{self.number}-{stamps[0]}-{i}" for i in range(rows)]),
                "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
                "version": pa.array([str(self.number)] * rows),
                "digest": pa.array([self.digest] * rows),
                "latency_ms": pa.array(rng.gamma(9.0, self.median_ms / 9.0, rows).astype(np.float32)),
                "output": pa.array((score >= 0.5).astype(np.int64)),
                "score": pa.array(score.astype(np.float32)),
                **{f"feature.{name}": pa.array(group.features[name]) for name in FEATURES},
            }
        )


def network_of(package: Any) -> Any:
    """The trained network, read back from what the registry is given."""
    import json

    from safetensors.torch import load

    from demo.training import Network

    components = json.loads(package.manifest)["components"]
    weights, preprocessing, config = (
        package.files[components[name][0]["sha256"]] for name in ("weights", "preprocessing", "config")
    )
    return Network(json.loads(preprocessing), json.loads(config), load(weights))


def people() -> Iterator[People]:
    """Groups of ROWS people in the order of the demo's traffic, or with SEED in another."""
    stream = traffic(TRAFFIC_SEED + SEED)
    while rows := list(islice(stream, ROWS)):
        features = {name: np.array([one[name] for one, _ in rows], np.int64) for name in FEATURES}
        yield People(features, np.array([label for _, label in rows], np.int64))


class World:
    """An endpoint with three hosts, watched at the defaults, whose windows are fed one after another."""

    def __init__(self, slug: str, model: Any, start: datetime) -> None:
        from audit.actions import service_actor
        from monitoring.actions import watch_endpoint
        from registry.models import Endpoint, Host

        self.endpoint = Endpoint.objects.create(slug=slug, name=slug, model=model)
        self.hosts = [Host.objects.get_or_create(name=name, address="http://127.0.0.1:9000")[0] for name in HOSTS]
        watch_endpoint(endpoint=self.endpoint, actor=service_actor("bench"))
        self.start, self.groups, self.rng = start, people(), np.random.default_rng(7 + SEED)
        self.core_seconds: list[float] = []

    def window(self, number: int, version: Answerer) -> None:
        """What each host answers in a window is taken in with the truth, and the window is judged."""
        from monitoring import detect
        from monitoring.models import Window

        start = self.start + number * LENGTH
        for host in self.hosts:
            group = next(self.groups)
            table = version.table(group, start, host.name, self.rng)
            self._send("predictions", _stream(table), "application/vnd.apache.arrow.stream", host)
            lines = (
                f'{{"id": "{name}", "label": {label}, "ts": "{start.isoformat()}"}}'
                for name, label in zip(table.column("id").to_pylist(), group.label.tolist(), strict=True)
            )
            self._send("labels", "\n".join(lines).encode(), "application/x-ndjson", None)
        window = Window.objects.create(endpoint=self.endpoint, start=start, end=start + LENGTH, due_at=start + LENGTH)
        begun = time.process_time()
        if not detect.judge(window.pk):
            raise SystemExit(f"window {number} of {self.endpoint.slug} was not judged")
        self.core_seconds.append(time.process_time() - begun)

    def _send(self, source: str, body: bytes, content_type: str, host: Any) -> None:
        from monitoring import intake
        from monitoring.models import DeliveryState

        delivery, _ = intake.accept(
            source=source, key="", endpoint=self.endpoint, host=host, content_type=content_type, body=body
        )
        intake.process(delivery.pk)
        delivery.refresh_from_db()
        if delivery.state != DeliveryState.PROCESSED or delivery.error:
            raise SystemExit(f"a delivery was not taken in: {delivery.error}")

    def alerts(self) -> list[Any]:
        from monitoring.models import Alert

        return list(Alert.objects.filter(endpoint=self.endpoint).order_by("pk"))


def _stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def quiet(world: World, version: Answerer) -> tuple[int, dict[str, int]]:
    """Alerts of detectors in WINDOWS healthy windows, and of rules over the same hours, by rule."""
    for number in range(WINDOWS):
        world.window(number, version)
    return len(world.alerts()), {rule.name: fired for rule, fired in judged(world, WINDOWS)}


def judged(world: World, windows: int) -> Iterator[tuple[Any, int]]:
    """Rules over metrics and how often each would have fired from the first to the last window. Each asks for two
    windows in a row, as the detectors' alerts do: by chance alone one point in 370 lies beyond three sigma."""
    from monitoring.rules.actions import draft
    from monitoring.rules.preview import preview

    until = world.start + windows * LENGTH
    stable = {"since": world.start.isoformat(), "until": (world.start + max(windows // 3, 22) * LENGTH).isoformat()}
    shared = {"endpoint": world.endpoint, "window_seconds": 300, "for_seconds": 300, "clear_seconds": 600}
    asked = [
        {"name": "p95 three times as high", "metric": "latency_p95_ms", "kind": "static",
         "params": {"limit": 3 * MEDIAN_MS * 1.6}},
        {"name": "budget of wrong answers", "metric": "accuracy", "kind": "burn",
         "params": {"objective": 0.7, "counts": "good", "long_seconds": 3_600, "factor": 1.25}},
        {"name": "accuracy on its control chart", "metric": "accuracy", "kind": "control",
         "params": {"runs": "nelson", "numbers": [1], **stable}},
    ]  # fmt: skip
    for fields in asked:
        rule = draft(**{**shared, **fields})
        found = preview(rule, until=until, days=windows * LENGTH / timedelta(days=1))
        if all(one.silent_share == 1 for one in found.told):
            raise SystemExit(f"the rule {rule.name} found no data")
        yield rule, len(found.fired)


def to_alert(world: World, before: Answerer, faulty: Answerer) -> int:
    """Windows from the first that the faulty version answers to the first alert about it; MOST + 1 where none came."""
    for number in range(HEALTHY):
        world.window(number, before)
    for number in range(1, MOST + 1):
        world.window(HEALTHY + number - 1, faulty)
        if any(alert.version == str(faulty.number) for alert in world.alerts()):
            return number
    return MOST + 1


def run() -> tuple[int, dict[str, int], dict[str, int], float]:
    import django

    django.setup()
    logging.getLogger().setLevel(logging.CRITICAL)
    from django.db import connections

    from audit.actions import service_actor
    from registry import actions as registry
    from registry.models import Model

    actor = service_actor("bench")
    registry.register_model(slug="employment", name="Employment", team="bench", actor=actor)
    model = Model.objects.get(slug="employment")
    packages = {"none": cached(CACHE, "recode")[0], **{fault: cached(CACHE, fault)[1] for fault in FAULTS}}
    versions = {}
    for name, package in packages.items():
        registered = registry.register_version(
            model=model, manifest=package.manifest, files=package.files, profile=package.profile, golden=package.golden,
            holdout=package.holdout, metrics=package.metrics, documentation=package.documentation,
            training_data_digest=package.training_data_digest, hyperparameters=package.hyperparameters,
            environment={}, parents=[], actor=actor,
        )  # fmt: skip
        versions[name] = Answerer(package, registered.number, SLOWER if name == "slow" else 1.0)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    healthy = World("healthy", model, now - WINDOWS * LENGTH - LENGTH)
    detectors, rules = quiet(healthy, versions["none"])
    start = now - (HEALTHY + MOST + 1) * LENGTH
    found = {fault: to_alert(World(fault, model, start), versions["none"], versions[fault]) for fault in FAULTS}
    connections.close_all()
    return detectors, rules, found, 1_000 * float(np.median(healthy.core_seconds))


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        os.environ.update(env)
        detectors, rules, found, core = run()
    peers = {
        "windows": WINDOWS, "rows a window": ROWS * len(HOSTS), "by detectors": detectors, "by rules": rules,
        "core ms to judge a window": round(core),
    }  # fmt: skip
    total = detectors + sum(rules.values())
    met = report("false_alerts_24h", total, "alerts", TARGET_FALSE, at_least=False, on=on, peers=peers)
    slowest = max(found.values())
    met &= report(
        "fault_to_alert_windows", slowest, "windows", TARGET_WINDOWS, at_least=False, on=on, peers={"by fault": found}
    )
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
