"""The live part of an incident's page, the first page, and the chart's markers."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.actions import grant_role
from audit.actions import Target, record
from incidents.models import Incident
from incidents.rollback.models import Watch
from monitoring import markers
from registry.models import Endpoint
from tests.incidents.world import TEST, World

pytestmark = pytest.mark.usefixtures("built")


def test_the_live_part_is_a_304_until_something_about_the_incident_changes(world: World) -> None:
    # given a reader who has the newest part
    incident = world.incident()
    run = world.run(incident, state="switched", watch="watching")
    kofi = world.client("kofi")
    address = f"/incidents/{incident.ref}/live/"

    def tag(known: str = "") -> str | None:
        answer = kofi.get(address, headers={"If-None-Match": known} if known else {})
        return None if answer.status_code == 304 else answer["ETag"]

    seen = tag()
    assert tag(seen) is None
    # when an event is recorded, a host is observed, the run or its watch moves, or the reader gets another role
    record(action="rollback.step.outcome", target=Target("host", "h1"), actor=TEST, incident=incident.ref, data={})
    changes = [tag(seen)]
    Endpoint.objects.update(version=50)
    changes.append(tag(changes[-1]))
    type(run).objects.update(version=50)
    changes.append(tag(changes[-1]))
    Watch.objects.update(version=50)
    changes.append(tag(changes[-1]))
    Incident.objects.update(version=50)
    changes.append(tag(changes[-1]))
    grant_role(user=world.users["kofi"], role="approver", granted_by=None, actor=TEST)
    changes.append(tag(changes[-1]))
    # then each is a new part
    assert None not in changes
    assert len({seen, *changes}) == 7


def test_the_page_asks_every_second_while_a_rollback_is_under_way_and_seldom_when_it_is_over(world: World) -> None:
    incident = world.incident()
    client = world.client("vera")
    assert 'id="incident-live" data-live="5"' in client.get(f"/incidents/{incident.ref}/").content.decode()
    world.run(incident)
    assert 'id="incident-live" data-live="1"' in client.get(f"/incidents/{incident.ref}/").content.decode()
    type(incident).objects.update(state="resolved")
    from incidents.rollback.models import Run

    Run.objects.update(state="stopped")
    assert 'id="incident-live" data-live="15"' in client.get(f"/incidents/{incident.ref}/").content.decode()


def test_the_first_page_is_calm_when_nothing_is_wrong(world: World) -> None:
    html = world.client("vera").get("/").content.decode()
    assert "Nothing is wrong now." in html
    assert "No incident is open." in html


def test_the_first_page_says_what_is_wrong_which_model_and_who_has_it(world: World) -> None:
    from incidents import actions

    incident = world.incident()
    actions.acknowledge(incident=incident, user=world.users["rosa"], actor=world.actor("rosa"))
    html = world.client("rosa").get("/").content.decode()
    for words in (incident.title, "employment-production", "Rosa Example", "Your triage: INC-1"):
        assert words in html
    assert "Your triage" not in world.client("kofi").get("/").content.decode()


def test_incidents_are_found_by_text_state_severity_and_endpoint(world: World) -> None:
    world.incident()
    client = world.client("vera")
    for query, found in (
        ("q=inc-1", True),
        ("q=employment", True),
        ("q=nothing-like-it", False),
        ("state=open", True),
        ("state=over", False),
        ("severity=2", True),
        ("severity=1", False),
        ("endpoint=employment-production", True),
        ("endpoint=other", False),
    ):
        html = client.get(f"/incidents/?{query}").content.decode()
        assert ('href="/incidents/INC-1/"' in html) is found, query


def test_the_timeline_is_read_page_by_page_without_losing_an_event(world: World) -> None:
    incident = world.incident()
    for at in range(120):
        record(action="incident.post_update", target=Target("x", str(at)), actor=TEST, incident=incident.ref)
    client, seen, query = world.client("idris"), [], ""
    for _ in range(10):
        context = client.get(f"/incidents/{incident.ref}/timeline/?{query}").context
        for line in context["page"].lines:
            seen += [one.entry.seq for one in (line.told, *line.more)]
        query = context["older"]
        if not query:
            break
    assert seen == list(range(len(seen), 0, -1))
    assert len(seen) > 120


def test_an_incident_is_marked_on_its_endpoints_charts(world: World) -> None:
    incident = world.incident()
    Incident.objects.update(resolved_at=timezone.now())
    now = timezone.now()
    found = markers.markers(world.endpoint, now - timedelta(hours=1), now + timedelta(hours=1))
    assert [mark.label for mark in found if mark.kind == "incident"] == [incident.ref, f"{incident.ref} resolved"]
    later = markers.markers(world.endpoint, now + timedelta(hours=1), now + timedelta(hours=2))
    assert [mark.label for mark in later if mark.kind == "incident"] == []
