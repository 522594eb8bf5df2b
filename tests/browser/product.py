"""The whole product as production runs it, on the test run's own database and broker, with three real hosts.

Version 1 of the demo's model was good and is last-good; version 2, trained on an extract with two codes exchanged,
answers the traffic now. What follows from that, the product finds out by itself.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from django.conf.global_settings import PASSWORD_HASHERS
from django.test import override_settings

from audit.actions import service_actor
from config.embedded.stack import Stack
from demo.artifacts import MODEL, Package, package
from demo.census import FEATURES, People, people, split, written_in
from demo.registration import register_people, register_service, register_version
from demo.stage import ENDPOINT, Stage
from demo.training import train
from incidents.models import Incident
from monitoring.models import Alert, Monitor, Rule, RuleKind
from registry.actions import mark_soaked, record_switch
from registry.models import Endpoint, Host, Version
from registry.serving_access import address_of, blobs_of, driver_of
from tests.demo.story import passers_by
from tests.ports import free_port
from tests.services import CHILD, Services
from tests.waiting import until

PASSWORD = "a password of the test's people"
CLOCKS = {
    "LASTGOOD_OBSERVE_SECONDS": "2",
    "LASTGOOD_GOLDEN_SECONDS": "10",
    "LASTGOOD_LEASE_SECONDS": "15",
    "LASTGOOD_CLOCK_SECONDS": "0.3",
}
WINDOWS = {"window_seconds": 4, "grace_seconds": 1, "label_delay_seconds": 3}
TIMES = {"wave_soak_seconds": 2, "watch_seconds": 5, "undo_seconds": 600}
TRAINED_ON = 12_000
PERIOD_SECONDS = 0.25
ROWS = 5
TEST = service_actor("test")


def small_package(year: int, codebook: str, seed: int) -> Package:
    """A version of the demo's model that has learned from fewer people, in the time that a test has."""
    training, holdout = split(people((year,)), seed=seed)
    training = written_in(codebook, training.take(np.arange(TRAINED_ON)))
    holdout = written_in(codebook, holdout.take(np.arange(3000)))
    network = train(training, seed=seed)
    return package(network, training, holdout, years=str(year), hyperparameters={"seed": seed})


class Traffic:
    """A client that asks every host in turn about a few people, and tells the truth about them at once."""

    def __init__(self, hosts: list[str], server: str, token: str, crowd: People) -> None:
        self.hosts = hosts
        self.server = server
        self.headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        self.crowd = crowd
        self.failures: list[str] = []
        self.answered_by: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(20)

    def _run(self) -> None:
        turn = 0
        with httpx.Client(timeout=20) as http:
            while not self._ended.wait(PERIOD_SECONDS):
                lines: list[str] = []
                for host in self.hosts:
                    lines += self._ask(http, host, np.arange(turn * ROWS, (turn + 1) * ROWS) % len(self.crowd))
                    turn += 1
                self._label(http, lines)

    def _ask(self, http: httpx.Client, host: str, rows: Any) -> list[str]:
        group, name = self.crowd.take(rows), str(uuid.uuid4())
        inputs = [
            {"name": feature, "shape": [len(rows)], "datatype": "INT64", "data": group.features[feature].tolist()}
            for feature in FEATURES
        ]
        try:
            answer = http.post(f"{host}/v2/models/{MODEL}/infer", json={"id": name, "inputs": inputs})
            version = answer.raise_for_status().json()["model_version"]
        except httpx.HTTPError as error:
            self.failures.append(repr(error))
            return []
        self.answered_by[version] = self.answered_by.get(version, 0) + len(rows)
        known = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        return [
            f'{{"id": "{name}:{row}", "label": {label}, "ts": "{known}"}}'
            for row, label in enumerate(group.label.tolist())
        ]

    def _label(self, http: httpx.Client, lines: list[str]) -> None:
        url = f"{self.server}/api/v1/ingest/labels/"
        http.post(url, params={"endpoint": ENDPOINT}, content="\n".join(lines), headers=self.headers)


@dataclass
class Product:
    """What a test may ask of it. `incident` is the one that the product opened itself."""

    stage: Stage
    traffic: Traffic
    good: Version
    bad: Version
    incident: Incident

    @property
    def url(self) -> str:
        return self.stage.stack.url

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.objects.get(slug=ENDPOINT)


@contextmanager
def running(services: Services, database: str, folder: Path) -> Iterator[Product]:
    """The product, from its first start until an incident about version 2 has been opened; ends with all processes."""
    stage = Stage(folder, free_port(), lambda line: None)
    stage.stack = Stack(folder, port=stage.port, given=_given(services, database))
    with override_settings(LASTGOOD_VAR=folder, PASSWORD_HASHERS=PASSWORD_HASHERS):
        try:
            stage.stack.start()
            token = register_people(PASSWORD).ingest_token
            stage.start_hosts(token)
            packages = small_package(2015, "standard", 1), small_package(2016, "dis_swapped", 2)
            stage.wait_for_hosts()
            register_service(stage)
            _shorten()
            traffic = Traffic([url for url, _ in stage.hosts.values()], stage.stack.url, token, passers_by(6000))
            try:
                good, bad = _go_wrong(packages, traffic)
                yield Product(stage, traffic, good, bad, _found_out())
            finally:
                traffic.stop()
        finally:
            stage.close()


def _given(services: Services, database: str) -> dict[str, str]:
    """The run's servers, and production's settings in everything else."""
    known = services.environment(database)
    kept = {name: value for name, value in known.items() if name.endswith("_URL") or name == "SECRET_KEY"}
    assert CHILD not in kept
    return kept | CLOCKS


def _shorten() -> None:
    Endpoint.objects.filter(slug=ENDPOINT).update(**TIMES)
    Monitor.objects.filter(endpoint__slug=ENDPOINT).update(**WINDOWS)
    # Latency is judged by tests of its own: here it would measure how busy this machine is.
    Rule.objects.filter(kind=RuleKind.LATENCY).update(enabled=False)


def _go_wrong(packages: tuple[Package, Package], traffic: Traffic) -> tuple[Version, Version]:
    """Version 1 answers until it is last-good, then version 2 does."""
    good = register_version(packages[0])
    _serve(good)
    traffic.start()
    until(lambda: traffic.answered_by.get("1", 0) >= 300, seconds=60)
    mark_soaked(version=good, endpoint=Endpoint.objects.get(slug=ENDPOINT), actor=TEST)
    bad = register_version(packages[1], parent=good)
    _serve(bad)
    return good, bad


def _serve(version: Version) -> None:
    """Make all hosts serve it, as a release would have."""
    endpoint = Endpoint.objects.get(slug=ENDPOINT)
    endpoint.fence += 1
    endpoint.save(update_fields=["fence"])
    for host in Host.objects.all():
        driver, address, number = driver_of(host), address_of(host), str(version.number)
        driver.stage(address, MODEL, number, bytes(version.manifest), blobs_of(version))
        driver.load(address, MODEL, number)
        driver.switch(address, MODEL, number, version.digest, endpoint.fence)
        record_switch(endpoint=endpoint, host=host, version=version, cause="release", actor=TEST)


def _found_out() -> Incident:
    until(lambda: Alert.objects.filter(version="2").exists(), seconds=120)
    until(lambda: Incident.objects.exists(), seconds=60)
    return Incident.objects.get()
