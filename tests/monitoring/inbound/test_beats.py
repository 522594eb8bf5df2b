"""The synthetic alert: the whole path, and nothing left of it; and when it is not well."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F
from django.test import Client

from audit.clock import database_now
from audit.models import AuditEvent
from incidents import intake as deciding
from incidents.models import Incident
from monitoring import intake, sources, webhooks
from monitoring.inbound import beats
from monitoring.inbound.models import Arrival, Beat
from monitoring.models import Alert, Delivery
from tests.accounts.people import person
from tests.accounts.test_approval_pages import browser

ADDRESS = f"/api/v1/ingest/json/{beats.SENDER}/"


@pytest.fixture
def number(db: Any, settings: Any) -> int:
    """The span in which we are; its length is the usual minute."""
    settings.LASTGOOD_BEAT_SECONDS = 60
    return beats.due(database_now())[0]


class Door:
    """Takes what `send` posts to the public address to the application, without a socket."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status_code = 0
        monkeypatch.setattr(beats.httpx, "post", self.post)

    def post(self, address: str, *, content: bytes, headers: dict[str, str], timeout: float) -> "Door":
        assert address.endswith(ADDRESS)
        named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}
        answer = Client().post(ADDRESS, content, content_type="application/json", **named)
        self.status_code = answer.status_code
        return self


def test_it_goes_the_whole_path_and_leaves_neither_alert_nor_incident_nor_event(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(monkeypatch)
    before = AuditEvent.objects.count()
    assert beats.standing().ok is False
    # when it is sent, read and decided
    assert beats.send(number=number)
    assert not beats.send(number=number)
    assert door.status_code == 202
    delivery = Delivery.objects.get()
    intake.process(delivery.pk)
    assert beats.standing().ok is False
    deciding.take_beat(number=number)
    # then alerts come through
    standing = beats.standing()
    assert standing.ok is True
    assert standing.sentence.startswith("Alerts come through: the synthetic one of ")
    assert Arrival.objects.get().decision == "synthetic"
    assert (Alert.objects.count(), Incident.objects.count(), AuditEvent.objects.count()) == (0, 0, before)
    assert beats.due(database_now()) == [] or beats.due(database_now())[0] > number


def aged(seconds: float) -> None:
    Beat.objects.update(sent_at=F("sent_at") - timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("fields", "age", "says"),
    [
        ({"error": "http://x does not answer: ConnectError."}, 30, "http://x does not answer: ConnectError."),
        ({}, 30, "the last was not read; look at the worker and its queue."),
        ({"read_at": "now"}, 30, "the last was read and not decided"),
        ({}, 600, "none was sent after"),
    ],
)
def test_it_says_where_it_is_stuck_once_none_has_come_through_for_three_spans(
    number: int, fields: dict[str, str], age: float, says: str
) -> None:
    Beat.objects.create(number=1, decided_at=database_now())
    aged(175)
    assert beats.standing().ok is True
    aged(10)
    Beat.objects.create(
        number=2, **{name: database_now() if value == "now" else value for name, value in fields.items()}
    )
    Beat.objects.filter(number=2).update(sent_at=database_now() - timedelta(seconds=age))
    if age > 180:
        Beat.objects.filter(number=1).update(sent_at=database_now() - timedelta(seconds=age + 60))
    standing = beats.standing()
    assert standing.ok is False
    assert says in standing.sentence
    page = browser(person("view", "viewer")).get("/monitoring/arrivals/").content.decode()
    assert "Alerts may not come through." in page


def test_an_address_that_does_not_answer_is_remembered(number: int, settings: Any) -> None:
    settings.LASTGOOD_PUBLIC_URL = "http://127.0.0.1:9"
    assert beats.send(number=number)
    assert Beat.objects.get().error == "http://127.0.0.1:9 does not answer: ConnectError."


def test_a_span_that_is_over_is_not_sent(number: int) -> None:
    assert not beats.send(number=number - 2)
    assert not Beat.objects.exists()


def test_nobody_else_sends_under_its_name(number: int, client: Client) -> None:
    body = json.dumps({"id": "beat-1", "summary": "x"}).encode()
    unsigned = client.post(ADDRESS, body, content_type="application/json")
    assert unsigned.status_code == 401
    stamp = int(time.time())
    wrong = webhooks.sign(sources.STAND_IN, "beat-1", stamp, body)
    headers = {"webhook-id": "beat-1", "webhook-timestamp": str(stamp), "webhook-signature": wrong}
    assert client.post(ADDRESS, body, content_type="application/json", headers=headers).status_code == 401
    with pytest.raises(sources.SourceError, match="Choose another"):
        sources.create_source(name=beats.SENDER, actor=sources.ANONYMOUS)
    assert not Delivery.objects.exists()


def test_what_is_a_day_old_goes_with_what_was_stored_of_it(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    Door(monkeypatch)
    beats.send(number=number)
    intake.process(Delivery.objects.get().pk)
    aged(90_000)
    beats.forget()
    assert (Beat.objects.count(), Arrival.objects.count(), Delivery.objects.count()) == (0, 0, 0)


def test_switched_off_it_is_neither_well_nor_not(db: Any, settings: Any) -> None:
    settings.LASTGOOD_BEAT_SECONDS = 0
    assert beats.due(database_now()) == []
    assert beats.standing().ok is None


def test_readyz_and_the_figures_tell_whether_alerts_come_through(number: int, client: Client) -> None:
    assert client.get("/readyz").json()["intake"] == "no alert comes through; see what senders of alerts sent"
    Beat.objects.create(number=1, decided_at=database_now())
    aged(20)
    assert client.get("/readyz").json()["intake"] == "ok"
    figures = client.get("/metrics").content.decode()
    assert 'lastgood_ready{part="intake"} 1.0' in figures
    [age] = [line for line in figures.splitlines() if line.startswith("lastgood_synthetic_alert_age_seconds ")]
    assert 20 <= float(age.split()[1]) < 60
