import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections
from django.test import Client
from pytest_django.fixtures import Settings

from accounts.models import Role, RoleGrant, User
from audit.actions import Actor
from audit.models import AuditEvent
from audit.sequencer import Sequencer
from audit.verify import verify_bundle
from tests.audit.log import at_work, event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase


def signed_in(role: str | None = Role.AUDITOR, name: str = "ada") -> Client:
    user = User.objects.create_user(name, f"{name}@example.com", "pass", first_name="Ada", last_name="Auditor")
    if role:
        RoleGrant.objects.create(user=user, role=role)
    client = Client()
    client.force_login(user)
    return client


def page_of(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.content[:2000]
    return answer.content.decode()


@pytest.fixture
def signed_log(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    """Three events, two of them of INC-1, in the signed tree."""
    sequencer = sequencer_in(tmp_path)
    event("model.register", target="employment", data={"digest": "a" * 64})
    event("incident.declare", incident="INC-1", reason="<b>accuracy fell</b>")
    event("approval.decide", incident="INC-1", outcome="denied", target="request-7")
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


def test_the_log_says_its_state_first_and_lists_events(signed_log: Sequencer) -> None:
    page = page_of(signed_in(), "/audit/")
    key = signed_log.signer.key_id.hex()
    assert "3 events, all in the tree; last checkpoint" in page
    assert f"signature by key {key} valid; keys" in page
    assert "employment" in page
    assert "Export the whole log" in page


def test_the_log_is_searched_by_incident_action_and_target(signed_log: Sequencer) -> None:
    client = signed_in()
    page = page_of(client, "/audit/?incident=INC-1")
    assert "2 events found" in page
    assert "employment" not in page
    assert "Export incident INC-1" in page
    assert "1 event found" in page_of(client, "/audit/?action=approval")
    assert "1 event found" in page_of(client, "/audit/?target=incident+request-7")
    assert "1 event found" in page_of(client, "/audit/?outcome=denied")
    assert "No event matches." in page_of(client, "/audit/?until=2020-01-01T00:00:00")


def test_a_search_that_makes_no_sense_shows_why_and_nothing_else(signed_log: Sequencer) -> None:
    page = page_of(signed_in(), "/audit/?since=yesterday")
    assert "Enter a valid date/time." in page
    assert "employment" not in page


def test_an_event_shows_its_record_its_reason_and_its_proof(signed_log: Sequencer) -> None:
    declared = AuditEvent.objects.get(action="incident.declare")
    page = page_of(signed_in(), f"/audit/events/{declared.event_uuid}/")
    assert "is sealed" in page
    assert "accuracy fell" not in page
    assert "Proof that it is in the signed tree" in page
    assert signed_log.frontier.root().hex() in page
    assert "event number 1" in page


def test_a_record_that_was_changed_after_it_was_signed_says_so_first(
    signed_log: Sequencer, committed_db: CommittedDatabase
) -> None:
    found = AuditEvent.objects.order_by("id")[1]
    assert "not the record that was signed" not in page_of(signed_in(), f"/audit/events/{found.event_uuid}/")

    committed_db.execute("ALTER TABLE audit_event DISABLE TRIGGER USER", login="lastgood_owner")
    committed_db.execute(
        f"UPDATE audit_event SET canon = canon || ' '::bytea WHERE id = {found.pk}", login="lastgood_owner"
    )

    page = page_of(signed_in(name="eva"), f"/audit/events/{found.event_uuid}/")
    assert "This is not the record that was signed: it was changed afterwards." in page
    assert "The record does not belong to its leaf" in page
    assert "Proof that it is in the signed tree" not in page


def test_an_event_without_a_leaf_says_so(signed_log: Sequencer) -> None:
    late = event()
    assert "Not in the tree yet" in page_of(signed_in(), f"/audit/events/{late.event_uuid}/")


def test_the_checkpoint_page_shows_the_note_and_how_to_check(signed_log: Sequencer) -> None:
    client = signed_in()
    page = page_of(client, "/audit/checkpoint/")
    assert "lastgood.local/log\n3\n" in page
    assert signed_log.signer.vkey.replace("+", "+") in page
    assert page_of(client, "/audit/checkpoints/3/").count("Signed over 3 leaves") == 1
    page_of(client, "/audit/checkpoints/2/", status=404)


def test_an_export_verifies_and_is_on_record(signed_log: Sequencer, tmp_path: Path) -> None:
    client = signed_in()
    with at_work(tmp_path):
        answer = client.post("/audit/export/", {"incident": "INC-1"})
    assert answer["Content-Disposition"] == 'attachment; filename="lastgood-audit-INC-1-3.zip"'
    path = tmp_path / "bundle.zip"
    path.write_bytes(io.BytesIO(b"".join(answer.streaming_content)).getvalue())  # type: ignore[arg-type]
    answer.close()
    verdict = verify_bundle(str(path), signed_log.signer.vkey)
    assert (verdict.status(), verdict.bad) == (0, [])
    exported = AuditEvent.objects.latest("id")
    assert (exported.action, exported.actor) == ("audit.export", User.objects.get().pseudonym)


def test_a_persons_part_is_exported_by_name_and_an_ambiguous_name_is_asked_about(
    signed_log: Sequencer, tmp_path: Path
) -> None:
    client = signed_in(name="bea")
    signed_in(name="beatrice")
    bea = User.objects.get(username="bea")
    event(actor=Actor("user", bea.pseudonym), incident="INC-1")
    sequence_all(signed_log)
    page = client.post("/audit/export/", {"kind": "person", "name": "bea"}, follow=True).content.decode()
    assert "More than one person is called so" in page
    with at_work(tmp_path):
        answer = client.post("/audit/export/", {"kind": "person", "name": bea.pseudonym})
    assert f'filename="lastgood-audit-{bea.pseudonym}-' in answer["Content-Disposition"]
    answer.close()
    recorded = json.loads(bytes(AuditEvent.objects.latest("id").canon))["data"]["scope"]
    assert recorded == {"kind": "person", "person": bea.pseudonym}


def test_an_export_of_nothing_says_so_and_leaves_no_record(signed_log: Sequencer) -> None:
    client = signed_in()
    before = AuditEvent.objects.count()
    answer = client.post("/audit/export/", {"incident": "INC-404"}, follow=True)
    assert "No event in the signed tree matches." in answer.content.decode()
    assert AuditEvent.objects.count() == before


@pytest.mark.django_db
def test_an_empty_log_says_so() -> None:
    page = page_of(signed_in(), "/audit/")
    assert "No event has been recorded yet" in page
    assert "Nothing has been signed yet." in page_of(signed_in(name="bea"), "/audit/checkpoint/")


@pytest.mark.django_db
@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.COMMANDER, Role.ADMINISTRATOR])
def test_who_is_no_auditor_reads_nothing_and_the_attempt_is_on_record(role: str | None) -> None:
    client = signed_in(role)
    made = event(target="secret-target")
    for path in ("/audit/", "/audit/checkpoint/", f"/audit/events/{made.event_uuid}/"):
        assert "secret-target" not in page_of(client, path, status=403)
    assert client.post("/audit/export/").status_code == 403
    denied = AuditEvent.objects.filter(action="access.deny", outcome="denied")
    assert denied.count() == 4
    assert set(denied.values_list("actor", flat=True)) == {User.objects.get().pseudonym}


@pytest.mark.django_db
def test_who_is_not_signed_in_is_sent_to_sign_in() -> None:
    answer = Client().get("/audit/")
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/?next=/audit/")


@pytest.mark.django_db
def test_an_export_takes_a_post_with_a_token_of_the_form() -> None:
    client = signed_in()
    assert client.get("/audit/export/").status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())
    assert strict.post("/audit/export/").status_code == 403


@pytest.mark.django_db
def test_the_pages_are_not_kept_by_a_browser() -> None:
    assert "no-store" in signed_in().get("/audit/")["Cache-Control"]


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_log(
    django_assert_max_num_queries: object, settings: Settings
) -> None:
    settings.LASTGOOD_LAG_ALARM_SECONDS = 600  # an alarm would ask for the backend that holds the log back
    client = signed_in()
    for number in range(60):
        event(incident=f"INC-{number % 7}", reason="why")
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        page = page_of(client, "/audit/")
    assert "Older" in page
