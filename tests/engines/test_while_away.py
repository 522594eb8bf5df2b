"""What an operator changes on an engine without a fence while every program of Lastgood is dead is found when they are
started again, held, and asked about."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.actions import actor_for
from incidents.models import Incident, IncidentAlert
from incidents.practice.by_hand import record_by_hand
from incidents.practice.commands import lines_for
from incidents.rollback.models import PlanKind, Run, RunState
from registry.actions import release
from registry.models import Health, Placement, Version
from registry.serving.base import Goal
from tests.conftest import ROOT
from tests.engines.by_hand import load_by_hand, management, named, post
from tests.engines.servers import Server
from tests.engines.story import Story
from tests.engines.test_rollback import EngineFleet, fleet_on
from tests.engines.test_runbook import run
from tests.incidents.rollback.fleet import SETUP, events
from tests.waiting import until

pytestmark = pytest.mark.engines
PATIENT = 90.0
AWAY = timedelta(minutes=10)


class Programs:
    """The clock and a worker of the product, with a broker database of their own."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        redis = env["REDIS_URL"].rsplit("/", 1)[0] + f"/{1 + os.getpid() % 15}"
        self.env = env | {"REDIS_URL": redis, "LASTGOOD_CLOCK_SECONDS": "0.2", "LASTGOOD_OBSERVE_SECONDS": "1"}
        self.folder = folder
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        pool = ["--pool", "threads", "--concurrency", "4", "--queues", "rollback,intake"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        for command in (["manage.py", "clock"], ["-m", "celery", "-A", "config", "worker", *pool, *quiet]):
            with (self.folder / "programs.log").open("ab") as log:
                self.running.append(
                    subprocess.Popen([sys.executable, *command], cwd=ROOT, env=self.env, stdout=log, stderr=log)
                )

    def kill(self) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()


@dataclass
class Away:
    """An endpoint that was rolled back to version 1 on a real engine while Lastgood ran, and Lastgood's programs."""

    fleet: EngineFleet
    programs: Programs

    @property
    def placement(self) -> Placement:
        return Placement.objects.select_related("host", "desired", "endpoint").get(endpoint=self.fleet.endpoint)

    def seen(self, holds: Callable[[Placement], bool]) -> Placement:
        """The placement once that is so of it."""
        until(lambda: holds(self.placement), seconds=PATIENT)
        return self.placement

    def seen_again(self, times: int = 3) -> Placement:
        """The placement once the host was looked at so many times more."""
        for _ in range(times):
            last = self.placement.observed_at
            self.seen(lambda now, last=last: now.observed_at != last)  # type: ignore[misc]
        return self.placement

    def while_dead(self, change: Callable[[], None]) -> None:
        """Kill everything, let the change be made, let ten minutes go by, and start everything again."""
        self.programs.kill()
        change()
        row = Placement.objects.filter(endpoint=self.fleet.endpoint)
        row.update(observed_at=F("observed_at") - AWAY, observe_due_at=F("observe_due_at") - AWAY)
        self.programs.start()

    def by_hand(self, version: Version) -> None:
        """The printed lines that bring the host to a version."""
        host = self.fleet.hosts[0]
        goal = Goal(self.fleet.slug, version.number, version.digest, [], "")
        printed = "\n".join(lines_for(host.engine, host.address, host.options, goal, 0))
        done = run(printed, self.fleet.folder)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def away(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, request: pytest.FixtureRequest
) -> Iterator[Away]:
    """On the engine that the test is marked with."""
    server = servers(request.param)
    fleet = fleet_on(server, tmp_path, settings)
    repositories = {"LASTGOOD_REPOSITORIES": ",".join(settings.LASTGOOD_REPOSITORIES)}
    env = committed_db.env | repositories | {"LASTGOOD_VAR": str(settings.LASTGOOD_VAR)}
    fleet.serve(fleet.bad)
    finished = fleet.finished()
    assert finished.state == RunState.SWITCHED, finished.state_reason
    made = Away(fleet, Programs(env, tmp_path))
    made.programs.start()
    try:
        made.seen(lambda row: row.health == Health.SERVING and row.observed_digest == fleet.good.digest)
        yield made
    finally:
        made.programs.kill()


UNFENCED = pytest.mark.parametrize("away", ["triton", "torchserve", "mlserver"], indirect=True)


@UNFENCED
def test_what_was_done_by_hand_while_all_programs_were_dead_is_held_asked_about_and_recorded(away: Away) -> None:
    fleet = away.fleet

    # when
    away.while_dead(lambda: away.by_hand(fleet.bad))
    held = away.seen(lambda row: row.host.is_held)

    # then it is left as it is, however often it is looked at
    away.seen_again()
    assert fleet.answers() == fleet.server.expected(2)
    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()
    assert held.host.held_reason == (
        "It was changed while Lastgood was not looking: It serves version 2 instead of version 1."
    )
    assert len(events("host.hold")) == 1

    # and people are asked, by an alert and its incident
    until(lambda: Incident.objects.exists(), seconds=PATIENT)
    incident = Incident.objects.get()
    assert IncidentAlert.objects.get(incident=incident).alert.summary == (
        f"{held.host.name} is not as it was left: It serves version 2 instead of version 1. It changed while Lastgood "
        "was not looking; what was done by hand is recorded on the page of readiness."
    )

    # and when a commander records it, the host goes on with it, and is held no longer
    record_by_hand(
        incident=incident,
        placement=away.placement,
        at=timezone.now(),
        told="Rita went back to version 2 by the runbook.",
        user=fleet.commander,
        actor=actor_for(user=fleet.commander),
    )
    away.seen(lambda row: row.health == Health.SERVING and row.desired == fleet.bad and not row.host.is_held)
    away.seen_again()
    assert fleet.answers() == fleet.server.expected(2)
    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()


@UNFENCED
def test_what_nobody_owns_up_to_is_undone_once_the_host_is_released(away: Away) -> None:
    fleet = away.fleet
    away.while_dead(lambda: away.by_hand(fleet.bad))
    held = away.seen(lambda row: row.host.is_held)

    release(host=held.host, reason="Nobody did that.", actor=SETUP)

    away.seen(lambda row: row.health == Health.SERVING and row.observed_digest == fleet.good.digest)
    assert fleet.answers() == fleet.server.expected(1)
    assert [run.state for run in Run.objects.filter(plan__kind=PlanKind.CONVERGE)] == [RunState.SWITCHED]


def bring_own_files(away: Away) -> None:
    """What an operator does who has a mended model and no Lastgood: version 7's files, under no name of ours."""
    fleet, server = away.fleet, away.fleet.server
    manifest, blobs = server.make(fleet.slug, 7)
    files = {name: blobs[sha256].read_bytes() for name, sha256 in named(manifest).items()}
    story = Story(server)
    story.model = fleet.slug
    if server.engine == "torchserve":
        (server.repository / "by-hand.mar").write_bytes(files["model.mar"])
        load = f"/models?url=by-hand.mar&model_name={fleet.slug}&initial_workers=1&synchronous=true"
        assert management(story, "POST", load) == 200
        assert management(story, "PUT", f"/models/{fleet.slug}/7.0/set-default") == 200
        return
    folder = server.repository / fleet.slug / ("1" if server.engine == "triton" else "by-hand")
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    if server.engine == "triton":
        assert load_by_hand(story, [1])[0] == 200
        return
    settings = json.loads(files["settings.json"]) | {"name": fleet.slug, "parameters": {"uri": str(folder)}}
    (server.repository / fleet.slug / "model-settings.json").write_text(json.dumps(settings))
    assert post(story, f"/v2/repository/models/{fleet.slug}/load")[0] == 200


@UNFENCED
def test_files_that_an_operator_brought_while_all_programs_were_dead_are_held_and_told_of(away: Away) -> None:
    fleet = away.fleet

    # when
    away.while_dead(lambda: bring_own_files(away))
    held = away.seen(lambda row: row.host.is_held)

    # then
    away.seen_again()
    assert fleet.answers() == fleet.server.expected(7)
    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()
    until(lambda: Incident.objects.exists(), seconds=PATIENT)
    assert IncidentAlert.objects.get().alert.summary == (
        f"{held.host.name} is not as it was left: It serves something that Lastgood did not bring to it. It changed "
        "while Lastgood was not looking; to keep it, register its files as a version and release that, and to undo it, "
        "choose Converge again."
    )

    # and when it is not to stay, the host goes back to what was approved
    release(host=held.host, reason="It is no better.", actor=SETUP)
    away.seen(lambda row: row.health == Health.SERVING and row.observed_digest == fleet.good.digest)
    assert fleet.answers() == fleet.server.expected(1)
