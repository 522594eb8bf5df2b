"""Deliveries that come together are read together, and it comes to the same as one by one."""

import json
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit.models import AuditEvent
from monitoring import intake
from monitoring.inbound import taking
from monitoring.inbound.models import Arrival
from monitoring.models import Alert, Delivery, DeliveryState
from monitoring.tasks import process
from tests.monitoring.inbound.test_taking import told

pytestmark = pytest.mark.django_db


def stored(*alerts: dict[str, Any], body: bytes = b"", sender: str = "town") -> str:
    """A message that nobody has read yet; returns its key."""
    delivery, _ = intake.take_webhook(
        source="alertmanager",
        sender=sender,
        key=uuid.uuid4().hex,
        body=body or json.dumps({"alerts": alerts, "version": "4"}).encode(),
        content_type="",
    )
    return str(delivery.pk)


def decisions(*deliveries: str) -> list[tuple[str, list[str]]]:
    """What the ledger says of each message and of its alerts."""
    arrivals = [Arrival.objects.get(delivery=one) for one in deliveries]
    return [(one.decision, sorted(one.alerts.values_list("decision", flat=True))) for one in arrivals]


def statements(deliveries: list[str]) -> int:
    with CaptureQueriesContext(connection) as asked:
        process(*deliveries)
    return len(asked)


def test_ten_messages_cost_little_more_statements_than_one() -> None:
    one = [stored(told("alone", 0))]
    ten = [stored(told(f"a{at}", 0), told(f"b{at}", 0)) for at in range(10)]

    alone, together = statements(one), statements(ten)

    # Each alert that fires is asked about by what may hold it back.
    assert together <= alone + 2 * len(ten)
    assert decisions(*ten) == [("new", ["new", "new"])] * 10
    assert set(Delivery.objects.values_list("state", "body")) == {("processed", None)}
    assert sorted(Delivery.objects.filter(pk__in=ten).values_list("rows", flat=True)) == [2] * 10
    assert AuditEvent.objects.filter(action="alert.fire").count() == 21


def test_an_alert_that_several_messages_tell_of_begins_ends_and_is_seen_again_in_their_order() -> None:
    messages = [
        stored(told("slow", 0), told("wrong", 0)),
        stored(told("slow", 0)),
        stored(told("slow", 0, end=5)),
        stored(told("wrong", 0), told("new", 1)),
    ]

    process(*messages)

    assert decisions(*messages) == [
        ("new", ["new", "new"]),
        ("duplicate", ["duplicate"]),
        ("resolved", ["resolved"]),
        ("new", ["duplicate", "new"]),
    ]
    assert dict(Alert.objects.values_list("labels__alertname", "state")) == {
        "slow": "resolved", "wrong": "firing", "new": "firing",
    }  # fmt: skip


def test_what_is_wrong_with_one_message_keeps_no_other() -> None:
    damaged = stored(body=b'{"version": "4", "alerts": 7}')
    partly = stored(told("odd", 0), {"labels": 7})
    good = [stored(told("slow", 0)), stored(told("wrong", 0))]

    process(good[0], damaged, partly, good[1])

    assert decisions(*good) == [("new", ["new"])] * 2
    assert decisions(damaged) == [("unreadable", [])]
    assert decisions(partly) == [("new", ["new"])]
    assert Delivery.objects.get(pk=damaged).state == DeliveryState.UNPARSEABLE


def test_where_reading_them_together_fails_each_is_read_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = [stored(told("slow", 0)), stored(told("wrong", 0))]
    alone = taking.take_each

    def only_one(given: Any) -> Any:
        if len(given) > 1:
            raise RuntimeError("too many")
        return alone(given)

    monkeypatch.setattr(taking, "take_each", only_one)
    process(*messages)

    assert decisions(*messages) == [("new", ["new"])] * 2
    assert Alert.objects.count() == 2


def test_messages_that_were_read_before_are_not_read_again() -> None:
    messages = [stored(told("slow", 0)), stored(told("wrong", 0))]
    process(*messages)

    process(*messages)

    assert decisions(*messages) == [("new", ["new"])] * 2
    assert Alert.objects.count() == 2
