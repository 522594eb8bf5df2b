"""Who is told, how they begin and end it, and that their address is nowhere but where it is needed."""

import re
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from audit.models import AuditEvent
from incidents.errors import IncidentError
from incidents.models import StatusPage
from incidents.telling import subscribers
from incidents.telling.due import SOURCES
from incidents.telling.letters import letter, send
from incidents.telling.models import Kind, Message, MessageState, Subscriber, SubscriberState
from incidents.telling.tasks import forget_unconfirmed
from tests.incidents.telling.conftest import Letters
from tests.incidents.telling.made import TEST, Told, build

pytestmark = pytest.mark.django_db
READER = "reader@example.org"
SUBSCRIBE = "/status/services/subscribe/"


@pytest.fixture
def told(db: None) -> Told:
    return build()


def link(text: str) -> str:
    found = re.search(r"https://status\.example\.org(/status/\S+)", text)
    assert found
    return found[1]


def test_a_reader_is_told_only_after_following_the_link_of_the_letter(told: Told, letters: Letters) -> None:
    # given a reader who asked to be told
    stranger = Client(enforce_csrf_checks=True)
    page = stranger.get(SUBSCRIBE)
    typed = {"address": READER, "csrfmiddlewaretoken": page.context["csrf_token"]}
    assert b"Look into your mail" in stranger.post(SUBSCRIBE, typed).content
    told.post()
    message = told.only()
    # when the letter has come
    assert send(message).taken
    body = letters.taken[0].get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert letters.taken[0]["List-Unsubscribe"] is None
    # then looking at the link does nothing, and confirming it does
    assert Client().get(link(body)).status_code == 200
    assert Subscriber.objects.get().state == SubscriberState.PENDING
    assert Client().post(link(body)).status_code == 200
    assert Client().post(link(body)).status_code == 200
    assert Subscriber.objects.get().state == SubscriberState.ACTIVE
    told.post("We found it.")
    assert Message.objects.filter(post__text="We found it.").count() == 1
    assert AuditEvent.objects.filter(action="status.confirm_subscription").count() == 1


def test_who_asks_for_an_address_that_is_told_gets_the_same_answer_and_nothing_is_sent(told: Told) -> None:
    first = Client().post(SUBSCRIBE, {"address": READER})
    again = Client().post(SUBSCRIBE, {"address": READER.upper()})
    assert [first.status_code, again.status_code] == [200, 200]
    assert b"Look into your mail" in first.content
    assert b"Look into your mail" in again.content
    assert Message.objects.count() == 1


def test_one_click_ends_it_without_a_cookie_and_forgets_the_address(told: Told) -> None:
    one = told.subscriber(READER)
    told.post()
    mail = letter(told.only())
    headers = mail.extra_headers
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    place = headers["List-Unsubscribe"].strip("<>").partition("/status/")[2]
    stranger = Client(enforce_csrf_checks=True)
    assert stranger.get(f"/status/{place}").status_code == 200
    assert Subscriber.objects.get().state == SubscriberState.ACTIVE
    for _ in range(2):
        answer = stranger.post(f"/status/{place}", {"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
    one.refresh_from_db()
    assert (one.state, one.address) == (SubscriberState.ENDED, "")
    assert told.only().state == MessageState.CANCELLED
    assert AuditEvent.objects.filter(action="status.end_subscription").count() == 1


def test_who_lost_the_letter_is_sent_another_an_hour_later_and_not_before(told: Told) -> None:
    # given somebody who asked, and never confirmed
    Client().post(SUBSCRIBE, {"address": READER})
    first = Subscriber.objects.get()
    # when they ask again, at once and after an hour
    Client().post(SUBSCRIBE, {"address": READER})
    assert Message.objects.count() == 1
    Subscriber.objects.update(created_at=timezone.now() - subscribers.ASK_AGAIN_AFTER * 1.1)
    Client().post(SUBSCRIBE, {"address": READER})
    # then the second letter is another subscription's, and the first is forgotten
    first.refresh_from_db()
    assert (first.state, first.address) == (SubscriberState.ENDED, "")
    second = Subscriber.objects.exclude(pk=first.pk).get()
    assert (second.state, second.address) == (SubscriberState.PENDING, READER)
    assert Message.objects.filter(subscriber=second, state=MessageState.WAITING).count() == 1
    assert Message.objects.get(subscriber=first).state == MessageState.CANCELLED


def test_who_is_told_already_is_not_ended_by_asking_again(told: Told) -> None:
    told.subscriber(READER)
    Subscriber.objects.update(created_at=timezone.now() - subscribers.ASK_AGAIN_AFTER * 2)
    Client().post(SUBSCRIBE, {"address": READER})
    assert Subscriber.objects.get().state == SubscriberState.ACTIVE
    assert not Message.objects.exists()


def test_an_address_that_nobody_confirmed_in_time_is_forgotten_by_the_clock(told: Told) -> None:
    told.subscriber("told@example.org")
    subscribers.subscribe(page=told.page, address=READER, components=[])
    asked = Subscriber.objects.get(address=READER)
    source = next(one for one in SOURCES if one.task == "telling.forget_unconfirmed")
    assert source.ids(timezone.now()) == []
    assert not subscribers.forget_unconfirmed(subscriber_id=asked.pk)
    Subscriber.objects.update(created_at=timezone.now() - subscribers.FORGET_AFTER * 1.1)
    assert source.ids(timezone.now()) == [asked.pk]
    forget_unconfirmed(asked.pk)
    asked.refresh_from_db()
    assert (asked.state, asked.address) == (SubscriberState.ENDED, "")
    assert source.ids(timezone.now()) == []
    assert Subscriber.objects.filter(state=SubscriberState.ACTIVE).count() == 1


def test_where_no_mail_server_is_set_up_nobody_is_promised_a_letter_and_none_counts_as_taken(
    told: Told, settings: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    assert b"Be told by e-mail" in Client().get("/status/services/").content
    told.subscriber("told@example.org")
    told.post()
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert b"Be told by e-mail" not in Client().get("/status/services/").content
    shown = Client().get(SUBSCRIBE)
    assert b"sends no letters" in shown.content
    assert b"<form" not in shown.content
    assert Client().post(SUBSCRIBE, {"address": READER}).status_code == 400
    with pytest.raises(IncidentError, match="No mail server"):
        subscribers.subscribe(page=told.page, address=READER, components=[])
    assert not Subscriber.objects.filter(address=READER).exists()
    outcome = send(told.only())
    assert (outcome.taken, outcome.final) == (False, False)
    assert "told@example.org" not in capfd.readouterr().out


def test_abuse_a_link_that_was_made_up_shows_no_name_of_a_page_for_people_inside(told: Told) -> None:
    one = told.subscriber(READER)
    StatusPage.objects.update(public=False, name="Merger of the two offices")
    place = f"/status/services/unsubscribe/{subscribers.end_address(one).rstrip('/').rpartition('/')[2]}/"
    for made_up in ("/status/services/unsubscribe/x/", "/status/no-such-page/unsubscribe/x/"):
        for answer in (Client().get(made_up), Client().post(made_up)):
            assert answer.status_code == 410
            assert b"Merger" not in answer.content
    assert b"Merger" in Client().get(place).content


@pytest.mark.parametrize("verb", ["confirm", "unsubscribe"])
def test_a_link_that_was_changed_leads_nowhere(told: Told, verb: str) -> None:
    told.subscriber(READER)
    assert Client().post(f"/status/services/{verb}/abc:def:ghi/").status_code == 410
    assert Subscriber.objects.get().state == SubscriberState.ACTIVE


def test_a_letter_that_is_older_than_three_days_confirms_nothing(told: Told) -> None:
    subscribers.subscribe(page=told.page, address=READER, components=[])
    token = subscribers.confirm_address(Subscriber.objects.get()).rstrip("/").rpartition("/")[2]
    later = timezone.now() + subscribers.CONFIRM_WITHIN * 1.1
    with time_machine.travel(later, tick=False), pytest.raises(subscribers.NotTold, match="too old"):
        subscribers.confirm(token=token)
    assert Subscriber.objects.get().state == SubscriberState.PENDING


@pytest.mark.parametrize("typed", ["", "reader", "a@b", "a@example.org\r\nBcc: b@example.org"])
def test_what_is_no_address_is_refused(told: Told, typed: str) -> None:
    assert Client().post(SUBSCRIBE, {"address": typed}).status_code == 400
    assert not Subscriber.objects.exists()


def test_nobody_asks_for_letters_without_end(told: Told) -> None:
    answers = [Client().post(SUBSCRIBE, {"address": f"r{n}@example.org"}, REMOTE_ADDR="192.0.2.7") for n in range(22)]
    assert [answer.status_code for answer in answers][-2:] == [429, 429]
    assert Subscriber.objects.count() == 20


def test_no_address_stands_in_the_log_and_a_forgotten_one_stands_nowhere(told: Told) -> None:
    subscribers.subscribe(page=told.page, address=READER, components=[told.letters])
    subscribers.confirm(token=subscribers.confirm_address(Subscriber.objects.get()).rstrip("/").rpartition("/")[2])
    told.post()
    assert subscribers.forget(address=READER.upper(), actor=TEST, reason="They asked for it.") == 1
    assert subscribers.forget(address=READER, actor=TEST, reason="They asked for it.") == 0
    assert [bytes(event.canon) for event in AuditEvent.objects.all() if b"reader@" in bytes(event.canon).lower()] == []
    assert Subscriber.objects.get().address == ""
    with pytest.raises(ValueError, match="why"):
        subscribers.forget(address=READER, actor=TEST, reason=" ")


def test_who_follows_one_component_is_told_of_that_one_alone(told: Told) -> None:
    told.subscriber(READER, Kind.EMAIL, told.offers)
    told.subscriber("all@example.org")
    told.post("Of letters.")
    told.post("Of offers.", of=told.offers)
    sent = Message.objects.values_list("subscriber__address", "post__text")
    assert sorted(sent) == [
        ("all@example.org", "Of letters."),
        ("all@example.org", "Of offers."),
        (READER, "Of offers."),
    ]


@pytest.mark.parametrize("address", ["ftp://example.org/", "https://user:word@example.org/", "https://"])
def test_a_webhook_needs_an_address_that_can_be_called(told: Told, address: str) -> None:
    with pytest.raises(IncidentError):
        told.subscriber(address, Kind.WEBHOOK)
    assert not Subscriber.objects.exists()


def test_an_address_is_forgotten_on_all_pages_on_the_machine_itself(
    told: Told, capsys: pytest.CaptureFixture[str]
) -> None:
    told.subscriber(READER)
    call_command("forget_address", READER.upper(), "--reason", "They asked for it.")
    assert capsys.readouterr().out == "1 subscription ended.\n"
    assert Subscriber.objects.get().address == ""
    with pytest.raises(CommandError, match="why"):
        call_command("forget_address", READER, "--reason", " ")
