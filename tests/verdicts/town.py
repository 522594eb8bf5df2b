"""A real situation for a verdict: real people, the demo's trained networks on three host processes (one of which can be
broken), answers logged and labelled through intake, windows judged by detection, and the product's own way from there.

Only time is told instead of waited for: an hour's worth of rows gets its stamps at once.
"""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import rfc8785
from django.utils import timezone

from audit.actions import service_actor
from demo.artifacts import Package
from demo.census import People
from incidents import intake as incidents_intake
from incidents import queries
from incidents.diagnosis import Diagnosis
from incidents.models import Incident
from incidents.rollback.models import Candidate
from incidents.tasks import rank_candidates
from monitoring import detect, intake
from monitoring.actions import watch_endpoint
from monitoring.models import Alert, Rule, Window
from registry import actions as registry
from registry import serving_access
from registry.models import Endpoint, Host, Version
from tests.host.fixtures import TOKEN, HostProcess
from tests.monitoring import world

TEST = service_actor("test")
WINDOW = timedelta(seconds=60)
ROWS = 250
"""Rows of one host in one window of ordinary traffic."""
BEFORE, DURING = 4, 3
TIMED = 12
"""Single requests by which a host's latency is measured in a window."""

Columns = dict[str, np.ndarray]
Sent = Callable[[Columns, np.random.Generator], Columns]
Truth = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def as_it_is(columns: Columns, rng: np.random.Generator) -> Columns:
    return columns


def all_known(label: np.ndarray, output: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return label.astype(float)


@dataclass(frozen=True)
class Situation:
    """What goes wrong, if anything. `release` is the package that replaces version 1 as it begins; "" where version 2
    has served all along. `who` picks the people who come, `sent` changes what is sent of them, `truth` what becomes of
    labels (NaN: not known); `host` is what the third host does; `traffic` and `slowness` are factors."""

    release: str = ""
    who: Callable[[People], np.ndarray] | None = None
    sent: Sent = as_it_is
    truth: Truth = all_known
    host: str = ""
    traffic: float = 1.0
    slowness: float = 1.0
    rows: int = ROWS
    hosts: int = 3


@dataclass(frozen=True)
class Given:
    """What one host was sent in a window, and what it answered: all of shape (n,)."""

    sent: Columns
    version: str
    digest: str
    output: np.ndarray
    score: np.ndarray
    label: np.ndarray

    def table(self, start: datetime, at: int, latencies: np.ndarray) -> pa.Table:
        """The rows as host number `at` logs them, spread evenly over the window."""
        count = len(self.output)
        stamps = int(start.timestamp() * 1e6) + np.arange(count) * (WINDOW // timedelta(microseconds=1)) // count
        table: dict[str, Any] = {
            "id": pa.array([f"{int(start.timestamp())}-{at}-{row}" for row in range(count)]),
            "ts": pa.array(stamps, pa.timestamp("us", "UTC")),
            "version": pa.array([self.version] * count),
            "digest": pa.array([self.digest] * count),
            "latency_ms": pa.array(latencies.astype(np.float32)),
            "output": pa.array(self.output),
            "score": pa.array(self.score.astype(np.float32)),
            **{f"feature.{name}": pa.array(column) for name, column in self.sent.items()},
        }
        return pa.table(table)


@dataclass
class Town:
    """The endpoint of one test, on hosts that all tests share. `packages` gives a pair of packages by name."""

    processes: list[HostProcess]
    sign: Path
    packages: Callable[[str], Package]
    crowd: People
    slug: str = field(default_factory=lambda: f"employment-{uuid.uuid4().hex[:8]}")
    at: int = 0

    def build(self) -> "Town":
        model = registry.register_model(
            slug=self.slug, name="Employment", team="Labour services", risk_tier="high", actor=TEST,
            subject_noun="person", subject_noun_plural="persons", group_columns=["DIS", "SEX", "AGEP"],
        )  # fmt: skip
        self.endpoint: Endpoint = registry.register_endpoint(
            slug=f"{self.slug}-production", name="Employment", model=model, wave_soak_seconds=0, actor=TEST
        )
        self.hosts: list[Host] = []
        for process in self.processes:
            name = f"{process.name}-{self.slug[-4:]}"
            host = registry.register_host(
                name=name, engine="bundled", address=process.url, control_token=TOKEN, labels={}, actor=TEST
            )
            registry.place(endpoint=self.endpoint, host=host, actor=TEST)
            self.hosts.append(host)
        watch_endpoint(endpoint=self.endpoint, actor=TEST, window_seconds=60, min_rows=150, for_windows=2)
        Rule.objects.filter(endpoint=self.endpoint).update(for_windows=2)
        self.rng = np.random.default_rng(2017)
        return self

    def register(self, made: Package, parent: Version | None = None) -> Version:
        """The package as a version of this test's own model."""
        manifest = rfc8785.dumps(json.loads(made.manifest) | {"model": self.slug})
        return registry.register_version(
            model=self.endpoint.model, manifest=manifest, files=made.files, profile=made.profile, golden=made.golden,
            holdout=made.holdout, metrics=made.metrics, documentation="", training_data_digest="0" * 64,
            hyperparameters={}, environment={}, parents=[(parent, "retrained")] if parent else [], actor=TEST,
        )  # fmt: skip

    def serve(self, version: Version) -> None:
        """Switch every host to it, as a release that asked nothing would have."""
        Endpoint.objects.filter(pk=self.endpoint.pk).update(fence=self.endpoint.fence + 1)
        self.endpoint.refresh_from_db()
        number = str(version.number)
        for host in self.hosts:
            driver, address = serving_access.driver_of(host), serving_access.address_of(host)
            driver.stage(address, self.slug, number, bytes(version.manifest), serving_access.blobs_of(version))
            driver.load(address, self.slug, number)
            driver.switch(address, self.slug, number, version.digest, self.endpoint.fence)
            registry.record_switch(endpoint=self.endpoint, host=host, version=version, cause="release", actor=TEST)

    def happen(self, situation: Situation) -> datetime:
        """Live through it; returns when it began."""
        one = self.register(self.packages("first"))
        self.serve(one)
        registry.mark_soaked(version=one, endpoint=self.endpoint, actor=TEST)
        if not situation.release:
            two = self.register(self.packages("none"), one)
            self.serve(two)
            registry.mark_soaked(version=two, endpoint=self.endpoint, actor=TEST)
        began = timezone.now() - DURING * WINDOW
        for window in range(BEFORE):
            self._window(began - (BEFORE - window) * WINDOW, Situation(rows=situation.rows))
        if situation.release:
            self.serve(self.register(self.packages(situation.release), one))
        if situation.host:
            self._break(situation.host)
        for window in range(DURING):
            self._window(began + window * WINDOW, situation)
        return began

    def _break(self, mode: str) -> None:
        if mode != "gone":
            self.sign.write_text(mode)
            time.sleep(0.5)

    def _window(self, start: datetime, situation: Situation) -> None:
        """A minute of answers on every host, what becomes known of them, and the judging of it."""
        names = range(len(self.hosts[: situation.hosts]))
        silent = len(self.hosts) - 1 if situation.host == "gone" else None
        given = {at: self._answered(at, situation) for at in names if at != silent}
        taken = self._timed({at: one.sent for at, one in given.items()})
        for at, one in given.items():
            latencies = self.rng.choice(taken[at], len(one.output)) * situation.slowness
            table, truth = one.table(start, at, latencies), situation.truth(one.label, one.output, self.rng)
            world.send(intake.PREDICTIONS, world.stream(table), self.endpoint, self.hosts[at])
            known = ~np.isnan(truth)
            ids = np.array(table.column("id").to_pylist())[known]
            stamp = (start + WINDOW).isoformat()
            lines = [
                json.dumps({"id": str(key), "label": int(label), "ts": stamp})
                for key, label in zip(ids, truth[known], strict=True)
            ]
            if lines:
                world.send(intake.LABELS, "\n".join(lines).encode(), self.endpoint)
        window = Window.objects.create(endpoint=self.endpoint, start=start, end=start + WINDOW, due_at=start)
        assert detect.judge(window.pk) is True

    def _answered(self, at: int, situation: Situation) -> "Given":
        """What host number `at` answers to the next people, and their labels."""
        count = round(situation.rows * situation.traffic)
        pool = self.crowd
        chosen = np.arange(len(pool)) if situation.who is None else np.flatnonzero(situation.who(pool))
        group = pool.take(chosen[(self.at + np.arange(count)) % len(chosen)])
        self.at += count
        sent = situation.sent(dict(group.features), self.rng)
        asked = {name: column.tolist() for name, column in sent.items()}
        answer = self.processes[at].infer(asked, model=self.slug, parameters={"log": False}).json()
        outputs = {output["name"]: np.array(output["data"]) for output in answer["outputs"]}
        version, digest = str(answer["model_version"]), str(answer["parameters"]["digest"])
        return Given(sent, version, digest, outputs["employed"].astype(np.int64), outputs["score"], group.label)

    def _timed(self, sent: dict[int, Columns]) -> dict[int, np.ndarray]:
        """Milliseconds of the fastest third of TIMED single requests to each host, in turns: what it takes, and what
        else this machine does meanwhile hits all of them."""
        taken: dict[int, list[float]] = {at: [] for at in sent}
        for row in range(TIMED):
            for at, columns in sent.items():
                one = {name: column[row : row + 1].tolist() for name, column in columns.items()}
                begun = time.perf_counter()
                self.processes[at].infer(one, model=self.slug, parameters={"log": False})
                taken[at].append(1000 * (time.perf_counter() - begun))
        return {at: np.sort(found)[: TIMED // 3] for at, found in taken.items()}

    # --- what the product makes of it -----------------------------------------------------------------------------

    def alerts(self) -> list[str]:
        """The kinds of the rules that fired; what a colleague said is none of them."""
        fired = Alert.objects.filter(endpoint=self.endpoint, rule__isnull=False)
        return list(fired.order_by("pk").values_list("rule__kind", flat=True))

    def incident(self, began: datetime) -> Incident:
        """The incident of the first alert; where none fired, of a colleague's who says that something is wrong."""
        alert = Alert.objects.filter(endpoint=self.endpoint).order_by("pk").first()
        if alert is None:
            number = str(self._live().number)
            alert = Alert.objects.create(
                fingerprint=uuid.uuid4().hex * 2, source="webhook", endpoint=self.endpoint, version=number, severity=3,
                summary="Somebody says that something is wrong.", started_at=began,
            )  # fmt: skip
        incident = incidents_intake.take_alert(alert_id=alert.pk)
        assert incident is not None
        return incident

    def _live(self) -> Version:
        found = Version.objects.filter(deployments__endpoint=self.endpoint, deployments__until=None).first()
        assert found is not None
        return found

    def judged(self, began: datetime) -> "Judged":
        """The incident examined and its targets ranked, as workers do it, and the diagnosis as the page shows it."""
        incident = self.incident(began)
        begun = time.perf_counter()
        rank_candidates(incident.pk)
        seconds = time.perf_counter() - begun
        now = queries.situation(queries.incidents().get(pk=incident.pk))
        return Judged(incident, now.diagnosis(), now.candidates, seconds)


@dataclass(frozen=True)
class Judged:
    """`seconds` is how long examining and ranking took."""

    incident: Incident
    diagnosis: Diagnosis
    candidates: list[Candidate]
    seconds: float

    @property
    def word(self) -> str | None:
        likely = self.diagnosis.likely
        return likely.word if likely else None

    @property
    def because(self) -> str:
        likely = self.diagnosis.likely
        return likely.because if likely else ""

    @property
    def suggested(self) -> list[str]:
        return [option.name for option in self.diagnosis.options if option.suggested]

    def told(self) -> str:
        """Everything, for whoever reads a test that failed."""
        lines = [self.incident.title, self.diagnosis.sentence]
        lines += [f"  {one.stands}: {one.word}: {one.because}" for one in self.diagnosis.hypotheses]
        lines += [f"  {one.kind}: {one.claim}" for one in self.incident.evidence.all()]
        lines += [f"  {one.rank}. {one.to_version} {one.eligible} {one.reasons}" for one in self.candidates]
        lines += [f"  {one.name} | {one.effect} | {one.time} | {one.cost}" for one in self.diagnosis.options]
        return "\n".join(lines)
