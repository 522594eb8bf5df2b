"""The way through an incident over HTTP, as a browser without script goes it."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from incidents.models import Incident, IncidentState, Review
from incidents.proposing import propose_rollback
from incidents.reviews import draft
from incidents.rollback.models import Plan, PlanState, Run, RunState
from incidents.rollback.outcomes import Wish, propose_outcome
from registry import actions
from registry.models import Host
from tests.incidents.world import TEST, World, events

pytestmark = pytest.mark.usefixtures("built")


def test_an_incident_goes_from_its_alert_to_a_published_review_through_the_pages_forms(world: World) -> None:
    # given an incident with a ranked target
    incident = world.incident()
    world.candidate(incident)
    rosa, kofi = world.client("rosa"), world.client("kofi")
    address = f"/incidents/{incident.ref}/"
    # when the responder acknowledges and triages it
    assert rosa.post(f"{address}acknowledge/").status_code == 302
    incident.refresh_from_db()
    typed = {"version": incident.version, "impact": 1, "urgency": 1, "assessment": "Since version 2."}
    assert rosa.post(f"{address}triage/", typed).status_code == 302
    # and a rollback was carried out and verified, and the commander resolves and reviews it
    world.verified(incident)
    Incident.objects.filter(pk=incident.pk).update(state=IncidentState.MONITORING)
    page = kofi.get(address)
    assert f'action="{address}resolve/"' in page.content.decode()
    incident.refresh_from_db()
    assert kofi.post(f"{address}resolve/", {"version": incident.version, "reason": "Back."}).status_code == 302
    draft(incident_id=incident.pk)
    review = Review.objects.get(incident=incident)
    texts = {"summary": "S", "impact": "I", "causes": "C", "went_well": "W", "went_badly": "B"}
    edited = kofi.post(f"/reviews/{incident.ref}/edit/", {"version": review.version, **texts})
    assert edited.status_code == 302
    kofi.post(f"/reviews/{incident.ref}/action-items/", {"text": "Compare extracts with live inputs."})
    review.refresh_from_db()
    kofi.post(f"/reviews/{incident.ref}/publish/", {"version": review.version})
    # then each step is on record and the incident is reviewed
    incident.refresh_from_db()
    assert incident.state == IncidentState.REVIEWED
    assert incident.severity == 1
    for action in ("incident.acknowledge", "incident.triage", "incident.move", "review.edit", "review.publish"):
        assert events(incident, action), action
    for path in ("/", "/incidents/", address, f"{address}timeline/", f"/reviews/{incident.ref}/"):
        assert kofi.get(path).status_code == 200, path


@pytest.mark.parametrize("path", ["", "live/", "timeline/", "acknowledge/", "triage/", "severity/", "role/", "update/"])
def test_every_page_of_an_open_incident_answers_a_responder(world: World, path: str) -> None:
    incident = world.incident()
    answer = world.client("rosa").get(f"/incidents/{incident.ref}/{path}")
    assert answer.status_code == 200
    assert incident.ref in answer.content.decode()


def test_a_viewer_reads_an_incident_but_is_offered_no_form(world: World) -> None:
    incident = world.incident()
    html = world.client("vera").get(f"/incidents/{incident.ref}/").content.decode()
    assert f"/incidents/{incident.ref}/acknowledge/" not in html
    assert f"/incidents/{incident.ref}/triage/" not in html
    assert "This is for the responder or incident commander." in html


def test_a_page_of_an_incident_carries_no_inline_script_and_no_style_attribute(world: World) -> None:
    incident = world.incident()
    world.candidate(incident)
    for path in ("/", "/incidents/", f"/incidents/{incident.ref}/"):
        html = world.client("kofi").get(path).content.decode()
        assert " style=" not in html
        assert "<script>" not in html


def test_a_drain_and_a_freeze_beside_a_halted_rollback_leave_it_its_page(world: World) -> None:
    # given a rollback of an incident that has halted
    incident = world.incident()
    run = world.run(incident, state=RunState.HALTED)
    Incident.objects.filter(pk=incident.pk).update(acknowledged_at=world.began, state=IncidentState.MITIGATING)
    # when a drain and a freeze are proposed for the same incident, and the freeze has been carried out
    for host in Host.objects.all():
        actions.place(endpoint=world.endpoint, host=host, actor=TEST)
        actions.record_switch(endpoint=world.endpoint, host=host, version=world.bad, cause="release", actor=TEST)
    drain = steered(world, incident, Wish("drain", world.endpoint, ["h2"]))
    freeze = steered(world, incident, Wish("freeze", world.endpoint, until=timezone.now() + timedelta(hours=1)))
    Plan.objects.filter(pk=freeze.pk).update(state=PlanState.STARTED)
    Run.objects.create(plan=freeze, endpoint=world.endpoint, fence=2, state=RunState.SWITCHED)
    html = world.client("kofi").get(f"/incidents/{incident.ref}/").content.decode()
    # then the halted rollback is still what the page is about, with its verbs, and each of the others has a line
    assert "The run has halted and waits for you below" in html
    assert f'formaction="/rollback/runs/{run.pk}/resume/"' in html
    assert "verification begins" not in html
    for plan, words in ((drain, "Take h2 of"), (freeze, "Freeze ")):
        assert re.search(rf'href="/rollback/plans/{plan.pk}/">{words}', html), words


def test_a_plan_to_another_version_replaces_no_drain_that_waits(world: World) -> None:
    incident = world.incident()
    for host in Host.objects.all():
        actions.place(endpoint=world.endpoint, host=host, actor=TEST)
        actions.record_switch(endpoint=world.endpoint, host=host, version=world.bad, cause="release", actor=TEST)
    drain = steered(world, incident, Wish("drain", world.endpoint, ["h2"]))
    said = {"incident": incident, "to_version": 1, "reason": "It did better.", "actor": world.actor("rosa")}
    first = propose_rollback(**said, user=world.users["rosa"])

    second = propose_rollback(**said, user=world.users["rosa"])

    states = dict(Plan.objects.values_list("pk", "state"))
    assert states == {drain.pk: PlanState.DRAFT, first.pk: PlanState.VOID, second.pk: PlanState.DRAFT}


def steered(world: World, incident: Incident, wish: Wish) -> Plan:
    said = {"reason": "It is hot.", "user": world.users["rosa"], "actor": world.actor("rosa")}
    return propose_outcome(wish, incident_ref=incident.ref, **said)


@pytest.mark.parametrize("watched", ["", "watching"])
def test_an_incident_with_a_thousand_events_is_shown_in_at_most_seventeen_queries(
    world: World, watched: str, django_assert_max_num_queries: Any
) -> None:
    from audit.actions import Target, record

    incident = world.incident()
    world.candidate(incident)
    world.run(incident, state="switched" if watched else "running", watch=watched)
    for at in range(1000):
        record(
            action="rollback.step.outcome",
            target=Target("host", f"h{at}"),
            actor=world.actor("rosa"),
            incident=incident.ref,
            data={"host": f"h{at}", "step": "load"},
        )
    client = world.client("kofi")
    with django_assert_max_num_queries(17):
        assert client.get(f"/incidents/{incident.ref}/").status_code == 200


def test_a_candidate_is_told_by_slice_on_the_incidents_rows_and_on_its_holdout(world: World) -> None:
    incident = world.incident()
    candidate = world.candidate(incident)
    share = {"n": 400, "accuracy": 0.7, "low": 0.653, "high": 0.743}
    slice_ = {"column": "SEX", "value": "2", "worse": True}
    lost = slice_ | {"n": 400, "live": 0.8, "candidate": 0.7, "low": 0.653, "high": 0.743}
    candidate.replay |= {
        "groups": [lost | {"gain_low": -0.14, "gain_high": -0.06, "hit": True}],
        "groups_small": 1,
        "holdout": {
            "n": 900,
            "accuracy": 0.8,
            "low": 0.77,
            "high": 0.83,
            "groups": [slice_ | share],
            "groups_small": 3,
        },
    }
    candidate.save(update_fields=["replay"])

    page = world.client("rosa").get(f"/incidents/{incident.ref}/").content.decode().replace("\u202f", " ")

    assert "(65.3 % to 74.3 %)" in page
    assert "−14.0 % to −6.0 %" in page
    assert "1 group with fewer than 50 rows is left out." in page
    assert "its holdout by group" in page
    assert "worse than the rest" in page
    assert page.count("hit most") == 1
    assert "(77.0 % to 83.0 %)" in page, "the holdout's interval"
    assert "3 groups with fewer than 50 rows are left out." in page
