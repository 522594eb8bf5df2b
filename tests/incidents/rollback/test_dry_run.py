"""A dry run says what would be called, in order, and changes nothing."""

import json
import re
from typing import Any

import pytest

from audit.models import AuditEvent
from incidents.rollback import advance
from incidents.rollback.dry_run import DryRun, dry_run_of
from incidents.rollback.models import Plan, RunState
from registry import store
from registry.models import Host
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import Fleet
from tests.incidents.rollback.test_pages import signed_in
from tests.ports import free_port

READS = ("GET", "HEAD")


def called(found: DryRun, host: str) -> list[str]:
    """The calls of a host as `POST /path`, without what is only asked."""
    [one] = [host_ for host_ in found.hosts if host_.host == host]
    calls = [call for step in one.steps for call in step.calls]
    return [f"{call.method} {re.sub('^http://[^/]+', '', call.url)}" for call in calls]


def effects(door: Proxy, slug: str) -> list[str]:
    return [line for line in door.calls if not line.startswith(READS) and slug in line]


def rows() -> tuple[int, int]:
    return Plan.objects.count(), AuditEvent.objects.count()


def log_of(fleet: Fleet) -> list[str]:
    words = (" load ", " unload ", " switch ", " service ", " share ")
    lines = [line for process in fleet.processes for line in process.log.read_text().splitlines()]
    return [line for line in lines if fleet.slug in line and any(word in line for word in words)]


def test_what_is_said_is_what_the_run_then_calls(fleet: Fleet, doors: list[Proxy]) -> None:
    plan = fleet.awaiting(strategy="recreate")
    before, log = rows(), log_of(fleet)

    found = dry_run_of(plan)

    assert (rows(), log_of(fleet)) == (before, log)
    assert [(host.host, host.wave) for host in found.hosts] == [("h1", 1), ("h2", 2), ("h3", 2)]
    assert {row["answer"] for row in found.findings} == {"pass"}
    for door in doors:
        door.calls.clear()
    fleet.approve(plan)
    run = fleet_run(fleet, plan)
    assert run.state == RunState.SWITCHED
    for name, door in zip(("h1", "h2", "h3"), doors, strict=True):
        made = effects(door, fleet.slug)
        assert made[: len(called(found, name))] == called(found, name)


def fleet_run(fleet: Fleet, plan: Plan) -> Any:
    from incidents.rollback import decided
    from incidents.rollback.models import Run

    decided.request_decided(plan.request_id)
    run = Run.objects.get(plan=plan)
    for _ in range(60):
        advance.advance(run.pk)
        run.refresh_from_db()
        if run.state != RunState.RUNNING:
            break
    return run


def test_what_is_true_already_is_said_to_be_skipped_and_who_is_away_is_named(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    Host.objects.filter(name="h3").update(address=f"http://127.0.0.1:{free_port()}")

    found = dry_run_of(plan)

    first, third = found.hosts[0], found.hosts[2]
    assert [(step.name, step.skipped) for step in first.steps] == [
        ("stage", "its files are there already"),
        ("load", "it is in memory, read back already"),
        ("golden test", ""),
        ("switch", ""),
        ("post-check", ""),
    ]
    assert first.serves == fleet.bad.digest
    [switch] = first.steps[3].calls
    assert switch.body == f"version 1, digest {fleet.good.digest[:12]}, fence {fleet.endpoint.fence + 1}"
    assert (third.steps, "No connection" in third.unreachable) == ([], True)


def test_the_api_says_it_of_a_plan_that_is_not_stored_and_of_one_that_is(fleet: Fleet) -> None:
    client = signed_in(fleet.responder)
    wish = {"kind": "rollback", "endpoint": fleet.endpoint.slug, "to_version": 1, "reason": "It is wrong."}
    log = log_of(fleet)

    answer = client.post("/api/v1/plans/dry-run/", json.dumps(wish), content_type="application/json")

    assert answer.status_code == 200, answer.content
    hosts = answer.json()["hosts"]
    assert [step["name"] for step in hosts[0]["steps"]] == ["stage", "load", "golden test", "switch", "post-check"]
    assert hosts[0]["steps"][0]["calls"][1]["method"] == "PUT"
    assert (Plan.objects.count(), log_of(fleet)) == (0, log)
    plan = fleet.propose()
    stored = client.get(f"/api/v1/plans/{plan.pk}/dry-run/").json()
    assert (stored["plan_hash"], len(stored["hosts"])) == (plan.plan_hash, 3)


def test_the_page_of_the_dry_run_lists_the_calls(fleet: Fleet) -> None:
    plan = fleet.propose()

    page = signed_in(fleet.responder).get(f"/rollback/plans/{plan.pk}/dry-run/").content.decode()

    assert f"/lastgood/v1/models/{fleet.slug}/default" in page
    assert "Nothing was changed" in page


@pytest.mark.parametrize("address", ["/rollback/plans/{}/dry-run/", "/api/v1/plans/{}/dry-run/"])
def test_who_may_not_propose_has_no_host_asked(fleet: Fleet, doors: list[Proxy], address: str) -> None:
    plan = fleet.propose()

    assert signed_in(fleet.viewer).get(address.format(plan.pk)).status_code == 403

    assert [door.calls for door in doors] == [[], [], []]


def test_a_dry_run_sees_a_file_that_is_missing_and_reads_none(fleet: Fleet) -> None:
    plan = fleet.propose()
    weights = store.path(fleet.good.files.get(component="weights").artifact_id)
    weights.chmod(0o644)

    def answered() -> tuple[str, str]:
        [found] = [row for row in dry_run_of(plan).findings if row["name"] == "artifacts"]
        return found["answer"], found["observed"]

    weights.write_bytes(b"x" * weights.stat().st_size)
    count = fleet.good.files.count() + 1
    assert answered() == (
        "pass", f"{count} files, there and of the right size; not all were read against their digests yet"
    )  # fmt: skip
    weights.write_bytes(b"cut")
    assert answered()[0] == "fail"
    weights.unlink()
    assert answered() == ("fail", f"{weights.name[:12]} is missing or cut short")
