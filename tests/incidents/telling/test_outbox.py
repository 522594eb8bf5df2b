"""Each message goes out once, signed or with its headers, is tried again where it was not taken, holds up nobody."""

import base64
import hashlib
import hmac
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from audit.clock import database_now
from audit.models import AuditEvent
from incidents.errors import IncidentError
from incidents.telling import carry, outbox, subscribers
from incidents.telling.due import waiting_messages
from incidents.telling.letters import send
from incidents.telling.models import Attempt, Kind, Message, MessageState, Subscriber, SubscriberState
from tests.incidents.telling.conftest import Letters, Receiver
from tests.incidents.telling.made import TEST, Told, build
from tests.waiting import until


@pytest.fixture
def told(db: None) -> Told:
    return build()


def one_attempt(message: Message) -> Message:
    """As the carrier does it, in this test's own transaction."""
    message.refresh_from_db()
    carry._keep(message, send(message), 1)
    message.refresh_from_db()
    return message


def test_a_letter_has_the_headers_of_lists_and_one_id(told: Told, letters: Letters) -> None:
    told.subscriber("reader@example.org")
    told.post("Letters stop\nuntil noon.")
    message = one_attempt(told.only())
    assert message.state == MessageState.SENT
    mail = letters.taken[0]
    assert mail["Subject"] == "Services: Investigating: Letters"
    assert mail["Message-ID"] == f"<{message.pk}@status.example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Unsubscribe"].strip().startswith("<https://status.example.org/status/services/unsubscribe/")
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "until noon." in mail.get_payload(decode=True).decode()  # type: ignore[union-attr]


def test_a_mail_server_that_knows_nobody_of_that_name_is_asked_once_and_its_answer_names_nobody(
    told: Told, letters: Letters
) -> None:
    told.subscriber("nobody@example.org")
    told.post()
    message = one_attempt(told.only())
    assert message.state == MessageState.GIVEN_UP
    answer = Attempt.objects.get().answer
    assert answer.startswith("550")
    assert "nobody" not in answer


def test_a_webhook_can_tell_that_it_comes_from_here_and_reads_statuspages_shape(told: Told, receiver: Receiver) -> None:
    made, secret = subscribers.add_webhook(page=told.page, address=f"{receiver.url}/in", components=[], actor=TEST)
    told.post()
    message = one_attempt(told.only())
    called = receiver.taken[0]
    said = f"{called.headers['webhook-id']}.{called.headers['webhook-timestamp']}.".encode() + called.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    proof = base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()
    assert called.headers["webhook-signature"] == f"v1,{proof}"
    assert called.headers["webhook-id"] == str(message.pk)
    assert called.json["type"] == "status.incident"
    assert called.json["page"] == {
        "id": "services", "status_indicator": "major", "status_description": "Part of it does not work",
    }  # fmt: skip
    assert called.json["incident"]["incident_updates"][0]["body"] == "We look into it."
    assert called.json["components"][0]["status"] == "partial_outage"
    assert secret.encode() not in bytes(Subscriber.objects.get(pk=made.pk).secret)


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
def test_what_is_not_taken_is_tried_again_later_under_the_same_id_and_given_up_at_last(
    told: Told, receiver: Receiver, status: int
) -> None:
    told.subscriber(receiver.url, Kind.WEBHOOK)
    told.post()
    receiver.status = status
    message = one_attempt(told.only())
    assert message.state == MessageState.WAITING
    assert message.next_try_at > database_now()
    assert waiting_messages(database_now()) == []
    assert waiting_messages(database_now() + timedelta(seconds=carry.WAITS[0] + 1)) == [0]
    for _ in carry.WAITS:
        message = one_attempt(message)
    assert (message.state, message.attempts) == (MessageState.GIVEN_UP, len(carry.WAITS) + 1)
    assert {called.headers["webhook-id"] for called in receiver.taken} == {str(message.pk)}
    assert set(Attempt.objects.values_list("answer", flat=True)) == {str(status)}


def test_a_receiver_that_asks_for_time_gets_it_and_one_that_is_gone_is_told_no_more(
    told: Told, receiver: Receiver
) -> None:
    one = told.subscriber(receiver.url, Kind.WEBHOOK)
    told.post()
    receiver.status, receiver.headers = 503, {"Retry-After": "900"}
    message = one_attempt(told.only())
    assert message.next_try_at > database_now() + timedelta(seconds=890)
    receiver.status, receiver.headers = 410, {}
    one_attempt(message)
    one.refresh_from_db()
    assert (one.state, one.address) == (SubscriberState.ENDED, "")


def test_abuse_a_webhook_at_an_address_inside_is_not_called(told: Told, receiver: Receiver, settings: Any) -> None:
    settings.LASTGOOD_TELLING_NETWORKS = ["public"]
    told.subscriber(receiver.url, Kind.WEBHOOK)
    told.post()
    one_attempt(told.only())
    assert receiver.taken == []
    assert "none of the allowed networks" in Attempt.objects.get().answer


def test_a_message_is_there_once_for_what_it_tells_to_whom(told: Told) -> None:
    told.subscriber("reader@example.org")
    post = told.post()
    outbox.tell(post)
    outbox.tell(post)
    assert Message.objects.count() == 1


def test_what_was_taken_can_be_sent_again_with_a_reason_and_what_waits_can_not(told: Told, receiver: Receiver) -> None:
    told.subscriber(receiver.url, Kind.WEBHOOK)
    told.post()
    message = told.only()
    with pytest.raises(IncidentError):
        outbox.replay(message=message, actor=TEST, reason="They lost it.")
    message = one_attempt(message)
    with pytest.raises(IncidentError, match="why"):
        outbox.replay(message=message, actor=TEST, reason="")
    outbox.replay(message=message, actor=TEST, reason="They lost it.")
    one_attempt(message)
    assert [called.headers["webhook-id"] for called in receiver.taken] == [str(message.pk)] * 2
    assert AuditEvent.objects.filter(action="status.replay_message").count() == 1


def test_a_slow_receiver_keeps_nobody_waiting_and_each_is_told_in_order(committed_db: Any, receiver: Receiver) -> None:
    # given one receiver that answers nobody, and others, each with two messages
    told = build()
    receiver.hold = threading.Event()
    for place in ("/slow", "/a", "/b", "/c"):
        told.subscriber(receiver.url + place, Kind.WEBHOOK)
    told.post("First.")
    told.post("Second.")
    # when two carriers are sent for at once
    carriers = [threading.Thread(target=carry.carry) for _ in range(2)]
    for one in carriers:
        one.start()
    # then the others have both, while the slow one has none
    until(lambda: Message.objects.filter(state=MessageState.SENT).count() == 6, seconds=30)
    assert {called.path for called in receiver.taken} == {"/a", "/b", "/c"}
    receiver.hold.set()
    for one in carriers:
        one.join(30)
    assert Message.objects.filter(state=MessageState.SENT).count() == 8
    assert len(receiver.taken) == 8
    for place in ("/slow", "/a", "/b", "/c"):
        texts = [one.json["incident"]["incident_updates"][0]["body"] for one in receiver.taken if one.path == place]
        assert len(texts) == 2
    ids = [one.headers["webhook-id"] for one in receiver.taken if one.path == "/a"]
    first = Message.objects.get(subscriber__address=f"{receiver.url}/a", post__text="First.")
    assert ids[0] == str(first.pk)


@pytest.mark.django_db
def test_who_died_with_a_claim_holds_it_no_longer_than_a_minute(told: Told) -> None:
    told.subscriber("reader@example.org")
    told.post()
    assert waiting_messages(database_now()) == [0]
    Subscriber.objects.update(busy_until=F("busy_until") + carry.CLAIM)
    assert waiting_messages(database_now()) == []
    assert waiting_messages(database_now() + carry.CLAIM) == [0]
