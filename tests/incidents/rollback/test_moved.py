"""What a plan names of the fleet is compared with the fleet: what moved voids it, and is told in words."""

import datetime
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals.actions import Refused
from accounts.approvals.models import ApprovalEvidence, ApprovalPolicy
from accounts.approvals.subjects import participants, subject_of
from incidents.rollback import advance, decided, due
from incidents.rollback.models import Plan, PlanState, Run, RunState, StepState
from incidents.rollback.run import stop
from registry.actions import drain, quarantine
from registry.models import Host, Placement
from tests.incidents.rollback.fleet import SETUP, Fleet, events


def observed(host: str, digest: str, health: str = "wrong_version") -> None:
    Placement.objects.filter(host__name=host).update(
        observed_digest=digest, health=health, observed_at=timezone.now() + datetime.timedelta(seconds=1)
    )


def test_a_fleet_that_moved_voids_the_plan_and_says_what_moved(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan, fleet.approver)
    assert due.moved_plans(timezone.now()) == []
    observed("h2", "0" * 64)
    Host.objects.filter(name="h3").update(address="http://127.0.0.1:9")
    drain(host=Host.objects.get(name="h1"), reason="Its fan is loud.", actor=SETUP)
    known = " or ".join(digest[:12] for digest in sorted([fleet.good.digest, fleet.bad.digest]))
    expected = [
        f"h1 is in the plan and no longer serves {fleet.endpoint.slug}",
        f"h3 had the address {fleet.processes[2].url} and has http://127.0.0.1:9 now",
        f"h2 serves 000000000000; the plan expects {known}",
    ]
    assert subject_of(plan.request).moved == expected

    with pytest.raises(Refused) as refused:
        fleet.approve(plan, fleet.commander)
    assert refused.value.code == "subject_moved"
    assert due.moved_plans(timezone.now()) == [plan.request_id]
    decided.request_decided(plan.request_id)

    plan.refresh_from_db()
    assert (plan.state, plan.request.state) == (PlanState.VOID, "withdrawn")
    assert subject_of(plan.request).moved == expected
    assert due.moved_plans(timezone.now()) == []
    assert not Run.objects.exists()


def test_a_host_that_is_away_is_an_absence_and_no_change(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    Placement.objects.filter(host__name="h2").update(
        health="unreachable", observed_digest="0" * 64, observed_at=timezone.now()
    )
    assert subject_of(plan.request).moved == []


def test_a_target_that_was_quarantined_can_not_be_approved(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    quarantine(version=fleet.good, reason="Found wrong.", actor=SETUP)
    with pytest.raises(Refused) as refused:
        fleet.approve(plan)
    assert refused.value.code == "subject_moved"
    assert events("approval.decide")[0]["data"]["refused"] == "subject_moved"


def test_a_wave_does_not_begin_when_a_finished_host_serves_something_else(fleet: Fleet) -> None:
    run = fleet.started(wave_soak_seconds=3600)
    advance.advance(run.pk)
    assert run.steps.get(host__name="h1").state == StepState.DONE
    observed("h1", fleet.bad.digest)
    run.waves.filter(index=1).update(state="done")

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "fleet_changed")
    assert f"h1 serves {fleet.bad.digest[:12]}; the plan expects {fleet.good.digest[:12]}" in run.state_reason
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2


def test_a_wave_does_not_begin_when_hosts_are_not_those_that_were_approved(fleet: Fleet) -> None:
    run = fleet.started(wave_soak_seconds=3600)
    advance.advance(run.pk)
    drain(host=Host.objects.get(name="h2"), reason="Its fan is loud.", actor=SETUP)
    Host.objects.filter(name="h3").update(address="http://127.0.0.1:9")
    stranger = Host.objects.create(name="h4", engine="bundled", address="http://127.0.0.1:10")
    Placement.objects.create(endpoint=fleet.endpoint, host=stranger)
    run.waves.filter(index=1).update(state="done")

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "fleet_changed")
    assert f"h3 had the address {fleet.processes[2].url} and has http://127.0.0.1:9 now" in run.state_reason
    assert f"h4 serves {fleet.endpoint.slug} and is not in the plan" in run.state_reason
    assert "h2" not in run.state_reason
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2


def test_who_wrote_a_plan_does_not_approve_the_one_that_replaces_it(fleet: Fleet) -> None:
    first = fleet.propose()
    Plan.objects.filter(pk=first.pk).update(proposer=fleet.commander)
    first.refresh_from_db()

    plan = fleet.awaiting(replaces=first)

    assert plan.request.excluded == {fleet.commander.pseudonym: "author"}
    with pytest.raises(Refused) as refused:
        fleet.approve(plan, fleet.commander)
    assert refused.value.code == "excluded"


def test_an_approver_is_shown_the_plan_its_terms_its_preflight_and_the_hosts(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    [kept] = {row.digest: row for row in ApprovalEvidence.objects.filter(request=plan.request)}.values()
    subject = subject_of(plan.request)
    titles = [section["title"] for section in subject.sections]
    assert titles == ["What changes", "On which terms", "Preflight", "Hosts as observed"]
    hosts: list[list[Any]] = subject.sections[3]["rows"]
    assert [row[0] for row in hosts] == ["h1", "h2", "h3"]
    assert {event["data"]["evidence"] for event in events("approval.decide")} == {kept.digest}
    assert participants(plan.request) == {fleet.responder.pseudonym}


def test_a_policy_names_who_may_stop(fleet: Fleet) -> None:
    run = fleet.started()
    ApprovalPolicy.objects.filter(pk=run.plan.request.policy_id).update(stop_roles=["commander"])
    actor = actor_for(user=fleet.approver)
    with pytest.raises(PermissionDenied):
        stop(run_id=run.pk, user=fleet.approver, reason="It looks odd.", actor=actor)
    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    stopped = stop(run_id=run.pk, user=fleet.commander, reason="It looks odd.", actor=actor_for(user=fleet.commander))
    assert stopped.state == RunState.STOPPED
