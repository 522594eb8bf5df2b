"""Searching everything, and lists that are kept."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from incidents import actions
from incidents.models import Incident, Review
from incidents.working import notes, runbooks, todo
from incidents.working.models import SavedView
from incidents.working.search import search
from tests.incidents.world import World

pytestmark = pytest.mark.usefixtures("built")


def found(text: str) -> dict[str, list[str]]:
    return {group.name: [hit.href for hit in group.hits] for group in search(text)}


def test_words_are_found_in_any_form_wherever_they_were_written(world: World) -> None:
    # given the word in an assessment, a note, an update, a task, a review and a runbook
    incident = world.incident()
    kofi = world.actor("kofi")
    note = notes.add_note(incident=incident, text="The encoder was misconfiguring rows.", actor=kofi)
    actions.post_update(
        incident=incident, conditions="Misconfigured encoder.", actions="", needs="", user=None, actor=kofi
    )
    todo.add_task(incident=incident, text="Undo the misconfiguration.", actor=kofi)
    Review.objects.create(incident=incident, causes="Somebody misconfigured it.")
    runbooks.write_runbook(slug="enc", title="Misconfigured encoders", body="Look.", actor=kofi)
    Incident.objects.filter(pk=incident.pk).update(assessment="It is misconfigured.")
    # then each is found, with the place where it stands
    ref = incident.ref
    assert found("misconfigured") == {
        "Incidents": [f"/incidents/{ref}/"],
        "Notes": [f"/incidents/{ref}/timeline/?at={note.incident_seq}#event-{note.incident_seq}"],
        "Updates": [f"/incidents/{ref}/timeline/?kind=notes"],
        "Tasks": [f"/incidents/{ref}/work/"],
        "Reviews": [f"/reviews/{ref}/"],
        "Runbooks": ["/runbooks/enc/"],
    }
    assert found('"misconfigured rows" -encoder') == {}


def test_names_and_references_are_found_by_a_part(world: World) -> None:
    incident = world.incident()
    assert found(incident.ref.lower())["By reference"] == [f"/incidents/{incident.ref}/"]
    assert found(world.endpoint.slug[:6])["Endpoints"] == [f"/endpoints/{world.endpoint.slug}/"]
    assert found("employ")["Models"] == ["/models/employment/"]
    assert found("h2")["Hosts"] == ["/endpoints/"]


def test_what_was_found_is_marked_and_can_do_nothing(world: World) -> None:
    incident = world.incident()
    notes.add_note(incident=incident, text="5 < 6 & the zebra", actor=world.actor("kofi"))
    html = world.client("vera").get("/search/", {"q": "zebra"}).content.decode()
    assert "5 &lt; 6 &amp; the <mark>zebra</mark>" in html


@pytest.mark.parametrize("text", ["", "a", "'", "a & | ! ( :*", '"', "x" * 5000])
def test_whatever_is_typed_is_answered(world: World, text: str) -> None:
    assert world.client("vera").get("/search/", {"q": text}).status_code == 200


def test_a_search_is_for_who_may_look_and_uses_the_indexes(world: World) -> None:
    incident = world.incident()
    assert world.client("vera").get("/api/v1/search/", {"q": incident.ref}).json()[0]["name"] == "By reference"
    with CaptureQueriesContext(connection) as captured:
        search("zebra crossing")
    asked = next(one["sql"] for one in captured if "incidents_incident" in one["sql"] and "websearch" in one["sql"])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("EXPLAIN " + asked)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "incidents_incident_words" in plan


def test_a_list_is_kept_shared_and_dropped(world: World) -> None:
    rosa, kofi = world.client("rosa"), world.client("kofi")
    typed = {"name": "Bad ones", "query": "severity=1&page=7&state=open", "shared": "on"}
    assert rosa.post("/incidents/views/", typed)["Location"] == "/incidents/?severity=1&state=open"
    html = kofi.get("/incidents/").content.decode()
    assert "?severity=1&amp;state=open" in html
    view = SavedView.objects.get()
    kofi.post(f"/incidents/views/{view.pk}/drop/")
    assert SavedView.objects.exists()
    rosa.post(f"/incidents/views/{view.pk}/drop/")
    assert not SavedView.objects.exists()


def test_a_view_of_ones_own_is_nobody_elses(world: World) -> None:
    rosa, kofi = world.client("rosa"), world.client("kofi")
    sent: dict[str, Any] = {"content_type": "application/json"}
    made = rosa.post("/api/v1/saved-views/", {"name": "Mine", "query": "q=drift"}, **sent)
    assert made.status_code == 201
    assert rosa.post("/api/v1/saved-views/", {"name": "All", "query": "page=2"}, **sent).status_code == 409
    address = f"/api/v1/saved-views/{made.json()['id']}/"
    assert kofi.get(address).status_code == 404
    assert kofi.delete(address).status_code == 404
    assert "Mine" not in kofi.get("/incidents/").content.decode()
    assert rosa.delete(address).status_code == 204
