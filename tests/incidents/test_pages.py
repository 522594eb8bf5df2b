"""The way through an incident over HTTP, as a browser without script goes it."""

from typing import Any

import pytest

from incidents.models import Incident, IncidentState, Review
from incidents.reviews import draft
from tests.incidents.world import World, events

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


@pytest.mark.parametrize("watched", ["", "watching"])
def test_an_incident_with_a_thousand_events_is_shown_in_at_most_fifteen_queries(
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
    with django_assert_max_num_queries(15):
        assert client.get(f"/incidents/{incident.ref}/").status_code == 200
