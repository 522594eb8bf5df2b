"""What people do to an incident, and what is refused."""

from typing import Any

import pytest
from django.utils import timezone

from audit.models import AuditEvent
from incidents import actions, due, follow, queries
from incidents.errors import Conflict, GuardFailed, IncidentError
from incidents.models import Impact, Incident, IncidentState, Review, RoleHolding, Update, Urgency
from incidents.rollback.models import Run, RunState, Watch, WatchState
from incidents.severity import severity_of
from registry.models import Host, Placement
from tests.incidents.world import MINUTE, World, events

pytestmark = pytest.mark.usefixtures("built")


def triage(world: World, incident: Incident, **wish: Any) -> Incident:
    values = {"impact": 1, "urgency": 1, "assessment": "Since version 2.", "user": world.users["rosa"]}
    return actions.triage(incident=incident, actor=world.actor("rosa"), **(values | wish))


def unchanged(incident: Incident) -> bool:
    now = Incident.objects.get(pk=incident.pk)
    return (now.state, now.severity, now.version) == (incident.state, incident.severity, incident.version)


@pytest.mark.parametrize(
    ("impact", "urgency", "severity"),
    [(1, 1, 1), (1, 2, 2), (1, 3, 3), (2, 1, 2), (2, 2, 3), (2, 3, 3), (3, 1, 3), (3, 2, 4), (3, 3, 4)],
)
def test_severity_follows_from_impact_and_urgency(impact: int, urgency: int, severity: int) -> None:
    assert severity_of(Impact(impact), Urgency(urgency)) == severity


def test_who_acknowledges_an_incident_without_commander_becomes_its_commander(world: World) -> None:
    incident = world.incident()
    actions.acknowledge(incident=incident, user=world.users["rosa"], actor=world.actor("rosa"))
    incident.refresh_from_db()
    assert incident.acknowledged_at is not None
    assert RoleHolding.objects.get(until=None).user == world.users["rosa"]
    assert [event.actor for event in events(incident, "incident.acknowledge")] == [world.users["rosa"].pseudonym]


def test_an_incident_is_acknowledged_once(world: World) -> None:
    incident = world.incident()
    actions.acknowledge(incident=incident, user=world.users["rosa"], actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="was acknowledged before"):
        actions.acknowledge(incident=incident, user=world.users["kofi"], actor=world.actor("kofi"))
    assert RoleHolding.objects.get(until=None).user == world.users["rosa"]
    assert len(events(incident, "incident.acknowledge")) == 1


def test_triage_sets_the_severity_and_keeps_the_assessment_with_the_event(world: World) -> None:
    incident = triage(world, world.incident(), impact=2, urgency=2)
    assert (incident.state, incident.severity) == (IncidentState.TRIAGED, 3)
    assert incident.acknowledged_at is not None
    event = events(incident, "incident.triage")[0]
    assert event.private.text == "Since version 2."
    assert b"Since version 2." not in bytes(event.canon)


def test_a_triage_of_what_somebody_else_changed_is_refused_and_changes_nothing(world: World) -> None:
    incident = world.incident()
    seen = incident.version
    actions.set_severity(incident=incident, severity=1, reason="", actor=world.actor("kofi"))
    with pytest.raises(Conflict) as refused:
        triage(world, incident, impact=3, urgency=3, seen_version=seen)
    assert refused.value.current == seen + 1
    now = Incident.objects.get(pk=incident.pk)
    assert (now.severity, now.assessment, now.state) == (1, "", IncidentState.DETECTED)
    assert events(incident, "incident.triage") == []


def test_a_resolved_incident_is_not_triaged(world: World) -> None:
    incident = world.incident()
    Incident.objects.filter(pk=incident.pk).update(state=IncidentState.RESOLVED)
    incident.refresh_from_db()
    with pytest.raises(GuardFailed) as refused:
        triage(world, incident)
    assert refused.value.guard == "incident_open"
    assert unchanged(incident)


def test_severity_is_raised_without_a_word_and_lowered_only_with_a_reason(world: World) -> None:
    incident = actions.set_severity(incident=world.incident(), severity=1, reason="", actor=world.actor("rosa"))
    assert incident.severity == 1
    with pytest.raises(GuardFailed) as refused:
        actions.set_severity(incident=incident, severity=3, reason="  ", actor=world.actor("rosa"))
    assert refused.value.guard == "lowering_needs_reason"
    assert unchanged(incident)
    lowered = actions.set_severity(incident=incident, severity=3, reason="A test only.", actor=world.actor("rosa"))
    assert lowered.severity == 3
    assert events(incident, "incident.set_severity")[-1].private.text == "A test only."


@pytest.mark.parametrize("severity", [0, 2, 5])
def test_a_severity_that_is_unknown_or_the_same_is_refused(world: World, severity: int) -> None:
    incident = world.incident()
    with pytest.raises(IncidentError):
        actions.set_severity(incident=incident, severity=severity, reason="x", actor=world.actor("rosa"))
    assert unchanged(incident)


def test_a_role_is_handed_over_and_both_holdings_are_kept(world: World) -> None:
    incident = world.incident()
    for name in ("rosa", "kofi"):
        actions.hold_role(incident=incident, role="commander", user=world.users[name], actor=world.actor("rosa"))
    assert RoleHolding.objects.get(incident=incident, until=None).user == world.users["kofi"]
    assert RoleHolding.objects.filter(incident=incident).count() == 2
    assert len(events(incident, "incident.hold_role")) == 2


def test_a_role_is_not_given_to_its_holder_nor_a_role_that_does_not_exist(world: World) -> None:
    incident = world.incident()
    actions.hold_role(incident=incident, role="scribe", user=world.users["kofi"], actor=world.actor("rosa"))
    for role in ("scribe", "hero"):
        with pytest.raises(IncidentError):
            actions.hold_role(incident=incident, role=role, user=world.users["kofi"], actor=world.actor("rosa"))
    assert RoleHolding.objects.count() == 1


def test_an_update_says_at_least_how_things_stand(world: World) -> None:
    incident = world.incident()
    with pytest.raises(IncidentError):
        actions.post_update(
            incident=incident, conditions=" ", actions="a", needs="", user=None, actor=world.actor("rosa")
        )
    assert not Update.objects.exists()
    actions.post_update(
        incident=incident,
        conditions="Worse.",
        actions="Rolling back.",
        needs="",
        user=world.users["rosa"],
        actor=world.actor("rosa"),
    )
    assert Update.objects.get().conditions == "Worse."
    assert events(incident, "incident.post_update")[0].private.text == "Worse.\nRolling back."


@pytest.mark.parametrize(
    ("state", "watch", "guard"),
    [
        (RunState.RUNNING, "", "no_active_run"),
        (RunState.HALTED, "", "no_active_run"),
        (RunState.SWITCHED, WatchState.WATCHING, "verification_passed"),
        (RunState.SWITCHED, WatchState.FAILED, "verification_passed"),
        (RunState.SWITCHED, WatchState.INCONCLUSIVE, "verification_passed"),
    ],
)
def test_an_incident_is_not_resolved_while_its_rollback_runs_or_is_not_verified(
    world: World, state: str, watch: str, guard: str
) -> None:
    incident = triage(world, world.incident())
    world.run(incident, state=state, watch=watch)
    with pytest.raises(GuardFailed) as refused:
        actions.resolve(incident=incident, reason="x", actor=world.actor("kofi"))
    assert refused.value.guard == guard
    assert unchanged(incident)
    assert not Review.objects.exists()


def test_a_move_that_is_not_in_the_table_is_refused_by_name(world: World) -> None:
    incident = world.incident()
    with pytest.raises(GuardFailed) as refused:
        actions.move(incident=incident, to=IncidentState.CLOSED, actor=world.actor("kofi"))
    assert refused.value.guard == "legal_move"
    assert unchanged(incident)


def test_resolving_sets_the_moment_and_makes_a_review(world: World) -> None:
    incident = triage(world, world.incident())
    world.verified(incident)
    resolved = actions.resolve(incident=incident, reason="Back.", actor=world.actor("kofi"))
    assert resolved.state == IncidentState.RESOLVED
    assert resolved.resolved_at is not None
    assert Review.objects.get().incident == resolved


def test_a_reopened_incident_is_open_again_and_its_end_is_forgotten(world: World) -> None:
    incident = triage(world, world.incident())
    resolved = actions.resolve(incident=incident, reason="Back.", actor=world.actor("kofi"))
    opened = actions.move(
        incident=resolved, to=IncidentState.TRIAGED, reason="It came back.", actor=world.actor("kofi")
    )
    assert opened.state == IncidentState.TRIAGED
    assert opened.resolved_at is None
    assert len(events(incident, "incident.reopen")) == 1


def test_an_incident_follows_its_rollback_from_mitigating_to_monitoring(world: World) -> None:
    # given a triaged incident whose plan has started
    incident = triage(world, world.incident())
    run = world.run(incident)
    # when the run is followed, twice
    follow.follow_plan(plan_id=run.plan_id)
    follow.follow_run(run_id=run.pk)
    incident.refresh_from_db()
    # then it is being mitigated, said once
    assert incident.state == IncidentState.MITIGATING
    assert incident.decided_at is not None
    assert AuditEvent.objects.filter(incident=incident.ref, action="incident.move").count() == 1
    # and when all hosts have switched, it is monitored
    Run.objects.filter(pk=run.pk).update(state=RunState.SWITCHED)
    follow.follow_run(run_id=run.pk)
    incident.refresh_from_db()
    assert incident.state == IncidentState.MONITORING
    assert incident.mitigated_at is not None


def test_an_incident_goes_back_to_mitigating_when_the_verification_failed(world: World) -> None:
    incident = triage(world, world.incident())
    run = world.run(incident, state=RunState.SWITCHED, watch=WatchState.WATCHING)
    follow.follow_run(run_id=run.pk)
    Watch.objects.update(state=WatchState.FAILED)
    follow.follow_run(run_id=run.pk)
    incident.refresh_from_db()
    assert incident.state == IncidentState.MITIGATING


def test_a_drill_moves_no_incident(world: World) -> None:
    incident = triage(world, world.incident())
    run = world.run(incident)
    run.plan.kind = "drill"
    run.plan.save(update_fields=["kind"])
    follow.follow_run(run_id=run.pk)
    assert unchanged(incident)


def test_the_convergence_of_a_host_lets_nobody_resolve_what_a_rollback_left_unverified(world: World) -> None:
    incident = world.incident()
    world.run(incident, state=RunState.SWITCHED, watch=WatchState.FAILED)
    brought_back = world.plan(incident, kind="converge", plan_hash="d" * 64)
    later = Run.objects.create(plan=brought_back, endpoint=world.endpoint, fence=2, state=RunState.SWITCHED)
    now = timezone.now()
    Watch.objects.create(run=later, state=WatchState.PASSED, until=now, patience_until=now, due_at=now)

    with pytest.raises(GuardFailed) as refused:
        actions.guard_resolve(incident)

    assert refused.value.guard == "verification_passed"
    assert queries.current_plan(queries.plans_of(incident.ref)).kind == "rollback"


def test_an_incident_is_not_resolved_while_hosts_are_to_serve_different_versions(world: World) -> None:
    incident = world.incident()
    world.run(incident, state=RunState.STOPPED)
    for host, version in zip(Host.objects.order_by("name"), [world.good, world.bad, world.bad], strict=True):
        Placement.objects.update_or_create(endpoint=world.endpoint, host=host, defaults={"desired": version})

    with pytest.raises(GuardFailed) as refused:
        actions.guard_resolve(incident)
    assert refused.value.guard == "whole_fleet"

    Placement.objects.update(desired=world.good)
    actions.guard_resolve(incident)


def test_a_rollback_after_which_another_was_started_moves_the_incident_no_more(world: World) -> None:
    incident = world.incident()
    first = world.verified(incident)
    second = Run.objects.create(plan=world.plan(incident, plan_hash="d" * 64), endpoint=world.endpoint, fence=2)
    Run.objects.filter(pk=first.pk).update(switched_at=timezone.now() - MINUTE)
    follow.follow_run(run_id=second.pk)
    incident.refresh_from_db()
    assert incident.state == IncidentState.MITIGATING

    assert due.unfollowed_runs(timezone.now() + MINUTE) == []
    follow.follow_run(run_id=first.pk)

    incident.refresh_from_db()
    assert incident.state == IncidentState.MITIGATING
