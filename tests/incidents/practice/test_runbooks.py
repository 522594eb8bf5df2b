"""Runbooks: written with the log's proof, checked without a database, followed by hand on real hosts, and recorded."""

import base64
import os
import re
import subprocess
from collections.abc import Callable
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
from incidents.practice.commands import lines_for
from incidents.practice.models import Runbook
from incidents.rollback.models import RunState
from registry import reconcile
from registry.actions import (
    drain,
    hold,
    move_alias,
    name_fallback,
    quarantine,
    register_endpoint,
    register_host,
    register_model,
)
from registry.models import Alias, Deployment, Endpoint, Health, Host, Placement, Version
from registry.serving.base import Goal
from tests.audit.log import sequence_all, sequencer_in
from tests.host.fixtures import TOKEN
from tests.incidents.rollback.fleet import SETUP, Fleet, events


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
    Incident.objects.update(state="closed")
    incident.refresh_from_db()
    with pytest.raises(NotRecorded, match="is closed"):
        by_hand.record_by_hand(**told, told="Rita followed it.", **carla)
    Incident.objects.update(state="detected")
    incident.refresh_from_db()
    Version.objects.filter(pk=fleet.good.pk).update(quarantined_at=timezone.now())
    with pytest.raises(NotRecorded, match="is quarantined"):
        by_hand.record_by_hand(**told, told="Rita followed it.", **carla)
    Version.objects.filter(pk=fleet.good.pk).update(quarantined_at=None)
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
    assert (fine.value.code, "as the log has it, number 1, made " in capsys.readouterr().out) == (0, True)
    for suffix in (".md", ".tlog-proof"):
        (folder / f"other{suffix}").write_bytes(runbook.with_suffix(suffix).read_bytes())
    assert dict(check_folder(folder, key))["other.md"] == f"it is the runbook of {runbook.stem}, not of other"
    (folder / "other.md").unlink()

    runbook.write_text(runbook.read_text().replace(fleet.good.digest, fleet.bad.digest))
    with pytest.raises(SystemExit) as altered:
        call_command("runbooks", "verify", "--key", key, "--folder", str(folder))
    assert altered.value.code == 1
    other = key.replace(key.split("+", 2)[2], "A" * 44)
    assert all("does not hold" in wrong for name, wrong in check_folder(folder, other) if name.endswith(".md"))


@pytest.mark.parametrize("lost", ["proof", "half of the proof", "another's proof", "manifest", "half of a manifest"])
def test_what_was_lost_beside_a_runbook_is_written_again(written: tuple[Fleet, Path, str], lost: str) -> None:
    # given a folder as it may come back after the machine's power failed
    fleet, folder, key = written
    proof = folder / f"{fleet.endpoint.slug}.tlog-proof"
    manifest = sorted((folder / "manifests").iterdir())[0]
    path = manifest if "manifest" in lost else proof
    before = path.read_bytes()
    if lost.startswith("half"):
        path.write_bytes(before[: len(before) // 4])
    elif lost == "another's proof":
        record = before.split(b"extra ")[1].split(b"\n")[0]
        other = base64.b64encode(base64.b64decode(record).replace(b'"sha256":"', b'"sha256":"0')).rstrip(b"\n")
        path.write_bytes(before.replace(record, other))
    else:
        path.unlink()
    assert any(wrong for _, wrong in check_folder(folder, key)) or not path.exists()

    # when
    assert exported.refresh(fleet.endpoint.pk)

    # then
    assert [wrong for _, wrong in check_folder(folder, key)] == ["", "", ""]
    assert not exported.refresh(fleet.endpoint.pk)
    assert Runbook.objects.get().number == 1


def test_a_runbook_is_made_anew_only_when_something_has_changed(
    written: tuple[Fleet, Path, str], tmp_path: Path
) -> None:
    fleet, folder, _ = written
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

    runbook = folder / f"{fleet.endpoint.slug}.md"
    right = runbook.read_text()
    runbook.write_text(right.replace("42", "43"))
    assert exported.refresh(fleet.endpoint.pk), "one that was altered is written again"
    assert runbook.read_text() == right
    older = Runbook.objects.get()
    Runbook.objects.update(number=3, body="Newer.", written_at=None)
    assert not exported._write(older, fleet.endpoint, []), "an older one is not written over a newer"


def drain_a_host(fleet: Fleet) -> None:
    drain(host=fleet.hosts[1], reason="A fan is dead.", actor=SETUP)


def move_a_name(fleet: Fleet) -> None:
    move_alias(model=fleet.model, name=Alias.LAST_GOOD, version=fleet.bad, actor=SETUP)


def switch_a_host(fleet: Fleet) -> None:
    fleet.serve(fleet.good, fleet.hosts[:1])


def fall_back_on_another(fleet: Fleet) -> None:
    name_fallback(endpoint=fleet.endpoint, version=fleet.good, reason="It is small.", actor=SETUP)


def start_a_run(fleet: Fleet) -> None:
    fleet.started()


@pytest.mark.parametrize(
    "change",
    [
        drain_a_host, move_a_name, switch_a_host, fall_back_on_another, start_a_run,
        lambda fleet: quarantine(version=fleet.good, reason="Found wrong.", actor=SETUP),
    ],
)  # fmt: skip
def test_a_change_that_is_on_record_makes_it_due_at_once(
    written: tuple[Fleet, Path, str], change: Callable[[Fleet], None]
) -> None:
    # given a runbook that was looked at just now
    fleet, _, _ = written
    assert exported.due_runbooks(timezone.now()) == []

    # when
    change(fleet)

    # then
    assert exported.due_runbooks(timezone.now()) == [fleet.endpoint.pk]
    exported.refresh(fleet.endpoint.pk)
    Runbook.objects.update(written_at=timezone.now())
    assert exported.due_runbooks(timezone.now()) == [], "once"


def test_what_changes_elsewhere_makes_it_not_due(written: tuple[Fleet, Path, str]) -> None:
    fleet, _, _ = written
    other = register_model(slug=f"{fleet.slug}-other", name="Other", team="tests", actor=SETUP)
    register_endpoint(slug="other-production", name="Other", model=other, actor=SETUP)
    register_host(name="h9", engine="bundled", address="http://127.0.0.1:9", control_token="x", actor=SETUP)
    drain(host=Host.objects.get(name="h9"), reason="A fan is dead.", actor=SETUP)
    hold(host=fleet.hosts[0], until=timezone.now() + timedelta(hours=1), reason="Repair.", actor=SETUP)

    assert exported.due_runbooks(timezone.now()) == []


def test_an_endpoint_in_staging_has_one_as_well(written: tuple[Fleet, Path, str]) -> None:
    fleet, _, _ = written
    Endpoint.objects.filter(pk=fleet.endpoint.pk).update(environment="staging")
    Runbook.objects.all().delete()

    assert exported.due_runbooks(timezone.now()) == [fleet.endpoint.pk]


def test_lines_for_mlserver_leave_the_live_settings_where_the_target_is_not_there(tmp_path: Path) -> None:
    live = tmp_path / "income" / "model-settings.json"
    live.parent.mkdir()
    live.write_text("{}")
    goal = Goal("income", 3, "a" * 64, [], "manifest.json")
    lines = lines_for("mlserver", "http://127.0.0.1:9", {"repository": str(tmp_path)}, goal, 1)

    done = subprocess.run(["sh", "-c", "\n".join(lines) + "\necho after"], capture_output=True, text=True, timeout=60)

    assert (live.read_text(), list(live.parent.iterdir())) == ("{}", [live])
    assert "curl" not in done.stderr
    assert done.stdout.endswith("\nafter\n"), "the shell that it was pasted into lives on"


@pytest.mark.parametrize(("engine", "answers"), [("triton", "load"), ("torchserve", "set-default")])
def test_lines_end_where_the_target_is_not_found(engine: str, answers: str, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    (tmp_path / "curl").write_text(f"#!/bin/sh\necho $@ >> {asked}\n")
    (tmp_path / "curl").chmod(0o755)
    goal = Goal("income", 3, "a" * 64, [], "manifest.json")
    lines = lines_for(engine, "http://127.0.0.1:9", {"repository": str(tmp_path)}, goal, 1)

    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", "\n".join(lines)], env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=60
    )

    assert done.returncode != 0
    assert not asked.exists() or answers not in asked.read_text()
