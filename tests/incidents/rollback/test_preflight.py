"""Preflight asks everything that can be asked before traffic is touched."""

import datetime
import os
from typing import Any

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.approvals.models import ApprovalRequest
from incidents.rollback import plan, preflight
from incidents.rollback.models import PlanState
from incidents.rollback.plan import PlanRefused
from registry import intact
from registry.actions import freeze, lift, place, register_endpoint, register_host
from registry.models import Host, Placement, Version
from registry.reconcile import observe_placement
from registry.store import path
from tests.host.fixtures import TOKEN
from tests.incidents.rollback.fleet import SETUP, Fleet, events
from tests.ports import free_port


def answers(plan: Any) -> dict[tuple[str, str], str]:
    return {(row.name, row.host.name if row.host else ""): row.answer for row in plan.preflights.all()}


def test_a_plan_that_passes_is_warm_on_every_host_and_waits_for_its_approvers(fleet: Fleet) -> None:
    proposed = fleet.propose()

    assert preflight.run(proposed.pk)

    proposed.refresh_from_db()
    found = answers(proposed)
    assert set(found.values()) == {"pass"}
    assert {found[("golden", name)] for name in ("h1", "h2", "h3")} == {"pass"}
    assert (proposed.state, proposed.request.state) == (PlanState.AWAITING, "open")
    assert proposed.request.subject_hash == proposed.plan_hash
    assert fleet.serving() == [fleet.bad.digest] * 3
    states = [process.view(fleet.slug)["versions"]["1"]["state"] for process in fleet.processes]
    assert states == ["ready"] * 3
    assert len(events("rollback.prepare.intent")) == len(events("rollback.prepare.outcome")) == 6


def test_a_version_made_for_another_engine_reaches_no_approver(fleet: Fleet) -> None:
    Version.objects.filter(pk=fleet.good.pk).update(environment={"engine": "triton"})
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    [first, *_] = proposed.preflights.filter(answer="fail")
    assert (first.name, first.observed, first.expected) == ("engine", "bundled", "triton")
    assert "1" not in fleet.processes[0].view(fleet.slug)["versions"]


def test_a_second_worker_asks_nothing_again(fleet: Fleet) -> None:
    proposed = fleet.awaiting()

    assert preflight.run(proposed.pk) is False
    assert ApprovalRequest.objects.count() == 1


def test_a_wrong_golden_answer_keeps_the_plan_from_its_approvers(fleet: Fleet) -> None:
    lying = fleet.add_version(3, bias=1.0, golden={"label": [0, 0, 0], "score": ["0.100000"] * 3})
    proposed = fleet.propose(lying)

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    assert answers(proposed)[("golden", "h1")] == "fail"
    assert (proposed.state, proposed.request_id) == (PlanState.DRAFT, None)
    assert fleet.serving() == [fleet.bad.digest] * 3
    with pytest.raises(PlanRefused, match="preflight has not passed"):
        preflight.submit(plan_id=proposed.pk, actor=SETUP)


def test_a_damaged_artifact_is_found_before_any_host_is_asked(fleet: Fleet) -> None:
    digest = fleet.good.files.get(component="weights").artifact_id
    path(digest).chmod(0o644)
    path(digest).write_bytes(b"not the weights")
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    found = answers(proposed)
    assert found[("artifacts", "")] == "fail"
    assert not [name for name, host in found if host]
    assert "1" not in fleet.processes[0].view(fleet.slug)["versions"]


def test_a_host_that_is_away_is_tolerated_within_the_plans_budget(fleet: Fleet) -> None:
    Host.objects.filter(name="h3").update(address=f"http://127.0.0.1:{free_port()}")
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    assert answers(proposed)[("reachable", "h3")] == "inconclusive"
    assert answers(proposed)[("enough-hosts", "")] == "pass"
    assert proposed.state == PlanState.AWAITING


def test_more_absent_hosts_than_tolerated_fail_the_preflight(fleet: Fleet) -> None:
    Host.objects.filter(name__in=["h2", "h3"]).update(address=f"http://127.0.0.1:{free_port()}")
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    assert answers(proposed)[("enough-hosts", "")] == "fail"
    assert proposed.state == PlanState.DRAFT


def test_a_host_that_serves_what_the_plan_does_not_know_fails_it(fleet: Fleet) -> None:
    other = fleet.add_version(4, bias=0.5)
    proposed = fleet.propose()
    fleet.serve(other, hosts=[fleet.hosts[1]])

    preflight.run(proposed.pk)

    assert answers(proposed)[("serving", "h2")] == "fail"


def test_a_failed_preflight_can_be_ordered_again(fleet: Fleet) -> None:
    until = timezone.now() + datetime.timedelta(hours=1)
    freeze(endpoint=fleet.endpoint, until=until, reason="Migration.", actor=SETUP)
    proposed = fleet.propose()
    preflight.run(proposed.pk)
    assert answers(proposed)[("not-frozen", "")] == "fail"
    lift(endpoint=fleet.endpoint, window=fleet.endpoint.freezes.get().pk, reason="Done.", actor=SETUP)

    preflight.again(plan_id=proposed.pk, actor=SETUP)
    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    assert set(answers(proposed).values()) == {"pass"}
    assert proposed.state == PlanState.AWAITING


def test_a_machine_that_serves_the_model_for_another_endpoint_fails_under_any_name(fleet: Fleet) -> None:
    """Production's machine, registered again by another name and placed under an endpoint of staging."""
    staging = register_endpoint(
        slug=f"{fleet.slug}-staging", name="Staging", model=fleet.model, environment="staging", actor=SETUP
    )
    placed = Placement.objects.get(host__name="h1")
    Placement.objects.filter(pk=placed.pk).update(observe_due_at=Now())
    assert observe_placement(placed.pk)
    again = register_host(
        name="h1-again",
        engine="bundled",
        address=placed.host.address.replace("127.0.0.1", "localhost"),
        control_token=TOKEN,
        actor=SETUP,
    )
    place(endpoint=staging, host=again, actor=SETUP)
    fleet.endpoint = staging
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    assert answers(proposed)[("machine", "h1-again")] == "fail"
    assert (proposed.state, proposed.request_id) == (PlanState.DRAFT, None)
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_files_that_were_read_lately_are_not_read_again_and_it_says_so(fleet: Fleet) -> None:
    first = fleet.propose()
    preflight.run(first.pk)
    plan.void(plan_id=first.pk, reason="Another.", actor=SETUP)

    second = fleet.propose()
    preflight.run(second.pk)

    read, looked = (one.preflights.get(name="artifacts").observed for one in (first, second))
    count = fleet.good.files.count() + 1
    assert read == f"{count} files, read against their digests now"
    assert looked.startswith(f"{count} files, there and of the right size; read against their digests since 20")


def test_a_file_that_has_decayed_unseen_is_refused_by_the_hosts_and_then_named(fleet: Fleet) -> None:
    """The first host has it from before; the others are sent it now."""
    fresh = fleet.add_version(4711, bias=1.5)
    weights = fresh.files.get(component="weights").artifact
    intact.read_whole(weights.sha256)
    stored = path(weights.sha256)
    data, before = stored.read_bytes(), stored.stat()
    stored.chmod(0o644)
    stored.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(stored, ns=(before.st_atime_ns, before.st_mtime_ns))
    proposed = fleet.propose(fresh)

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    failed = {(row.name, row.observed[:12]) for row in proposed.preflights.filter(answer="fail", host=None)}
    assert failed >= {("artifacts", weights.sha256[:12])}
    assert {row.host.name for row in proposed.preflights.filter(name="answers", answer="fail")} == {"h2", "h3"}
    assert (proposed.state, proposed.request_id) == (PlanState.DRAFT, None)
    assert fleet.serving() == [fleet.bad.digest] * 3
