import datetime
from collections.abc import Iterator

import pytest
from django.db import transaction
from django.test import Client
from django.utils import timezone

from audit import holds
from audit.actions import Target, WriterErased, record
from audit.erasure import AlreadyErased, NothingSealed, erase_reason, erase_subject, reveal
from audit.holds import Held, HoldError, lift, place
from audit.models import AuditEvent, AuditHold, AuditSubjectKey
from audit.queries import reason_of, record_of
from tests.accounts.people import bearer, person
from tests.audit.log import ALICE, BOB, CAROL, event

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def everything_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holds here are placed on what no floor above has made."""
    monkeypatch.setattr(holds, "_knowers", {})


def latest() -> AuditEvent:
    return AuditEvent.objects.latest("id")


def again(made: AuditEvent) -> AuditEvent:
    return AuditEvent.objects.select_related("private__subject").get(pk=made.pk)


# --- erasing ---------------------------------------------------------------------------------------------------------


def test_erasing_a_person_makes_all_their_texts_unreadable_and_changes_no_leaf() -> None:
    theirs, other = [event(reason=f"text {n}") for n in range(2)], event(actor=BOB, reason="of Bob")
    before = [bytes(one.canon) for one in theirs]
    erased = erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    assert erased.texts == 2
    assert [reason_of(again(one)) for one in theirs] == ["", ""]
    assert reason_of(again(other)) == "of Bob"
    assert [bytes(again(one).canon) for one in theirs] == before
    assert AuditSubjectKey.objects.get(pk="u-alice").wrapped is None
    recorded = record_of(latest())
    assert (recorded["action"], recorded["target"]["id"], recorded["actor"]["id"]) == (
        "subject.erase",
        "u-alice",
        "u-carol",
    )
    assert recorded["data"] == {"texts": 2, "rows": {}}


def test_nothing_is_sealed_for_an_erased_person_again() -> None:
    event(reason="before")
    erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    with pytest.raises(WriterErased, match="u-alice was erased"), transaction.atomic():
        event(reason="after")
    assert latest().action == "subject.erase"
    made = event(actor=BOB, subject="u-alice", reason="of Alice")
    assert reason_of(again(made)) == ""
    assert "reason_commit" in record_of(made)
    assert AuditSubjectKey.objects.get(pk="u-alice").wrapped is None


def test_a_person_who_never_wrote_anything_is_erased_once() -> None:
    erase_subject(subject="u-dora", actor=CAROL, reason="asked for it")
    count = AuditEvent.objects.count()
    with pytest.raises(AlreadyErased):
        erase_subject(subject="u-dora", actor=CAROL, reason="again")
    assert AuditEvent.objects.count() == count


def test_an_erasure_needs_a_reason() -> None:
    made = event(reason="text")
    with pytest.raises(ValueError, match="Say in a sentence"):
        erase_subject(subject="u-alice", actor=CAROL, reason=" ")
    assert reason_of(again(made)) == "text"


# --- revealing -------------------------------------------------------------------------------------------------------


def test_reading_a_text_is_on_record_with_its_reason() -> None:
    made = event(incident="INC-1", reason="Jane did it")
    assert reveal(event=again(made), actor=BOB, reason="complaint 7") == "Jane did it"
    recorded = record_of(latest())
    assert (recorded["action"], recorded["target"]["id"]) == ("private.reveal", str(made.event_uuid))
    assert recorded["data"] == {"subject": "u-alice", "incident": "INC-1"}
    assert reason_of(latest()) == "complaint 7"


@pytest.mark.parametrize("why", ["", "  "])
def test_without_a_reason_no_text_is_read(why: str) -> None:
    made = event(reason="Jane did it")
    with pytest.raises(ValueError, match="why you read"):
        reveal(event=again(made), actor=BOB, reason=why)
    assert not AuditEvent.objects.filter(action="private.reveal").exists()


def test_where_there_is_no_text_the_sentence_says_whether_there_ever_was() -> None:
    without, with_text = event(), event(reason="text")
    erase_reason(event=with_text, actor=BOB, reason="asked for it")
    with pytest.raises(NothingSealed, match="Nobody wrote"):
        reveal(event=again(without), actor=BOB, reason="why")
    with pytest.raises(NothingSealed, match="was erased"):
        reveal(event=again(with_text), actor=BOB, reason="why")
    assert not AuditEvent.objects.filter(action="private.reveal").exists()


# --- holds -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def held_text() -> AuditEvent:
    return event(incident="INC-1", reason="text")


@pytest.fixture
def model_of_inc_1() -> Iterator[None]:
    """A floor above that knows that INC-1 is about the model fraud."""

    def incidents_of(model: str) -> list[str]:
        return ["INC-1"] if model == "fraud" else []

    holds.register_incidents(incidents_of)
    yield
    holds._incidents_of.remove(incidents_of)


@pytest.mark.usefixtures("model_of_inc_1")
@pytest.mark.parametrize(("kind", "ref"), [("subject", "u-alice"), ("incident", "INC-1"), ("model", "fraud")])
def test_a_hold_keeps_texts_from_being_erased_until_it_is_lifted(held_text: AuditEvent, kind: str, ref: str) -> None:
    hold = place(kind=kind, ref=ref, reason="case 12", actor=CAROL)
    placed = record_of(latest())
    assert (placed["action"], placed["target"]) == ("hold.place", {"kind": kind, "id": ref, "version": ""})
    with pytest.raises(Held, match="Lift the hold first"):
        erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    with pytest.raises(Held, match="Lift the hold first"):
        erase_reason(event=held_text, actor=CAROL, reason="asked for it")
    assert latest().action == "hold.place"
    assert reason_of(again(held_text)) == "text"
    lift(hold=hold, reason="settled", actor=BOB)
    assert latest().action == "hold.lift"
    erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    assert reason_of(again(held_text)) == ""


@pytest.mark.usefixtures("model_of_inc_1")
@pytest.mark.parametrize(("kind", "ref"), [("subject", "u-bob"), ("incident", "INC-2"), ("model", "churn")])
def test_a_hold_on_something_else_keeps_nothing_here(held_text: AuditEvent, kind: str, ref: str) -> None:
    place(kind=kind, ref=ref, reason="case 12", actor=CAROL)
    assert erase_reason(event=held_text, actor=CAROL, reason="asked for it")


@pytest.mark.parametrize(
    ("target", "data"),
    [
        (Target("version", "income/2"), {}),
        (Target("endpoint", "income-eu"), {}),
        (Target("host", "gpu-1"), {"model": "income"}),
    ],
)
def test_a_hold_on_a_model_keeps_what_was_written_of_it_without_an_incident(
    target: Target, data: dict[str, str]
) -> None:
    record(action="endpoint.register", target=Target("endpoint", "income-eu"), actor=BOB, data={"model": "income"})
    made = record(action="endpoint.freeze", target=target, actor=ALICE, data=data, reason="Jane asked for it")
    hold = place(kind="model", ref="income", reason="claim", actor=CAROL)
    with pytest.raises(Held, match="model income"):
        erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    with pytest.raises(Held, match="model income"):
        erase_reason(event=made, actor=CAROL, reason="asked for it")
    assert reason_of(again(made)) == "Jane asked for it"
    lift(hold=hold, reason="settled", actor=CAROL)
    assert erase_subject(subject="u-alice", actor=CAROL, reason="asked for it").texts == 1


def test_a_hold_ends_by_itself_at_its_end(held_text: AuditEvent) -> None:
    hold = place(
        kind="incident", ref="INC-1", reason="case", actor=CAROL, until=timezone.now() + datetime.timedelta(days=1)
    )
    assert holds.on_incident("INC-1") == hold
    AuditHold.objects.filter(pk=hold.pk).update(until=timezone.now() - datetime.timedelta(seconds=1))
    assert holds.on_incident("INC-1") is None
    with pytest.raises(HoldError, match="ended before"):
        lift(hold=hold, reason="settled", actor=BOB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "table"}, "a person, an incident or a model"),
        ({"ref": " "}, "a person, an incident or a model"),
        ({"reason": ""}, "why the hold is placed"),
        ({"until": timezone.now() - datetime.timedelta(days=1)}, "ended already"),
    ],
)
def test_a_hold_that_makes_no_sense_is_refused(change: dict[str, object], words: str) -> None:
    given = {"kind": "incident", "ref": "INC-1", "reason": "case", "actor": ALICE}
    with pytest.raises(HoldError, match=words):
        place(**(given | change))  # type: ignore[arg-type]
    assert not AuditHold.objects.exists()
    assert not AuditEvent.objects.exists()


# --- pages and API ---------------------------------------------------------------------------------------------------


def signed_in(name: str, role: str) -> Client:
    client = Client()
    client.force_login(person(name, role), backend="django.contrib.auth.backends.ModelBackend")
    return client


def test_an_auditor_sees_that_there_is_a_text_and_reads_it_only_by_saying_why() -> None:
    made = event(reason="Jane <b>did</b> it")
    client = signed_in("idris", "auditor")
    page = client.get(f"/audit/events/{made.event_uuid}/").content.decode()
    assert "is sealed" in page
    assert "Jane" not in page
    address = f"/audit/events/{made.event_uuid}/reveal/"
    assert client.get(address).status_code == 405
    assert "Jane" not in client.post(address, {"reason": ""}).content.decode()
    assert not AuditEvent.objects.filter(action="private.reveal").exists()
    answer = client.post(address, {"reason": "complaint 7"})
    assert "Jane &lt;b&gt;did&lt;/b&gt; it" in answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    assert AuditEvent.objects.filter(action="private.reveal").count() == 1


def test_others_than_auditors_read_no_sealed_text() -> None:
    made = event(reason="Jane did it")
    for role in ("administrator", "commander", "viewer"):
        answer = signed_in(role, role).post(f"/audit/events/{made.event_uuid}/reveal/", {"reason": "curious"})
        assert answer.status_code == 403
    assert not AuditEvent.objects.filter(action="private.reveal").exists()
    assert AuditEvent.objects.filter(action="access.deny").count() == 3


def test_an_erased_text_is_said_to_be_erased() -> None:
    made = event(reason="Jane did it")
    erase_subject(subject="u-alice", actor=CAROL, reason="asked for it")
    client = signed_in("idris", "auditor")
    assert "was erased" in client.get(f"/audit/events/{made.event_uuid}/").content.decode()
    answer = client.post(f"/audit/events/{made.event_uuid}/reveal/", {"reason": "complaint"}, follow=True)
    assert "The text was erased." in answer.content.decode()


def test_administrators_place_and_lift_holds_and_auditors_read_them() -> None:
    admin, auditor = signed_in("ada", "administrator"), signed_in("idris", "auditor")
    fields = {"kind": "incident", "ref": "INC-1", "reason": "case 12", "until": ""}
    assert auditor.post("/audit/holds/", fields).status_code == 403
    assert not AuditHold.objects.exists()
    assert admin.post("/audit/holds/", fields).status_code == 302
    hold = AuditHold.objects.get()
    assert "incident INC-1" in auditor.get("/audit/holds/").content.decode()
    assert "1 legal hold stands." in admin.get("/audit/holds/").content.decode()
    assert auditor.post(f"/audit/holds/{hold.pk}/lift/", {"reason": "over"}).status_code == 403
    assert admin.post(f"/audit/holds/{hold.pk}/lift/", {"reason": ""}).status_code == 302
    assert holds.on_incident("INC-1") == hold
    admin.post(f"/audit/holds/{hold.pk}/lift/", {"reason": "over"})
    assert holds.on_incident("INC-1") is None
    assert "No legal hold stands." in auditor.get("/audit/holds/").content.decode()
    assert signed_in("vera", "viewer").get("/audit/holds/").status_code == 403


def test_by_the_api_too_a_text_is_revealed_on_record_and_a_hold_placed_and_lifted() -> None:
    made = event(reason="Jane did it")
    auditor, admin = bearer(person("idris", "auditor"), "audit.view"), bearer(person("ada", "administrator"), "admin")
    client = Client()
    shown = client.get(f"/api/v1/audit/events/{made.event_uuid}/", headers=auditor).json()
    assert shown["has_text"] is True
    assert "Jane" not in str(shown)
    address = f"/api/v1/audit/events/{made.event_uuid}/reveal/"
    assert client.post(address, {}, headers=auditor, content_type="application/json").status_code == 400
    body = {"reason": "complaint 7"}
    assert client.post(address, body, headers=admin, content_type="application/json").status_code == 403
    answer = client.post(address, body, headers=auditor, content_type="application/json")
    assert answer.json() == {"text": "Jane did it"}
    asked = {"kind": "model", "ref": "fraud", "reason": "case 12"}
    assert (
        client.post("/api/v1/audit/holds/", asked, headers=auditor, content_type="application/json").status_code == 403
    )
    made_hold = client.post("/api/v1/audit/holds/", asked, headers=admin, content_type="application/json")
    assert made_hold.status_code == 201
    assert [one["ref"] for one in client.get("/api/v1/audit/holds/", headers=auditor).json()["results"]] == ["fraud"]
    lifted = client.post(
        f"/api/v1/audit/holds/{made_hold.json()['id']}/lift/", {"reason": "over"}, headers=admin,
        content_type="application/json",
    )  # fmt: skip
    assert lifted.json()["lifted_at"]
    again_lifted = client.post(
        f"/api/v1/audit/holds/{made_hold.json()['id']}/lift/", {"reason": "over"}, headers=admin,
        content_type="application/json",
    )  # fmt: skip
    assert again_lifted.status_code == 400
