"""Each message goes out once, signed or with its headers, is tried again where it was not taken, holds up nobody."""

import base64
import hashlib
import hmac
import smtplib
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from audit.clock import database_now
from audit.models import AuditEvent
from incidents import status
from incidents.errors import IncidentError
from incidents.models import StatusPage
from incidents.telling import carry, outbox, subscribers, tasks
from incidents.telling.due import waiting_messages
from incidents.telling.letters import Outcome, send
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


def test_what_fails_as_nobody_foresaw_is_an_attempt_and_given_up_in_the_end(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("ok")

    monkeypatch.setattr(EmailMessage, "send", fail)
    told.subscriber("reader@example.org")
    told.post()
    message = told.only()
    for _ in range(len(carry.WAITS) + 1):
        carry._keep(message, carry._sent(message), 1)
        message.refresh_from_db()
    assert message.state == MessageState.GIVEN_UP
    assert {attempt.answer for attempt in Attempt.objects.all()} == {"It could not be sent: KeyError."}


def test_a_receiver_whom_this_process_still_serves_is_not_claimed_again(told: Told) -> None:
    made = told.subscriber("reader@example.org")
    told.post()
    assert carry._claimed(Kind.EMAIL, 4, besides=[made.pk]) == []
    assert [message.subscriber_id for message in carry._claimed(Kind.EMAIL, 4)] == [made.pk]


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


def test_a_page_that_is_public_no_more_sends_no_letters_not_even_those_that_wait(told: Told, letters: Letters) -> None:
    # given a reader of a public page, and a letter that waits for them
    told.subscriber("reader@example.org")
    told.post("For everybody.")
    waiting = told.only()
    # when the page is for signed-in people from now on
    status.edit_page(page=told.page, actor=TEST, seen_version=StatusPage.objects.get().version, public=False)
    told.post("For ourselves.")
    # then no letter is made, and the one that waits is not sent
    assert told.only().pk == waiting.pk
    message = one_attempt(told.only())
    assert (message.state, letters.taken) == (MessageState.GIVEN_UP, [])
    assert Attempt.objects.get().answer == "The page is not for everybody any more."


def test_a_webhook_of_an_administrator_is_told_of_a_page_that_is_not_public(told: Told) -> None:
    told.subscriber("https://example.org/in", Kind.WEBHOOK)
    status.edit_page(page=told.page, actor=TEST, seen_version=StatusPage.objects.get().version, public=False)
    told.post("For ourselves.")
    assert told.only().subscriber.kind == Kind.WEBHOOK


@pytest.mark.parametrize(
    ("refusal", "state"),
    [
        (smtplib.SMTPAuthenticationError(535, b"5.7.8 authentication failed"), MessageState.WAITING),
        (smtplib.SMTPConnectError(554, b"no service here"), MessageState.WAITING),
        (smtplib.SMTPHeloError(550, b"we do not know you"), MessageState.WAITING),
        (smtplib.SMTPSenderRefused(550, b"not from there", "status@example.org"), MessageState.WAITING),
        (smtplib.SMTPDataError(451, b"later"), MessageState.WAITING),
        (smtplib.SMTPDataError(554, b"we want no such letters"), MessageState.GIVEN_UP),
    ],
)
def test_a_letter_waits_while_the_mail_server_refuses_us_and_is_given_up_where_it_refuses_the_letter(
    told: Told, monkeypatch: pytest.MonkeyPatch, refusal: smtplib.SMTPResponseException, state: str
) -> None:
    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(EmailMessage, "send", refuse)
    told.subscriber("reader@example.org")
    told.post()
    assert one_attempt(told.only()).state == state
    assert Attempt.objects.get().answer.startswith(str(refusal.smtp_code))


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


@pytest.mark.parametrize("code", [302, 400, 429, 500, 503])
def test_what_is_not_taken_is_tried_again_later_under_the_same_id_and_given_up_at_last(
    told: Told, receiver: Receiver, code: int
) -> None:
    told.subscriber(receiver.url, Kind.WEBHOOK)
    told.post()
    receiver.status = code
    message = one_attempt(told.only())
    assert message.state == MessageState.WAITING
    assert message.next_try_at > database_now()
    assert waiting_messages(database_now()) == []
    assert waiting_messages(database_now() + timedelta(seconds=carry.WAITS[0] + 1)) == [0]
    for _ in carry.WAITS:
        message = one_attempt(message)
    assert (message.state, message.attempts) == (MessageState.GIVEN_UP, len(carry.WAITS) + 1)
    assert {called.headers["webhook-id"] for called in receiver.taken} == {str(message.pk)}
    assert set(Attempt.objects.values_list("answer", flat=True)) == {str(code)}


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
    answer = Attempt.objects.get().answer
    assert "none of the allowed networks" in answer
    assert "LASTGOOD_TELLING_NETWORKS" in answer
    assert "LASTGOOD_HOST_NETWORKS" not in answer


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


def test_a_pass_that_ended_with_messages_left_sees_to_the_next_by_itself(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(tasks, "send", lambda *given: asked.append(given))
    told.subscriber("reader@example.org")
    told.post()
    monkeypatch.setattr(carry, "carry", lambda: 0)
    tasks.carry_messages(0)
    assert asked == []
    monkeypatch.setattr(carry, "carry", lambda: 1)
    tasks.carry_messages(0)
    assert asked == [("telling.carry", [0], "intake")]
    Message.objects.update(state=MessageState.SENT)
    tasks.carry_messages(0)
    assert len(asked) == 1


def test_what_is_kept_of_an_attempt_takes_its_rows_in_the_order_of_whoever_ends_a_subscription(told: Told) -> None:
    told.subscriber("reader@example.org")
    told.post()
    orders = []
    for act in (
        lambda: carry._keep(told.only(), Outcome(taken=True, answer="250"), 1),
        lambda: subscribers.end(subscriber=Subscriber.objects.get(), how="link"),
    ):
        with CaptureQueriesContext(connection) as asked:
            act()
        orders.append([one["sql"].split('"')[1] for one in asked if one["sql"].startswith("UPDATE")][:2])
    assert orders == [["telling_subscriber", "telling_message"]] * 2


def test_who_died_with_a_claim_holds_it_no_longer_than_a_minute(told: Told) -> None:
    told.subscriber("reader@example.org")
    told.post()
    assert waiting_messages(database_now()) == [0]
    Subscriber.objects.update(busy_until=F("busy_until") + carry.CLAIM)
    assert waiting_messages(database_now()) == []
    assert waiting_messages(database_now() + carry.CLAIM) == [0]
