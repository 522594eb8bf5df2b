"""Searching the log: by name, words, object, outcome and time, and from page to page."""

import datetime

import pytest

from accounts.models import User
from audit.actions import Actor, Target, record, service_actor
from audit.models import AuditEvent
from audit.search import Filters, Place, events, page_of
from tests.audit.log import ALICE, BOB, event
from tests.audit.test_pages import page_of as page_text
from tests.audit.test_pages import signed_in

pytestmark = pytest.mark.django_db


def found(**asked: object) -> list[str]:
    return [one.target_id for one in events(Filters(**asked))]  # type: ignore[arg-type]


def test_a_person_is_found_by_a_part_of_the_name_by_pseudonym_and_a_program_by_its_name() -> None:
    ada = User.objects.create_user("ada", "ada@example.org", "pass", first_name="Ada", last_name="Lovelace")
    event(actor=Actor("user", ada.pseudonym), target="by-ada")
    event(actor=BOB, target="by-bob")
    event(actor=service_actor("worker"), target="by-worker")
    assert found(actor="lovel") == found(actor=ada.pseudonym) == ["by-ada"]
    assert found(actor="worker") == found(actor="Lastgood (worker)") == found(actor="svc:worker") == ["by-worker"]
    assert found(actor="nobody at all") == []


def test_an_action_is_found_by_itself_by_its_beginning_and_by_words() -> None:
    for action in ("status.post", "status.post_update", "rollback.step.outcome", "rollback.step.intent"):
        event(action, target=action)
    assert found(action="status.post") == ["status.post"]
    assert found(action="rollback.step") == ["rollback.step.intent", "rollback.step.outcome"]
    assert found(action="outcome step") == ["rollback.step.outcome"]
    assert found(action="post") == ["status.post_update", "status.post"]
    assert found(action="!") == []


def test_an_object_is_found_by_id_kind_both_and_by_the_name_of_a_person() -> None:
    ada = User.objects.create_user("ada", "ada@example.org", "pass", first_name="Ada", last_name="Lovelace")
    for kind, name in (("host", "gpu-1"), ("endpoint", "gpu-1"), ("approval_request", "r-1"), ("user", ada.pseudonym)):
        record(action="thing.change", target=Target(kind, name), actor=ALICE)
    assert found(target="gpu-1") == ["gpu-1", "gpu-1"]
    assert found(target="host gpu-1") == ["gpu-1"]
    assert found(target="approval request") == ["r-1"]
    assert found(target="Lovelace") == found(target="user Lovelace") == [ada.pseudonym]


def test_filters_hold_together_and_the_end_of_a_span_is_left_out() -> None:
    first, second = event(target="a", outcome="denied"), event(target="b", outcome="denied")
    event("incident.move", target="c")
    assert found(outcome="denied", action="incident.update", actor=ALICE.id) == ["b", "a"]
    assert found(since=first.occurred_at, until=second.occurred_at) == ["a"]


def test_pages_lead_forth_and_back_without_leaving_out_or_repeating_an_event() -> None:
    for number in range(7):
        event(target=str(number))
    # Events of one moment are told apart by their id.
    newest = page_of(events(), 3)
    assert [one.target_id for one in newest.events] == ["6", "5", "4"]
    assert newest.newer is None
    middle = page_of(events(), 3, before=newest.older)
    oldest = page_of(events(), 3, before=middle.older)
    assert [one.target_id for one in middle.events] == ["3", "2", "1"]
    assert [one.target_id for one in oldest.events] == ["0"]
    assert (oldest.older, oldest.whole) == (None, False)
    back = page_of(events(), 3, after=oldest.newer)
    assert [one.target_id for one in back.events] == ["3", "2", "1"]
    assert back.newer is not None
    assert [one.target_id for one in page_of(events(), 3, after=back.newer).events] == ["6", "5", "4"]


@pytest.mark.parametrize("text", ["", "x", "2026-11-21T10:00:00~1", "2026-11-21T10:00:00+00:00~-1", "~", "2026~1"])
def test_what_is_no_place_is_no_place(text: str) -> None:
    assert Place.read(text) is None


def test_a_place_is_read_as_it_was_written() -> None:
    place = Place(datetime.datetime(2026, 11, 21, 10, 0, 0, 1, tzinfo=datetime.UTC), 17)
    assert Place.read(str(place)) == place


def test_the_page_links_to_older_and_newer_events() -> None:
    client = signed_in()
    for number in range(60):
        event(target=f"number-{number}")
    page = page_text(client, "/audit/?actor=u-alice")
    assert "Events found, newest first" in page
    assert "number-59" in page
    assert "number-9<" not in page
    last_shown = AuditEvent.objects.get(target_id="number-10")
    older = page_text(client, f"/audit/?actor=u-alice&before={str(Place.of(last_shown)).replace('+', '%2B')}")
    assert "number-9<" in older
    assert "number-10<" not in older
    assert "Newest" in older
