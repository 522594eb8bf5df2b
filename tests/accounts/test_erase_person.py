"""Erasing a person: what goes, what stays, and what keeps it from being done."""

import io
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.actions import actor_for, reactivate_user
from accounts.approvals.models import ApprovalDecision
from accounts.erasure.actions import erase_person
from accounts.errors import AccountError
from accounts.models import ApiToken, RoleGrant, User
from audit.actions import Target, record
from audit.holds import HoldError, lift, place
from audit.models import AuditEvent, AuditPrivate, AuditSubjectKey
from audit.queries import record_of, timeline
from incidents import actions, status
from incidents.models import ComponentState, Incident, PostStatus, StatusPage, Update
from registry.actions.known import quarantine
from registry.models import Version
from tests.accounts.people import PASSWORD, SETUP, a_request, bearer, person, recorded, say
from tests.incidents import world as worlds
from tests.incidents.world import World

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(settings: Any, tmp_path: Path) -> World:
    """An endpoint that went wrong, and people at work on it."""
    settings.LASTGOOD_VAR = tmp_path
    return worlds.build()


@pytest.fixture
def ada() -> User:
    return person("ada", "administrator")


def erase(user: User, by: User, reason: str = "asked for it") -> Any:
    return erase_person(user=user, by=by, reason=reason, actor=actor_for(user=by))


def test_the_account_becomes_its_pseudonym_and_everything_ends(ada: User) -> None:
    rita = person("rita", "responder", "approver")
    EmailAddress.objects.create(user=rita, email=rita.email)
    header, client = bearer(rita, "view"), Client()
    assert client.login(username="rita", password=PASSWORD)
    erase(rita, ada)
    rita.refresh_from_db()
    name = rita.pseudonym
    assert (rita.username, rita.get_full_name(), rita.email, str(rita)) == (name, "", "", name)
    assert not rita.is_active
    assert not rita.has_usable_password()
    assert not RoleGrant.objects.filter(user=rita, until=None).exists()
    assert not EmailAddress.objects.filter(user=rita).exists()
    assert ApiToken.objects.get(owner=rita).name == "[erased]"
    assert Client().get("/api/v1/me/", headers=header).status_code == 401
    assert client.get("/").status_code == 302
    assert not Client().login(username="rita", password=PASSWORD)
    told = recorded("subject.erase")[0]
    assert (told["target"], told["actor"]["id"]) == (
        {"kind": "subject", "id": name, "version": ""},
        ada.pseudonym,
    )
    assert told["data"]["rows"]["accounts_user"] == 1
    with pytest.raises(AccountError, match="was erased"):
        reactivate_user(user=rita, actor=SETUP)


def test_no_row_holds_their_words_any_more_and_every_leaf_is_the_same(world: World, ada_of: User) -> None:
    rosa, incident = world.users["rosa"], world.incident()
    actor = world.actor("rosa")
    actions.triage(incident=incident, impact=1, urgency=1, assessment="Rosa thinks: v2.", user=rosa, actor=actor)
    actions.post_update(
        incident=incident, conditions="Rosa here", actions="calling Tom", needs="", user=rosa, actor=actor
    )
    version = Version.objects.order_by("-number")[0]
    quarantine(version=version, reason="Rosa found it bad", actor=actor)
    leaves = {one.pk: bytes(one.canon) for one in AuditEvent.objects.all()}
    erased = erase(rosa, ada_of)
    assert erased.rows["incidents_update"] == 1
    assert erased.rows["incidents_incident"] == 1
    assert erased.rows["registry_version"] == 1
    update = Update.objects.get()
    assert (update.conditions, update.actions, update.by_id) == ("[erased]", "", rosa.pk)
    assert Incident.objects.get(pk=incident.pk).assessment == "[erased]"
    assert Version.objects.get(pk=version.pk).quarantine_reason == "[erased]"
    assert "Rosa" not in "".join(entry.reason for entry in timeline(incident.ref))
    assert {one.pk: bytes(one.canon) for one in AuditEvent.objects.filter(pk__in=leaves)} == leaves


def test_the_reasons_of_decisions_go_and_the_decisions_stay(ada: User) -> None:
    paul, rita = person("paul", "approver"), person("rita", "responder")
    say(paul, a_request(rita), "deny", reason="Paul says no")
    erase(paul, ada)
    decision = ApprovalDecision.objects.get()
    assert (decision.decision, decision.by, decision.reason) == ("deny", paul, "[erased]")


@pytest.fixture
def ada_of(world: World) -> User:
    return world.users["ada"]


def test_what_somebody_else_wrote_over_it_stays(world: World, ada_of: User) -> None:
    incident = world.incident()
    for name, words in (("rosa", "of Rosa"), ("kofi", "of Kofi")):
        actions.triage(
            incident=Incident.objects.get(pk=incident.pk), impact=1, urgency=1, assessment=words,
            user=world.users[name], actor=world.actor(name),
        )  # fmt: skip
    erase(world.users["rosa"], ada_of)
    assert Incident.objects.get(pk=incident.pk).assessment == "of Kofi"


def test_while_a_hold_stands_on_an_incident_nobody_who_wrote_in_it_is_erased(world: World, ada_of: User) -> None:
    incident = world.incident()
    actions.triage(
        incident=incident,
        impact=1,
        urgency=1,
        assessment="of Rosa",
        user=world.users["rosa"],
        actor=world.actor("rosa"),
    )
    place(kind="model", ref=incident.endpoint.model.slug, reason="case 12", actor=actor_for(user=ada_of))
    count = AuditEvent.objects.count()
    with pytest.raises(AccountError, match="Lift the hold first"):
        erase(world.users["rosa"], ada_of)
    rosa = User.objects.get(username="rosa")
    assert rosa.is_active
    assert RoleGrant.objects.filter(user=rosa, until=None).exists()
    assert AuditSubjectKey.objects.get(pk=rosa.pseudonym).wrapped is not None
    assert AuditEvent.objects.count() == count
    assert Incident.objects.get(pk=incident.pk).assessment == "of Rosa"


def test_nobody_erases_themselves_nor_twice_nor_without_a_reason(ada: User) -> None:
    rita = person("rita", "viewer")
    with pytest.raises(AccountError, match="Ask another administrator"):
        erase(ada, ada)
    with pytest.raises(AccountError, match="Say in a sentence"):
        erase(rita, ada, reason=" ")
    assert User.objects.get(pk=rita.pk).is_active
    erase(rita, ada)
    with pytest.raises(AccountError, match="erased before"):
        erase(rita, ada)
    assert len(recorded("subject.erase")) == 1


def test_on_the_page_an_administrator_types_the_name_and_proves_who_they_are(ada: User) -> None:
    rita, client = person("rita", "viewer"), Client()
    assert client.login(username="ada", password=PASSWORD)
    address = "/people/of/rita/erase/"
    assert "can't be taken back" in client.get(address).content.decode().replace("&#x27;", "'")
    client.post(address, {"reason": "asked", "username": "rico"})
    assert User.objects.get(pk=rita.pk).is_active
    answer = client.post(address, {"reason": "asked", "username": "rita"})
    assert answer.status_code == 302
    assert "reauthenticate" in answer.headers["Location"]
    assert User.objects.get(pk=rita.pk).is_active
    assert client.post(answer.headers["Location"], {"password": PASSWORD}).status_code in (200, 302, 307)
    client.post(address, {"reason": "asked", "username": "rita"})
    assert User.objects.get(pk=rita.pk).username == rita.pseudonym
    assert Client().get(address).status_code == 302


def test_others_than_administrators_erase_nobody(ada: User) -> None:
    rita, viewer = person("rita", "viewer"), Client()
    person("carl", "commander")
    assert viewer.login(username="carl", password=PASSWORD)
    assert viewer.post("/people/of/rita/erase/", {"reason": "x", "username": "rita"}).status_code == 403
    body = {"reason": "asked"}
    path = "/api/v1/users/rita/erase/"
    refused = Client().post(path, body, headers=bearer(rita, "view"), content_type="application/json")
    assert refused.status_code == 403
    assert User.objects.get(pk=rita.pk).username == "rita"
    done = Client().post(path, body, headers=bearer(ada, "admin"), content_type="application/json")
    assert done.json()["pseudonym"] == rita.pseudonym
    assert User.objects.get(pk=rita.pk).username == rita.pseudonym


def test_the_command_erases_from_the_machine_itself() -> None:
    rita, said = person("rita", "viewer"), io.StringIO()
    call_command("erase", "rita", reason="asked for it", stdout=said)
    assert rita.pseudonym in said.getvalue()
    told = record_of(AuditEvent.objects.get(action="subject.erase"))
    assert told["actor"]["id"] == "svc:manage"
    with pytest.raises(CommandError, match="Nobody has the user name"):
        call_command("erase", "rita", reason="again", stdout=said)


def test_the_command_erases_one_text_alone_unless_a_hold_keeps_it() -> None:
    rita = person("rita", "viewer")
    made = record(action="x.y", target=Target("x", "1"), actor=actor_for(user=rita), reason="Jane did it")
    hold = place(kind="subject", ref="rita", reason="case", actor=SETUP)
    assert hold.ref == rita.pseudonym
    with pytest.raises(CommandError, match="Lift the hold first"):
        call_command("erase", event=str(made.event_uuid), reason="asked")
    lift(hold=hold, reason="settled", actor=SETUP)
    call_command("erase", event=str(made.event_uuid), reason="asked", stdout=io.StringIO())
    assert not AuditPrivate.objects.filter(event=made).exists()
    with pytest.raises(CommandError, match="no text"):
        call_command("erase", event=str(made.event_uuid), reason="asked")


@pytest.mark.parametrize(("kind", "ref"), [("subject", "nobody"), ("incident", "INC-99"), ("model", "nothing")])
def test_a_hold_on_what_is_not_there_is_refused(kind: str, ref: str) -> None:
    with pytest.raises(HoldError, match=f"There is no .* {ref}"):
        place(kind=kind, ref=ref, reason="case", actor=SETUP)
    assert not AuditEvent.objects.exists()


def test_a_post_on_a_status_page_stays_when_its_writer_is_erased_and_goes_with_its_own_event(world: World) -> None:
    """The organisation told it to the public; who wrote it stands nowhere on the page."""
    ada = User.objects.get(username="ada")
    incident, kofi = world.incident(), User.objects.get(username="kofi")
    page = status.create_page(slug="public", name="Public", description="", public=True, actor=SETUP)
    told: dict[str, Any] = {"page": page, "incident": incident}
    told |= {"status": PostStatus.INVESTIGATING, "component_state": ComponentState.OPERATIONAL}
    post = status.post(**told, text="Jane Doe looks into it.", by=kofi, actor=actor_for(user=kofi))
    erased = erase(kofi, ada)
    post.refresh_from_db()
    assert "incidents_statuspost" not in erased.rows
    assert post.text == "Jane Doe looks into it."
    assert str(post.by) == kofi.pseudonym
    event = AuditEvent.objects.get(action="status.post")
    assert not AuditPrivate.objects.get(event=event).text, "the log's own copy is erased"

    other = status.post(**told, text="John Doe looks into it.", by=ada, actor=actor_for(user=ada))
    version = StatusPage.objects.get().version
    event = AuditEvent.objects.filter(action="status.post").latest("id")
    call_command("erase", "--event", str(event.event_uuid), "--reason", "John asked for it")
    other.refresh_from_db()
    post.refresh_from_db()
    assert (other.text, post.text) == ("[erased]", "Jane Doe looks into it.")
    assert StatusPage.objects.get().version == version + 1, "it is published again"


def test_a_single_text_goes_from_the_rows_that_repeat_it(world: World) -> None:
    incident, kofi = world.incident(), User.objects.get(username="kofi")
    said = {"incident": incident, "actions": "", "needs": "", "user": kofi, "actor": actor_for(user=kofi)}
    actions.post_update(conditions="Jane Doe complained.", **said)
    actions.post_update(conditions="All is well.", **said)
    event = AuditEvent.objects.filter(action="incident.post_update").earliest("id")
    call_command("erase", "--event", str(event.event_uuid), "--reason", "Jane asked for it")
    assert list(Update.objects.order_by("pk").values_list("conditions", flat=True)) == ["[erased]", "All is well."]
    assert recorded("audit.reason.erase")[0]["data"] == {"rows": {"incidents_update": 1}}
