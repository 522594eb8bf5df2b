"""Told twice, late, out of order or at once: it comes to the same, and what fires is known to fire."""

import itertools
import json
import random
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring import intake
from monitoring.inbound.models import Arrival, ArrivalAlert, Decision
from monitoring.models import Alert, Delivery

START = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)
ZERO = "0001-01-01T00:00:00Z"


def at(minute: float) -> str:
    return (START + timedelta(minutes=minute)).isoformat()


def told(name: str, start: float, end: float | None = None) -> dict[str, Any]:
    return {
        "status": "firing" if end is None else "resolved",
        "labels": {"alertname": name},
        "annotations": {},
        "startsAt": at(start),
        "endsAt": ZERO if end is None else at(end),
        "fingerprint": name,
    }


def deliver(sender: str, *alerts: dict[str, Any], received: float = 20, source: str = "alertmanager") -> Delivery:
    """A message as it came in at that minute, read at once."""
    body = json.dumps({"alerts": alerts, "version": "4"}).encode()
    moment = START + timedelta(minutes=received)
    delivery, _ = intake.take_webhook(
        source=source, sender=sender, key=uuid.uuid4().hex, body=body, content_type="", received_at=moment
    )
    intake.process(delivery.pk)
    return delivery


def event(sender: str, action: str, received: float) -> None:
    payload = {"summary": "s", "source": "x", "severity": "error"}
    body = json.dumps({"event_action": action, "dedup_key": "k", "payload": payload}).encode()
    moment = START + timedelta(minutes=received)
    delivery, _ = intake.take_webhook(
        source="pagerduty", sender=sender, key="", body=body, content_type="", received_at=moment
    )
    intake.process(delivery.pk)


def firing(sender: str) -> list[datetime]:
    return list(Alert.objects.filter(delivery__sender=sender, state="firing").values_list("started_at", flat=True))


@pytest.mark.django_db
@settings(max_examples=20)
@given(data=st.data())
def test_any_order_and_number_of_repetitions_comes_to_the_same(data: st.DataObject) -> None:
    """Some spans in which an alert fired, of which the last may go on; each message comes at least once, in any order,
    in deliveries of any size."""
    spans = data.draw(st.integers(1, 3))
    open_end = data.draw(st.booleans())
    messages = [told("a", 10 * number) for number in range(spans)]
    messages += [told("a", 10 * number, 10 * number + 5) for number in range(spans - open_end)]
    often = [message for message in messages for _ in range(data.draw(st.integers(1, 2)))]
    order = data.draw(st.permutations(often))
    sender = uuid.uuid4().hex
    while order:
        size = data.draw(st.integers(1, len(order)))
        deliver(sender, *order[:size], received=40)
        order = order[size:]

    assert firing(sender) == ([START + timedelta(minutes=10 * (spans - 1))] if open_end else [])
    ended = Alert.objects.filter(delivery__sender=sender, state="resolved")
    assert not ended.filter(started_at__gt=START + timedelta(minutes=10 * (spans - 1 - open_end))).exists()
    assert Arrival.objects.filter(sender=sender, decision=Decision.WAITING).count() == 0


@pytest.mark.django_db
def test_an_alert_that_fires_anew_fires_in_whatever_order_it_is_told() -> None:
    """Each order of: it fires, it has ended, it fires again; one delivery for each."""
    messages = [told("a", 0), told("a", 0, 5), told("a", 10)]
    for order in itertools.permutations(messages):
        sender = uuid.uuid4().hex
        for message in order:
            deliver(sender, message)

        assert firing(sender) == [START + timedelta(minutes=10)], [message["startsAt"] for message in order]


@pytest.mark.django_db
@settings(max_examples=20)
@given(data=st.data())
def test_events_without_times_count_in_the_order_in_which_they_came(data: st.DataObject) -> None:
    """Read in any order, they come to what the last one said."""
    actions = data.draw(st.lists(st.sampled_from(["trigger", "resolve"]), min_size=1, max_size=5))
    sender = uuid.uuid4().hex
    for minute, action in data.draw(st.permutations(list(enumerate(actions)))):
        event(sender, action, minute)

    assert bool(firing(sender)) == (actions[-1] == "trigger")


@pytest.mark.django_db
def test_resolved_before_firing_opens_nothing() -> None:
    deliver("am", told("a", 0, 5))
    deliver("am", told("a", 0))

    assert firing("am") == []
    assert list(ArrivalAlert.objects.order_by("pk").values_list("decision", flat=True)) == ["over", "over"]


@pytest.mark.django_db
def test_firing_after_it_ended_is_a_new_alert_even_with_the_same_start() -> None:
    """Prometheus keeps the start over a restart, in which Alertmanager had ended the alert."""
    deliver("am", told("a", 0), received=1)
    deliver("am", told("a", 0, 5), received=6)
    deliver("am", told("a", 0), received=7)
    assert firing("am") == []

    deliver("am", told("a", 0), received=30)

    assert firing("am") == [START + timedelta(minutes=5, microseconds=1)]
    deliver("am", told("a", 0, 40), received=41)
    assert firing("am") == []


@pytest.mark.django_db
def test_a_trigger_with_the_same_words_after_a_resolve_is_news() -> None:
    for minute, action in enumerate(["trigger", "resolve", "trigger"]):
        event("pd", action, minute)

    assert firing("pd") == [START + timedelta(minutes=2)]
    assert Delivery.objects.filter(sender="pd").count() == 3


@pytest.mark.django_db
def test_the_same_message_is_seen_again_and_after_a_while_it_is_read_again() -> None:
    body = json.dumps({"alerts": [told("a", 0)], "version": "4"}).encode()

    def send(minute: float) -> bool:
        moment = START + timedelta(minutes=minute)
        given = {"source": "alertmanager", "sender": "am", "key": "", "body": body, "content_type": ""}
        delivery, created = intake.take_webhook(**given, received_at=moment)
        intake.process(delivery.pk)
        return created

    assert [send(0), send(1), send(20), send(21)] == [True, False, True, False]
    assert Alert.objects.get().last_seen_at > START + timedelta(minutes=19)
    decisions = Arrival.objects.order_by("pk").values_list("decision", flat=True)
    assert list(decisions) == ["new", "duplicate", "duplicate", "duplicate"]


@pytest.mark.django_db
def test_an_acknowledgement_changes_nothing_and_is_told() -> None:
    event("pd", "acknowledge", 0)
    event("pd", "trigger", 1)
    event("pd", "acknowledge", 2)

    assert list(Arrival.objects.order_by("pk").values_list("decision", flat=True)) == ["over", "new", "acknowledged"]
    assert len(firing("pd")) == 1


def test_at_once_firing_and_resolved_of_many_come_to_the_same(committed_db: Any) -> None:
    """Eight threads bring both messages of the same alerts, in other orders."""
    names = [f"a{number}" for number in range(4)]
    start = threading.Barrier(8)

    def bring(seed: int) -> None:
        mixed = [told(name, 0) for name in names] + [told(name, 0, 5) for name in names]
        random.Random(seed).shuffle(mixed)
        start.wait()
        for half in (mixed[:4], mixed[4:]):
            deliver("am", *half)
        connections.close_all()

    threads = [threading.Thread(target=bring, args=[seed]) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(Alert.objects.values_list("state", flat=True)) == ["resolved"] * 4
    assert not Delivery.objects.exclude(state="processed").exists()
