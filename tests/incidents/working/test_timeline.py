"""The timeline: filters, deep links, repeats together, notes, corrections, pins, and many events."""

from typing import Any

import pytest
from django.db import connection

from audit.actions import Target, record, service_actor
from audit.models import AuditEvent
from incidents.errors import IncidentError
from incidents.models import Incident
from incidents.working import notes
from incidents.working.models import Pin
from incidents.working.timeline import PAGE, Asked, page
from tests.incidents.world import World, events

pytestmark = pytest.mark.usefixtures("built")


MANY = """
    INSERT INTO audit_event (event_uuid, canon, occurred_at, action, outcome, actor_kind, actor, target_kind, target_id,
                             target_version, incident, incident_seq)
    SELECT id, convert_to(format(
               '{"event_id":"%%s","occurred_at":"%%s","data":{"host":"h1","step":"load"}}',
               id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')), 'UTF8'),
           at, 'rollback.step.outcome', 'success', 'service', 'svc:worker', 'host', 'h1', '', %s, n
    FROM (SELECT gen_random_uuid() AS id, clock_timestamp() AS at, n FROM generate_series(%s, 10000) AS n) AS made
"""
"""Steps of a run, up to event 10,000 of an incident."""


def steps(incident: Incident, count: int, step: str = "load") -> None:
    for at in range(count):
        record(
            action="rollback.step.outcome",
            target=Target("host", f"h{at}"),
            actor=service_actor("worker"),
            incident=incident.ref,
            data={"host": f"h{at}", "step": step},
        )


def seq_of(incident: Incident, action: str) -> int:
    return events(incident, action)[-1].incident_seq or 0


def test_repeats_are_shown_as_one_and_few_are_not(world: World) -> None:
    incident = world.incident()
    steps(incident, 2, "stage")
    steps(incident, 5, "load")
    lines = page(incident, Asked()).lines
    assert [len(line.more) for line in lines[:3]] == [4, 0, 0]
    assert lines[0].told.entry.data["host"] == "h4"
    assert [line.told.entry.data["step"] for line in lines[1:3]] == ["stage", "stage"]


def test_an_event_with_words_a_pin_or_a_correction_is_never_folded_away(world: World) -> None:
    incident = world.incident()
    steps(incident, 6)
    middle = seq_of(incident, "rollback.step.outcome") - 3
    notes.pin(incident=incident, seq=middle, actor=world.actor("rosa"))
    lines = page(incident, Asked()).lines
    assert [(line.told.entry.seq, line.pinned) for line in lines if line.pinned] == [(middle, True)]
    assert [told.entry.seq for told in page(incident, Asked()).pins] == [middle]


def test_a_correction_stands_beside_the_event_which_stays(world: World) -> None:
    incident = world.incident()
    note = notes.add_note(incident=incident, text="The gateway was restarted.", actor=world.actor("rosa"))
    notes.amend(incident=incident, seq=note.incident_seq or 0, text="It was the proxy.", actor=world.actor("kofi"))
    line = next(line for line in page(incident, Asked()).lines if line.told.entry.action == "incident.note")
    assert line.told.entry.reason == "The gateway was restarted."
    assert [(one.entry.reason, one.actor) for one in line.amendments] == [("It was the proxy.", "Kofi Example")]


def test_a_correction_is_not_corrected_and_nothing_that_is_not_there(world: World) -> None:
    incident = world.incident()
    first = notes.amend(incident=incident, seq=1, text="Otherwise.", actor=world.actor("rosa"))
    for seq, words in ((first.incident_seq, "correction itself"), (999, "has no event 999")):
        with pytest.raises(IncidentError, match=words):
            notes.amend(incident=incident, seq=seq or 0, text="x", actor=world.actor("rosa"))
    assert len(events(incident, "incident.amend")) == 1


def test_a_pin_is_set_once_and_taken_off(world: World) -> None:
    incident = world.incident()
    notes.pin(incident=incident, seq=1, actor=world.actor("rosa"))
    with pytest.raises(IncidentError, match="pinned already"):
        notes.pin(incident=incident, seq=1, actor=world.actor("kofi"))
    notes.unpin(incident=incident, seq=1, actor=world.actor("kofi"))
    assert not Pin.objects.exists()
    assert len(events(incident, "incident.pin")) == 1


@pytest.mark.parametrize(
    ("asked", "action"),
    [
        (Asked(kind="notes"), "incident.note"),
        (Asked(kind="alerts"), "incident.open"),
        (Asked(by="people"), "incident.note"),
        (Asked(who="Rosa"), "incident.note"),
        (Asked(kind="run", by="programs"), "rollback.step.outcome"),
    ],
)
def test_the_timeline_is_filtered(world: World, asked: Asked, action: str) -> None:
    incident = world.incident()
    notes.add_note(incident=incident, text="Looked at it.", actor=world.actor("rosa"))
    steps(incident, 1)
    shown = [line.told.entry.action for line in page(incident, asked).lines]
    assert action in shown
    assert len(shown) < AuditEvent.objects.filter(incident=incident.ref).count()
    assert page(incident, Asked(amiss=True)).lines == []


def test_the_address_holds_the_filters_and_a_link_leads_to_one_event(world: World) -> None:
    incident = world.incident()
    steps(incident, 3 * PAGE)
    rosa = world.client("rosa")
    address = f"/incidents/{incident.ref}/timeline/"
    html = rosa.get(address, {"kind": "run", "by": "programs"}).content.decode()
    older = html.partition('rel="next" href="?')[2].partition('"')[0].replace("&amp;", "&")
    assert older.startswith("kind=run&by=programs&before=")
    assert "Incident opened" not in rosa.get(f"{address}?{older}").content.decode()
    # an event far back is on the page that its link leads to, and its fold is open
    deep = rosa.get(address, {"at": 60}).content.decode()
    assert 'id="event-60"' in deep
    assert '<details class="event-body" open>' in deep


def test_a_note_is_written_and_an_event_pinned_from_the_page(world: World) -> None:
    incident = world.incident()
    rosa = world.client("rosa")
    answer = rosa.post(f"/incidents/{incident.ref}/note/", {"text": "Called the data team."})
    assert answer["Location"] == f"/incidents/{incident.ref}/timeline/"
    assert rosa.post(f"/incidents/{incident.ref}/pin/", {"seq": 1}).status_code == 302
    html = rosa.get(answer["Location"]).content.decode()
    assert "Called the data team." in html
    assert '<h2 id="pins">Pinned</h2>' in html
    assert world.client("vera").post(f"/incidents/{incident.ref}/note/", {"text": "x"}).status_code == 403


def test_notes_pins_and_filters_over_the_api(world: World) -> None:
    incident = world.incident()
    rosa, base = world.client("rosa"), f"/api/v1/incidents/{incident.ref}"
    sent: dict[str, Any] = {"content_type": "application/json"}
    assert rosa.post(f"{base}/notes/", {"text": "Note."}, **sent).status_code == 201
    assert rosa.post(f"{base}/amend/", {"seq": 1, "text": "Not so."}, **sent).status_code == 201
    assert rosa.post(f"{base}/pins/", {"seq": 1}, **sent).status_code == 200
    assert rosa.post(f"{base}/pins/", {"seq": 1, "pinned": False}, **sent).status_code == 200
    told = rosa.get(f"{base}/timeline/", {"kind": "notes"}).json()
    assert [one["action"] for one in told] == ["incident.note", "incident.amend"]


def test_ten_thousand_events_are_read_a_page_at_a_time(world: World, django_assert_max_num_queries: Any) -> None:
    incident = world.incident()
    last = AuditEvent.objects.filter(incident=incident.ref).count()
    with connection.cursor() as cursor:
        cursor.execute(MANY, [incident.ref, last + 1])
    client = world.client("kofi")
    client.get("/incidents/")
    with django_assert_max_num_queries(16):
        html = client.get(f"/incidents/{incident.ref}/timeline/", {"before": 5000}).content.decode()
    assert "99 more like it" in html
    assert "?before=4900" in html
