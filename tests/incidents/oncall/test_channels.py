"""Calls reach people by real sockets: letters, signed webhooks, PagerDuty's events, ntfy, Mattermost."""

import json
import re
from datetime import UTC, datetime, time
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from incidents.errors import IncidentError
from incidents.models import Incident, IncidentAlert
from incidents.oncall import contacts, escalations
from incidents.oncall.models import Contact, Escalation
from incidents.telling import carry, chat
from incidents.telling.letters import send
from incidents.telling.models import Kind, Message, MessageState, SubscriberState
from monitoring.models import Alert, Rule
from registry.models import Endpoint, Model
from tests.incidents.oncall.made import TEST, Called, build, called, later
from tests.incidents.telling.conftest import Letters, Receiver

PAGER_KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def home(db: None) -> Called:
    made = build()
    made.set_policy(made.step("ada"), made.step("ben"))
    return made


def carried() -> list[Message]:
    """Each message that waits, attempted once, in this test's own transaction."""
    waiting = list(Message.objects.filter(state=MessageState.WAITING).select_related("subscriber__page", "post"))
    for message in sorted(waiting, key=lambda one: one.created_at):
        carry._keep(message, send(message), 1)
        message.refresh_from_db()
    return waiting


def channel(home: Called, kind: str, address: str, **fields: Any) -> Contact:
    return contacts.add_contact(kind=kind, address=address, team="letters", name="Channel", actor=TEST, **fields)[0]


def woken_by(home: Called, way: Contact) -> Escalation:
    home.set_policy({"targets": [f"channel:{way.pk}"], "seconds": 60}, name="Channel first")
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    return one


def test_a_letter_calls_with_a_link_that_says_what_to_do(home: Called, letters: Letters) -> None:
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    assert [message.state for message in carried()] == [MessageState.SENT]
    mail = letters.taken[0]
    assert mail["Subject"] == "Severity 2: INC-7 Letters go to the wrong people"
    assert mail["To"] == "ada@example.org"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Importance"] == "high"
    text = mail.get_payload(decode=True).decode()  # type: ignore[union-attr]
    link = re.search(r"https://status\.example\.org(/on-call/answer/\S+/)", text)
    assert link, text
    # whoever follows it signs in, and answers there
    assert Client().get(link[1]).status_code == 302
    client = Client()
    client.force_login(home.people["ada"], backend="django.contrib.auth.backends.ModelBackend")
    page = client.get(link[1])
    assert page.status_code == 200
    assert b"I have it" in page.content
    client.post(f"/on-call/escalations/{one.pk}/take/")
    one.refresh_from_db()
    assert one.taken_by == home.people["ada"]
    assert client.get(link[1][:-3] + "/").status_code == 410


def fires(incident: Incident, summary: str, **fields: Any) -> Alert:
    """An alert of the incident."""
    made = {"source": "rule", "started_at": timezone.now(), "fingerprint": summary, "summary": summary} | fields
    alert = Alert.objects.create(**made)
    IncidentAlert.objects.create(incident=incident, alert=alert)
    return alert


def test_a_call_says_what_fired_what_drifted_what_was_served_and_where_to_look(home: Called, letters: Letters) -> None:
    incident = home.incident()
    model = Model.objects.create(slug="letters", name="Letters", team="letters")
    endpoint = Endpoint.objects.create(slug="letters-production", name="Letters", model=model)
    rule = Rule.objects.create(endpoint=endpoint, kind="accuracy")
    fires(incident, "Long over.", state="resolved")
    moved = [{"column": "age", "psi": 0.41234, "drifted": True}, {"column": "zip", "psi": 0.01, "drifted": False}]
    served = {"h1": "2", "h2": "2", "h3": "1"}
    first = fires(
        incident, "Version 2 is right 61 % of the time, below 78 %.",
        rule=rule, endpoint=endpoint, annotations={"features": moved, "versions": served},
    )  # fmt: skip
    fires(incident, "From outside.", source="alertmanager", annotations={"features": "what it likes", "versions": 3})
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)

    carried()

    text = letters.taken[0].get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]
    assert (
        "Fired: Version 2 is right 61 % of the time, below 78 %.\n"
        "1 more alert of it fires.\n"
        "Inputs that drifted: age (PSI 0.4123).\n"
        "Served then: version 1 on h3; version 2 on h1, h2.\n"
        f"The alert: https://status.example.org/monitoring/alerts/{first.pk}/\n"
    ) in text


def test_a_call_says_that_no_input_drifted_where_that_is_known(home: Called, letters: Letters) -> None:
    incident = home.incident()
    model = Model.objects.create(slug="letters", name="Letters", team="letters")
    endpoint = Endpoint.objects.create(slug="letters-production", name="Letters", model=model)
    rule = Rule.objects.create(endpoint=endpoint, kind="accuracy")
    still = {"features": [{"column": "age", "psi": 0.01, "drifted": False}], "versions": {}}
    fires(incident, "Version 2 is right 61 % of the time.", rule=rule, endpoint=endpoint, annotations=still)
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)

    carried()

    text = letters.taken[0].get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]
    assert "Fired: Version 2 is right 61 % of the time.\nNo input drifted.\nThe alert: https" in text


def test_a_call_about_an_alert_from_outside_says_its_words_and_nothing_that_it_annotates(
    home: Called, letters: Letters
) -> None:
    incident = home.incident()
    alert = fires(incident, "Disk is full.", source="alertmanager", annotations={"features": "x", "versions": 3})
    one = home.begun(incident)
    escalations.turn(escalation_id=one.pk)

    carried()

    text = letters.taken[0].get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]
    assert f"Fired: Disk is full.\nThe alert: https://status.example.org/monitoring/alerts/{alert.pk}/\n" in text
    assert "drifted" not in text


def test_a_signed_webhook_is_told_of_the_call_and_of_who_has_it(home: Called, receiver: Receiver) -> None:
    way = channel(home, Kind.WEBHOOK, f"{receiver.url}/hook")
    one = woken_by(home, way)
    carried()
    escalations.acknowledge(escalation=one, user=home.people["eve"], actor=home.actor("eve"))
    carried()
    assert [call.json["type"] for call in receiver.taken] == ["oncall.call", "oncall.acknowledge"]
    assert receiver.taken[0].json["incident"] == "INC-7"
    assert receiver.taken[1].json["text"].endswith("Eve has it.")
    assert receiver.taken[0].headers["webhook-signature"].startswith("v1,")


def test_pagerduty_gets_events_of_one_key_that_trigger_acknowledge_and_resolve(
    home: Called, receiver: Receiver
) -> None:
    receiver.status = 202
    way = channel(home, Kind.PAGER, f"{receiver.url}/v2/enqueue", key=PAGER_KEY)
    one = woken_by(home, way)
    carried()
    escalations.acknowledge(escalation=one, user=home.people["eve"], actor=home.actor("eve"))
    carried()
    type(one.incident).objects.filter(pk=one.incident_id).update(state="resolved")
    escalations.turn(escalation_id=one.pk)
    carried()
    events = [call.json for call in receiver.taken]
    assert [event["event_action"] for event in events] == ["trigger", "acknowledge", "resolve"]
    assert len({event["dedup_key"] for event in events}) == 1
    assert {event["routing_key"] for event in events} == {PAGER_KEY}
    assert events[0]["payload"]["severity"] == "error"
    assert events[0]["payload"]["summary"] == "Severity 2: INC-7 Letters go to the wrong people"
    assert set(events[1]) == {"routing_key", "event_action", "dedup_key"}


def test_what_pagerduty_refuses_for_good_is_not_sent_again(home: Called, receiver: Receiver) -> None:
    receiver.status = 400
    woken_by(home, channel(home, Kind.PAGER, f"{receiver.url}/v2/enqueue", key=PAGER_KEY))
    assert [message.state for message in carried()] == [MessageState.GIVEN_UP]
    assert len(receiver.taken) == 1


def test_ntfy_and_mattermost_are_told_through_apprise(home: Called, receiver: Receiver) -> None:
    receiver.status = 200
    place = receiver.url.removeprefix("http://")
    for address in (f"ntfy://{place}/alarms", f"mmost://{place}/3ccdd113474722377935511fc85d3dd4"):
        contacts.test(contact=channel(home, Kind.CHAT, address), actor=TEST)
    assert {message.state for message in carried()} == {MessageState.SENT}
    ntfy, mattermost = receiver.taken
    assert json.loads(ntfy.body)["topic"] == "alarms"
    assert "Nothing is wrong." in json.loads(ntfy.body)["message"]
    assert mattermost.path == "/hooks/3ccdd113474722377935511fc85d3dd4"
    assert "Lastgood: a test" in mattermost.json["text"]


def test_a_chat_outside_the_allowed_networks_is_not_connected_to(
    home: Called, receiver: Receiver, settings: Any
) -> None:
    way = channel(home, Kind.CHAT, receiver.url.replace("http", "ntfy") + "/alarms")
    settings.LASTGOOD_TELLING_NETWORKS = ["192.0.2.0/24"]
    contacts.test(contact=way, actor=TEST)
    message = carried()[0]
    assert message.state == MessageState.WAITING
    assert "LASTGOOD_TELLING_NETWORKS" in message.tries.get().answer
    assert receiver.taken == []


def test_every_service_that_may_be_entered_calls_through_our_connections() -> None:
    from importlib import import_module

    for module in set(chat.SERVICES.values()):
        source = import_module(f"apprise.plugins.{module}")
        ways_out = {"socket", "urllib", "httpx", "smtplib", "subprocess", "aiohttp", "paho", "ssl"}
        assert ways_out & {name.partition(".")[0] for name in vars(source)} == set(), module
        assert hasattr(source, "requests"), module


@pytest.mark.parametrize("address", ["json://127.0.0.1/x", "mailto://a:b@example.org", "syslog://", "", "mmost://"])
def test_an_address_of_another_service_is_refused_and_nothing_is_kept(home: Called, address: str) -> None:
    with pytest.raises(IncidentError):
        channel(home, Kind.CHAT, address)
    assert not Contact.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "workflow://{place}/WFID/SIGN/?template=http://{place}/latest/meta-data",
        "slack://TJUP1K7N3/B01TBSU4H3L/abcdefghijklmnopqrstuvwx?template=/etc/hostname",
        "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz?template=file:///etc/hostname",
    ],
)
def test_an_address_with_a_template_is_refused_and_was_one_entered_before_nothing_is_read(
    home: Called, receiver: Receiver, address: str
) -> None:
    address = address.format(place=receiver.url.removeprefix("http://"))
    with pytest.raises(IncidentError, match="Leave the template out"):
        channel(home, Kind.CHAT, address)
    assert not Contact.objects.exists()
    answer = chat.say(address, {"subject": "It is slow."})
    assert (answer.taken, answer.final, receiver.taken) == (False, True, [])


@pytest.mark.parametrize(
    "address", ["ntfy://example.org/ops/backup", "mmost://example.org/3ccdd113474722377935511fc85d3dd4?channel=a,b"]
)
def test_an_address_of_several_targets_is_refused(home: Called, address: str) -> None:
    with pytest.raises(IncidentError, match="Name one channel"):
        channel(home, Kind.CHAT, address)
    assert not Contact.objects.exists()


def test_what_is_secret_of_a_chat_is_sealed_and_not_shown(home: Called) -> None:
    way = channel(home, Kind.CHAT, "slack://TJUP1K7N3/B01TBSU4H3L/abcdefghijklmnopqrstuvwx")
    way.receiver.refresh_from_db()
    assert "abcdefghijklmnopqrstuvwx" not in way.receiver.address
    assert b"abcdefghijklmnopqrstuvwx" not in bytes(way.receiver.secret)


def mine(user: User, **fields: Any) -> Contact:
    values = {"kind": Kind.WEBHOOK, "address": "https://example.org/hook", "name": "Mine", "user": user, "actor": TEST}
    return contacts.add_contact(**(values | fields))[0]


def test_an_address_is_used_once_its_reader_followed_the_link(home: Called, letters: Letters) -> None:
    ada = home.people["ada"]
    way = mine(ada, kind=Kind.EMAIL, address="ada@phone.example")
    carried()
    token = re.search(r"/on-call/confirm/(\S+)/", letters.taken[0].get_payload(decode=True).decode())  # type: ignore[union-attr]
    assert token
    # until then the account's own address is used
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    assert called(one)[0] == (0, 1, "ada")
    assert Message.objects.get(call__isnull=False).subscriber.address == "ada@example.org"
    # nobody else can confirm it
    with pytest.raises(IncidentError, match="another account"):
        contacts.confirm(token=token[1], user=home.people["ben"], actor=TEST)
    # when she does
    contacts.confirm(token=token[1], user=ada, actor=home.actor("ada"))
    way.receiver.refresh_from_db()
    assert way.receiver.state == SubscriberState.ACTIVE
    escalations.turn(escalation_id=later(one).pk)
    escalations.turn(escalation_id=later(one).pk)
    newest = Message.objects.filter(call__user=ada).latest("created_at")
    assert newest.subscriber.address == "ada@phone.example"


def test_letters_that_anybody_can_have_sent_are_few(home: Called) -> None:
    ada = home.people["ada"]
    for number in range(contacts.MOST_LETTERS):
        way = mine(ada, kind=Kind.EMAIL, address=f"a{number}@example.org")
        contacts.remove_contact(contact=way, actor=TEST)
    with pytest.raises(IncidentError, match="Wait before you enter another"):
        mine(ada, kind=Kind.EMAIL, address="more@example.org")
    way = mine(ada)
    for _ in range(contacts.MOST_LETTERS):
        contacts.test(contact=way, actor=TEST)
    with pytest.raises(IncidentError, match="Wait before you test it again"):
        contacts.test(contact=way, actor=TEST)


def test_by_the_api_nobody_tests_or_removes_the_ways_of_another(home: Called) -> None:
    way = mine(home.people["ada"])
    clients = {name: Client() for name in ("ada", "ben")}
    for name, client in clients.items():
        client.force_login(home.people[name], backend="django.contrib.auth.backends.ModelBackend")
    path = f"/api/v1/on-call/ways/{way.pk}/"
    assert clients["ben"].delete(path).status_code == clients["ben"].post(f"{path}test/").status_code == 404
    assert not Message.objects.exists()
    assert clients["ada"].post(f"{path}test/").status_code == 202
    assert clients["ada"].delete(path).status_code == 204


def test_quiet_hours_hold_back_what_is_not_bad_enough(home: Called) -> None:
    night = mine(home.people["ada"], least_severity=3, quiet_from=time(22), quiet_until=time(6), zone="Europe/Berlin")
    midnight, noon = datetime(2026, 3, 3, 23, tzinfo=UTC), datetime(2026, 3, 3, 11, tzinfo=UTC)
    used = [contacts.is_used(night, severity, at) for at in (midnight, noon) for severity in (1, 2, 3, 4)]
    assert used == [True, False, False, False, True, True, True, False]


def test_a_way_that_is_removed_is_forgotten_and_what_waits_for_it_is_not_sent(home: Called) -> None:
    way = mine(home.people["ada"])
    contacts.test(contact=way, actor=TEST)
    contacts.remove_contact(contact=way, actor=TEST)
    way.receiver.refresh_from_db()
    assert (way.receiver.address, bytes(way.receiver.secret)) == ("", b"")
    assert Message.objects.get().state == MessageState.CANCELLED
    with pytest.raises(IncidentError, match="removed before"):
        contacts.remove_contact(contact=way, actor=TEST)
