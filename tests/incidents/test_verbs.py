"""The verbs over HTTP: who may, what is refused, and what becomes of what was typed."""

from typing import Any

import pytest

from accounts.models import ApprovalPolicy
from audit.models import AuditEvent
from incidents import actions
from incidents.models import Incident, IncidentState, RoleHolding, Update
from incidents.rollback.models import Plan, PlanState
from registry.models import Deployment, Host, Placement
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")

TYPED: dict[str, dict[str, Any]] = {
    "acknowledge": {},
    "triage": {"impact": 1, "urgency": 1, "assessment": "x"},
    "severity": {"severity": 1},
    "role": {"role": "scribe"},
    "update": {"conditions": "x"},
    "propose": {"to_version": 1, "reason": "x"},
    "resolve": {"reason": "x"},
    "move": {"to": "mitigating", "reason": "x"},
    "accept-role": {"role": "scribe"},
    "refuse-role": {"role": "scribe"},
    "time": {"which": "detected_at", "at": "2026-01-01T00:00:00", "reason": "x"},
    "roll-call": {},
}


def address(incident: Incident, verb: str) -> str:
    return f"/incidents/{incident.ref}/{verb}/"


@pytest.mark.parametrize("verb", sorted(TYPED))
def test_who_may_only_look_can_do_nothing_and_the_attempt_is_on_record(world: World, verb: str) -> None:
    incident = world.incident()
    before = AuditEvent.objects.filter(incident=incident.ref).count()
    answer = world.client("vera").post(address(incident, verb), TYPED[verb] | {"user": world.users["kofi"].pk})
    assert answer.status_code == 403
    assert AuditEvent.objects.filter(incident=incident.ref).count() == before
    assert AuditEvent.objects.filter(action="access.deny", outcome="denied").count() == 1
    now = Incident.objects.get()
    assert (now.state, now.version, now.acknowledged_at) == (incident.state, incident.version, None)
    assert not RoleHolding.objects.exists()
    assert not Update.objects.exists()
    assert not Plan.objects.exists()


@pytest.mark.parametrize("verb", sorted(TYPED))
def test_a_stranger_is_asked_to_sign_in(world: World, verb: str) -> None:
    from django.test import Client

    answer = Client().post(address(world.incident(), verb), TYPED[verb])
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/")


def test_a_responder_may_not_resolve(world: World) -> None:
    incident = world.incident()
    assert world.client("rosa").post(address(incident, "resolve"), TYPED["resolve"]).status_code == 403
    assert Incident.objects.get().state == IncidentState.DETECTED


def test_an_edit_of_what_somebody_changed_shows_both_and_can_be_sent_again(world: World) -> None:
    # given a triage form that was opened before somebody else triaged
    incident = world.incident()
    actions.triage(
        incident=incident, impact=2, urgency=2, assessment="Theirs.", user=world.users["kofi"],
        actor=world.actor("kofi"), seen_version=incident.version,
    )  # fmt: skip
    incident.refresh_from_db()
    mine = {"version": incident.version - 1, "impact": 1, "urgency": 1, "assessment": "Mine."}
    # when it is sent
    answer = world.client("rosa").post(address(incident, "triage"), mine)
    html = answer.content.decode()
    # then nothing is changed and both texts are on the page
    assert answer.status_code == 409
    assert ">\nMine.</textarea>" in html
    assert "Theirs." in html
    assert Incident.objects.get().assessment == "Theirs."
    # and what the page offers can be sent
    assert f'name="version" value="{incident.version}"' in html
    again = world.client("rosa").post(address(incident, "triage"), mine | {"version": incident.version})
    assert again.status_code == 302
    assert Incident.objects.get().assessment == "Mine."


def test_a_refused_move_says_why_and_keeps_what_was_typed(world: World) -> None:
    incident = world.incident()
    answer = world.client("kofi").post(address(incident, "move"), {"to": "closed", "reason": "Enough of it."})
    assert answer.status_code == 409
    assert "an incident goes to" in answer.content.decode()
    assert "Enough of it." in answer.content.decode()
    assert Incident.objects.get().state == IncidentState.DETECTED


def test_a_form_without_what_it_needs_is_shown_again(world: World) -> None:
    incident = world.incident()
    answer = world.client("rosa").post(address(incident, "triage"), {"impact": 9, "urgency": 1})
    assert answer.status_code == 400
    assert events(incident, "incident.triage") == []


def test_there_is_no_verb_that_is_not_listed(world: World) -> None:
    assert world.client("kofi").post(address(world.incident(), "delete")).status_code == 404


def test_lowering_the_severity_through_the_form_needs_a_reason(world: World) -> None:
    incident = world.incident()
    rosa = world.client("rosa")
    assert rosa.post(address(incident, "severity"), {"severity": 4}).status_code == 409
    assert rosa.post(address(incident, "severity"), {"severity": 4, "reason": "One office only."}).status_code == 302
    assert Incident.objects.get().severity == 4


def test_a_role_is_offered_to_another_and_changes_hands_when_accepted(world: World) -> None:
    # given Rosa, who holds a role and offers it to Kofi
    incident = world.incident()
    actions.hold_role(incident=incident, role="communications", user=world.users["rosa"], actor=world.actor("rosa"))
    typed = {"role": "communications", "user": world.users["kofi"].pk, "note": "The press calls at three."}
    assert world.client("rosa").post(address(incident, "role"), typed).status_code == 302
    assert RoleHolding.objects.get(until=None).user == world.users["rosa"]
    # when both look
    theirs = world.client("kofi").get(f"/incidents/{incident.ref}/").content.decode()
    hers = world.client("rosa").get(f"/incidents/{incident.ref}/").content.decode()
    # then both see it, he may accept, and she may withdraw
    assert "offered to Kofi Example by Rosa Example" in theirs
    assert "offered to Kofi Example by Rosa Example" in hers
    assert ">Accept</button>" in theirs
    assert ">Accept</button>" not in hers
    assert ">Withdraw</button>" in hers
    # and when he accepts, it is his
    assert world.client("kofi").post(address(incident, "accept-role"), {"role": "communications"}).status_code == 302
    assert RoleHolding.objects.get(until=None).user == world.users["kofi"]
    told = [event.action for event in AuditEvent.objects.filter(incident=incident.ref).order_by("incident_seq")]
    assert told[-3:] == ["incident.offer_role", "incident.accept_role", "incident.hold_role"]


def test_a_role_that_somebody_else_took_meanwhile_is_not_taken_unseen(world: World) -> None:
    incident = world.incident()
    rosa, kofi = world.users["rosa"], world.users["kofi"]
    opened = world.client("rosa").get(address(incident, "role")).content.decode()
    assert 'value="commander:0 communications:0 operations:0 scribe:0"' in opened
    actions.hold_role(incident=incident, role="scribe", user=kofi, actor=world.actor("kofi"))
    typed = {"role": "scribe", "user": rosa.pk, "holders": "commander:0 communications:0 operations:0 scribe:0"}
    answer = world.client("rosa").post(address(incident, "role"), typed)
    assert answer.status_code == 409
    assert "Kofi Example is scribe now" in answer.content.decode()
    assert RoleHolding.objects.get(until=None).user == kofi


def test_a_role_is_not_given_to_one_who_may_not_respond(world: World) -> None:
    typed = {"role": "communications", "user": world.users["vera"].pk}
    assert world.client("rosa").post(address(world.incident(), "role"), typed).status_code == 400
    assert not RoleHolding.objects.exists()


@pytest.fixture
def deployed(world: World) -> World:
    """Version 2 is live on three hosts, and a policy says who must approve a rollback."""
    ApprovalPolicy.objects.get_or_create(
        subject_kind="rollback",
        risk_tier=world.endpoint.model.risk_tier,
        environment=world.endpoint.environment,
        active=True,
        defaults={"name": "two people", "required": 2},
    )
    for host in Host.objects.all():
        Placement.objects.create(endpoint=world.endpoint, host=host, desired=world.bad)
        Deployment.objects.create(endpoint=world.endpoint, host=host, version=world.bad, since=world.began)
    return world


def test_a_plan_is_proposed_from_the_incident_with_what_was_ranked_as_its_evidence(deployed: World) -> None:
    incident = deployed.incident()
    deployed.candidate(incident)
    page = deployed.client("rosa").get(f"/incidents/{incident.ref}/").content.decode()
    assert 'name="to_version" value="1"' in page
    answer = deployed.client("rosa").post(address(incident, "propose"), TYPED["propose"])
    assert answer.status_code == 302
    plan = Plan.objects.get()
    assert (plan.incident_ref, plan.to_version, plan.from_version) == (incident.ref, deployed.good, deployed.bad)
    assert plan.proposer == deployed.users["rosa"]
    assert plan.evidence["candidates"][0]["version"] == 1
    assert len(events(incident, "rollback.plan.propose")) == 1


def test_a_second_proposal_replaces_the_plan_that_waits(deployed: World) -> None:
    incident = deployed.incident()
    rosa = deployed.client("rosa")
    for _ in range(2):
        assert rosa.post(address(incident, "propose"), TYPED["propose"]).status_code == 302
    assert sorted(Plan.objects.values_list("state", flat=True)) == [PlanState.DRAFT, PlanState.VOID]


@pytest.mark.parametrize(("number", "words"), [(2, "serves version 2 already"), (7, "has no version 7")])
def test_a_plan_to_the_live_version_or_to_none_is_refused(deployed: World, number: int, words: str) -> None:
    incident = deployed.incident()
    answer = deployed.client("rosa").post(address(incident, "propose"), {"to_version": number, "reason": "x"})
    assert answer.status_code == 409
    assert words in answer.content.decode()
    assert not Plan.objects.exists()


def test_no_plan_is_proposed_for_an_incident_that_is_over(deployed: World) -> None:
    incident = deployed.incident()
    Incident.objects.update(state=IncidentState.RESOLVED)
    answer = deployed.client("rosa").post(address(incident, "propose"), TYPED["propose"])
    assert answer.status_code == 409
    assert not Plan.objects.exists()
