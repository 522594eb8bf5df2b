"""The demo's story on paper: its own networks answer its own traffic, and monitoring reads it with time standing still.

Nothing is made up: answers are computed by the trained network, latencies are measured on the host's own code.
"""

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from audit.actions import service_actor
from demo.artifacts import MODEL, THRESHOLD, Package
from demo.census import FEATURES, People, traffic
from demo.registration import register_people, register_service, register_version
from demo.stage import ENDPOINT, HOSTS, MONITOR, RATE
from demo.training import Network, predict
from monitoring import detect
from monitoring.models import Alert, Window
from registry.actions import mark_soaked, record_switch
from registry.models import Endpoint, Host, Version
from tests.monitoring.world import Answers, log

TEST = service_actor("test")
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
WINDOW = timedelta(seconds=MONITOR["window_seconds"])
ROWS = int(RATE * MONITOR["window_seconds"]) // len(HOSTS)
"""Rows of one host in one window, as the demo's traffic sends them."""


def passers_by(count: int) -> People:
    """The first people of the demo's traffic, in its order."""
    rows = list(itertools.islice(traffic(), count))
    features = {name: np.array([person[name] for person, _ in rows], np.int64) for name in FEATURES}
    return People(features, np.array([label for _, label in rows], np.int64))


def network_of(made: Package) -> Network:
    """The trained network, read back from the package's files as the manifest names them."""
    from safetensors.torch import load

    components = json.loads(made.manifest)["components"]
    files = {name: made.files[files[0]["sha256"]] for name, files in components.items()}
    return Network(json.loads(files["preprocessing"]), json.loads(files["config"]), load(files["weights"]))


def measured_latencies(made: Package, folder: Path, rows: int) -> NDArray[np.float32]:
    """Milliseconds that the host's own code took to answer each of `rows` single requests, (rows,)."""
    import torch

    from host.manifest import read_manifest
    from host.version import LoadedVersion, read_parts

    for sha256, data in made.files.items():
        (folder / sha256).write_bytes(data)
    parts = read_parts(read_manifest(made.manifest, MODEL), lambda sha256: folder / sha256)
    loaded = LoadedVersion("1", parts, torch.device("cpu"))
    loaded.warm_up()
    group = passers_by(rows)
    asked = [{name: [int(group.features[name][row])] for name in FEATURES} for row in range(rows)]
    return np.array([loaded.answer(columns).latency_ms for columns in asked], np.float32)


@dataclass
class Story:
    """The demo's installation in the test's database, and the windows of its traffic that have been told so far."""

    group: People
    told: int = 0
    released: int = 0
    endpoint: Endpoint = field(init=False)
    hosts: list[Host] = field(init=False)

    def __post_init__(self) -> None:
        register_people("demo-password")
        # Nothing is asked of the hosts here: their traffic is on paper.
        addresses = {name: (f"http://127.0.0.1:{15000 + at}", "token") for at, name in enumerate(HOSTS)}
        register_service(SimpleNamespace(hosts=addresses))
        self.endpoint = Endpoint.objects.get(slug=ENDPOINT)
        self.hosts = list(Host.objects.order_by("name"))

    def release(self, made: Package, latencies: NDArray[np.float32], parent: Version | None = None) -> "Live":
        """Register the version and enter it as live on every host."""
        self.released = self.told
        live = Live(register_version(made, parent), network_of(made), latencies)
        for host in self.hosts:
            record_switch(endpoint=self.endpoint, host=host, version=live.version, cause="release", actor=TEST)
        return live

    def soak(self, live: "Live") -> None:
        mark_soaked(version=live.version, endpoint=self.endpoint, actor=TEST)

    def tell(self, live: "Live", windows: int) -> None:
        """Let the version answer so many windows on all hosts; each is logged, labelled and judged."""
        for _ in range(windows):
            start = START + WINDOW * self.told
            for at, host in enumerate(self.hosts):
                begin = (self.told * len(self.hosts) + at) * ROWS
                rows = self.group.take(np.arange(begin, begin + ROWS))
                log(self.endpoint, host, live.answers(rows, start, at))
            window = Window.objects.create(endpoint=self.endpoint, start=start, end=start + WINDOW, due_at=start)
            assert detect.judge(window.pk) is True
            self.told += 1

    def alerts(self) -> list[tuple[str, str, int]]:
        """(rule, version, windows since the last release when it began) of every alert, in the order of firing."""
        found = Alert.objects.filter(endpoint=self.endpoint).select_related("rule").order_by("pk")
        return [(a.rule.kind, a.version, (a.started_at - START) // WINDOW - self.released) for a in found]


@dataclass
class Live:
    """A version that answers: its row in the registry, its network, and latencies measured with it."""

    version: Version
    network: Network
    latencies: NDArray[np.float32]

    def answers(self, rows: People, start: datetime, at: int) -> Answers:
        """What host number `at` logs for these people, spread evenly over the window."""
        score = predict(self.network, rows)
        number, count = str(self.version.number), len(rows)
        rng = np.random.default_rng([at, int(start.timestamp())])
        stamps = int(start.timestamp() * 1_000_000) + np.arange(count) * (WINDOW // timedelta(microseconds=1)) // count
        table: dict[str, Any] = {
            "id": pa.array([f"{int(start.timestamp())}-{at}-{row}" for row in range(count)]),
            "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
            "version": pa.array([number] * count),
            "digest": pa.array([self.version.digest] * count),
            "latency_ms": pa.array(rng.choice(self.latencies, count)),
            "output": pa.array((score >= THRESHOLD).astype(np.int64)),
            "score": pa.array(score.astype(np.float32)),
            **{f"feature.{name}": pa.array(rows.features[name]) for name in FEATURES},
        }
        return Answers(pa.table(table), rows.label)
