"""Runbooks: written with the log's proof, checked without a database, followed by hand on real hosts, and recorded."""

import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections
from django.utils import timezone

from accounts.actions import actor_for
from incidents.models import Incident
from incidents.practice import by_hand, exported
from incidents.practice.by_hand import NotRecorded
from incidents.practice.checking import check_folder
from incidents.practice.models import Runbook
from incidents.rollback.models import RunState
from registry import reconcile
from registry.models import Alias, Deployment, Endpoint, Health, Placement
from tests.audit.log import sequence_all, sequencer_in
from tests.host.fixtures import TOKEN
from tests.incidents.rollback.fleet import Fleet, events


def observe(placement: Placement) -> None:
    Placement.objects.filter(pk=placement.pk).update(observe_due_at=timezone.now())
    reconcile.observe_placement(placement.pk)


@pytest.fixture
def written(fleet: Fleet, tmp_path: Path, settings: Any) -> tuple[Fleet, Path, str]:
    """The runbook of an endpoint that serves the bad version, signed by the log; its folder and the log's key."""
    settings.LASTGOOD_RUNBOOKS = str(tmp_path / "runbooks")
    Alias.objects.create(model=fleet.model, name=Alias.LAST_GOOD, version=fleet.good)
    sequencer = sequencer_in(tmp_path)
    assert exported.due_runbooks(timezone.now()) == [fleet.endpoint.pk]
    assert not exported.refresh(fleet.endpoint.pk), "nothing is written before it is signed"
    sequence_all(sequencer)
    assert exported.refresh(fleet.endpoint.pk)
    connections["sequencer"].close()
    return fleet, Path(settings.LASTGOOD_RUNBOOKS), sequencer.signer.vkey


def test_a_runbook_is_followed_by_hand_found_and_recorded(written: tuple[Fleet, Path, str]) -> None:
    fleet, folder, key = written
    text = (folder / f"{fleet.endpoint.slug}.md").read_text()
    assert [wrong for _, wrong in check_folder(folder, key)] == ["", "", ""]
    way = text.split(f"## Roll back to version {fleet.good.number}")[1].split("\n## ")[0]
    blocks = re.findall(r"On (\w+) \(bundled\).*?```sh\n(.*?)```", way, re.DOTALL)
    assert [name for name, _ in blocks] == ["h1", "h2", "h3"]

    for _, block in blocks[:1]:
        done = subprocess.run(
            ["bash", "-euc", block], cwd=folder, env=os.environ | {"TOKEN": TOKEN}, capture_output=True, text=True,
            timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
    placement = Placement.objects.select_related("endpoint", "host").get(host__name="h1")
    observe(placement)
    placement.refresh_from_db()
    assert placement.health == Health.WRONG_VERSION
    assert [row.host.name for row in by_hand.found(fleet.endpoint)] == ["h1"]

    incident = Incident.objects.create(
        number=1, ref="INC-1", title="h1 is not as it was left.", severity=2, endpoint=fleet.endpoint, group_key="x",
        detected_at=timezone.now(),
    )  # fmt: skip
    told = {"incident": incident, "placement": placement, "at": timezone.now() - timedelta(minutes=5)}
    carla = {"user": fleet.commander, "actor": actor_for(user=fleet.commander)}
    with pytest.raises(NotRecorded):
        by_hand.record_by_hand(**told, told=" ", **carla)
    version = by_hand.record_by_hand(**told, told="Rita followed the runbook by telephone.", **carla)

    assert version == fleet.good
    [event] = events("practice.by_hand", incident="INC-1")
    assert event["data"]["version"] == fleet.good.digest
    live = Deployment.objects.get(endpoint=fleet.endpoint, host=placement.host, until=None)
    assert (live.version, live.cause, live.incident_ref) == (fleet.good, "by_hand", "INC-1")
    observe(placement)
    placement.refresh_from_db()
    assert (placement.health, by_hand.found(fleet.endpoint)) == (Health.SERVING, [])
    assert Endpoint.objects.get(pk=fleet.endpoint.pk).fence == fleet.defaults_set()[0]
    with pytest.raises(NotRecorded, match="serves what it shall"):
        by_hand.record_by_hand(**told, told="Again.", **carla)
    assert fleet.finished(fleet.good).state == RunState.SWITCHED
    assert fleet.serving() == [fleet.good.digest] * 3


def test_a_runbook_that_was_altered_is_found_without_a_database(written: tuple[Fleet, Path, str], capsys: Any) -> None:
    fleet, folder, key = written
    runbook = folder / f"{fleet.endpoint.slug}.md"
    with pytest.raises(SystemExit) as fine:
        call_command("runbooks", "verify", "--key", key, "--folder", str(folder))
    assert (fine.value.code, "as the log has it" in capsys.readouterr().out) == (0, True)

    runbook.write_text(runbook.read_text().replace(fleet.good.digest, fleet.bad.digest))
    with pytest.raises(SystemExit) as altered:
        call_command("runbooks", "verify", "--key", key, "--folder", str(folder))
    assert altered.value.code == 1
    other = key.replace(key.split("+", 2)[2], "A" * 44)
    assert all("does not hold" in wrong for name, wrong in check_folder(folder, other) if name.endswith(".md"))


def test_a_runbook_is_made_anew_only_when_something_has_changed(
    written: tuple[Fleet, Path, str], tmp_path: Path
) -> None:
    fleet, _, _ = written
    assert not exported.refresh(fleet.endpoint.pk)
    assert len(events("practice.runbook.make")) == 1
    assert exported.due_runbooks(timezone.now()) == []

    Endpoint.objects.filter(pk=fleet.endpoint.pk).update(fence=41)
    assert not exported.refresh(fleet.endpoint.pk), "it waits for the log"
    assert Runbook.objects.get().number == 2
    sequence_all(sequencer_in(tmp_path))
    assert exported.refresh(fleet.endpoint.pk)
    connections["sequencer"].close()
    assert '"fence": 42' in Runbook.objects.get().body
