"""What senders of alerts are answered, with the database and without it, and that nothing of it is lost."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client

from accounts.models import ApiToken
from monitoring import intake
from monitoring.inbound import known, spool
from monitoring.inbound.draining import due_files, take_spooled
from monitoring.inbound.entrance import WebhookView
from monitoring.inbound.models import Arrival
from monitoring.inbound.queries import senders
from monitoring.models import Alert, Delivery, DeliveryState
from monitoring.sources import create_source, end_source
from monitoring.webhooks import routing_key, sign_as_grafana
from tests.api.programs import SETUP, problem_of
from tests.monitoring.inbound.test_formats import GRAFANA, MIXED, TRIGGER
from tests.monitoring.world import ingest_token

Post = Callable[..., Any]
PLAIN = b'{"id": "a1", "summary": "Fraud is slow"}'


@pytest.fixture(autouse=True)
def own_disk(tmp_path: Path, settings: Any) -> None:
    settings.LASTGOOD_VAR = tmp_path
    cache.clear()
    known._written = 0.0


def post(source: str, body: bytes, sender: str = "town", **headers: str) -> Any:
    url = f"/api/v1/ingest/{source}/{sender}/" + ("v2/enqueue" if source == "pagerduty" else "")
    return Client().post(url, body, content_type="application/json", headers=headers)


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {ingest_token()}"}


def by_grafana(secret: str, body: bytes = GRAFANA, stamp: str = "") -> dict[str, str]:
    headers = {"X-Grafana-Alerting-Signature": sign_as_grafana(secret, body, stamp)}
    return headers | ({"X-Grafana-Alerting-Timestamp": stamp} if stamp else {})


def read_all() -> None:
    for delivery in Delivery.objects.filter(state=DeliveryState.STORED):
        intake.process(delivery.pk)


def without_database(*args: Any, **given: Any) -> None:
    raise OperationalError("the server is gone")


@contextmanager
def database_away(port: int) -> Iterator[None]:
    there = connection.settings_dict["PORT"]
    connection.close()
    connection.settings_dict["PORT"] = str(port)
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["PORT"] = there


@pytest.mark.django_db
@pytest.mark.parametrize("stamped", [False, True])
def test_grafana_signs_over_the_body_or_over_the_time_and_the_body(stamped: bool) -> None:
    _, secret = create_source(name="town", actor=SETUP)
    stamp = str(int(time.time())) if stamped else ""

    assert post("grafana", GRAFANA, **by_grafana(secret, stamp=stamp)).status_code == 202
    assert post("grafana", GRAFANA + b" ", **by_grafana(secret, stamp=stamp)).status_code == 401
    assert post("grafana", GRAFANA, sender="other", **by_grafana(secret, stamp=stamp)).status_code == 401
    assert post("grafana", GRAFANA, **by_grafana(secret, stamp="1")).status_code == 401

    read_all()
    assert sorted(Alert.objects.values_list("source", "state")) == [("grafana", "firing"), ("grafana", "resolved")]
    refused = Arrival.objects.filter(decision="refused")
    assert sorted(refused.values_list("sender", flat=True)) == ["town", "town", "unknown"]
    assert "not that of this sender" in refused.filter(sender="unknown").get().why


@pytest.mark.django_db
def test_grafana_may_put() -> None:
    headers = bearer()
    url = "/api/v1/ingest/grafana/town/"
    answer = Client().put(url, GRAFANA, content_type="application/json", headers=headers)
    assert answer.status_code == 202


@pytest.mark.django_db
def test_an_event_of_pagerduty_is_answered_as_pagerduty_answers() -> None:
    _, secret = create_source(name="town", actor=SETUP)
    event = TRIGGER | {"routing_key": routing_key(secret)}
    unnamed = {name: value for name, value in event.items() if name != "dedup_key"}

    answer = post("pagerduty", json.dumps(event).encode())
    other = post("pagerduty", json.dumps(unnamed).encode())

    assert (answer.status_code, answer.json()) == (
        202,
        {"status": "success", "message": "Event processed", "dedup_key": "fraud/latency"},
    )
    read_all()
    end = {"routing_key": routing_key(secret), "event_action": "resolve", "dedup_key": other.json()["dedup_key"]}
    assert post("pagerduty", json.dumps(end).encode()).status_code == 202
    read_all()
    assert sorted(Alert.objects.values_list("state", flat=True)) == ["firing", "resolved"]
    problem_of(post("pagerduty", json.dumps(TRIGGER).encode()), 401, "authentication-failed")
    problem_of(post("pagerduty", json.dumps(event | {"payload": {}}).encode()), 400, "parse-error")
    assert Arrival.objects.filter(decision="refused").count() == 2


@pytest.mark.django_db
def test_what_is_too_large_or_unauthenticated_is_entered_and_not_kept(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    headers = bearer()

    assert post("json", b'{"summary": "' + b"x" * 1000 + b'"}', **headers).status_code == 413
    assert post("json", PLAIN).status_code == 401

    assert not Delivery.objects.exists()
    assert [arrival.decision for arrival in Arrival.objects.all()] == ["refused", "refused"]


@pytest.mark.django_db
@pytest.mark.parametrize("body", [b"{", PLAIN + b" "])
def test_a_key_that_came_before_with_another_body_is_refused_whether_that_can_be_read_or_not(body: bytes) -> None:
    headers = bearer() | {"Idempotency-Key": "k1"}
    assert post("json", PLAIN, **headers).status_code == 202

    problem_of(post("json", body, **headers), 409, "key-reused")

    assert Delivery.objects.get().size == len(PLAIN)
    assert Arrival.objects.order_by("pk").last().decision == "refused"  # type: ignore[union-attr]


@pytest.mark.django_db
def test_a_refused_message_is_entered_under_a_name_that_is_somebody_s(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    create_source(name="signs", actor=SETUP)
    headers = bearer()
    assert post("json", PLAIN, sender="has-sent", **headers).status_code == 202
    large = b'{"summary": "' + b"x" * 1000 + b'"}'

    for name in ("signs", "has-sent", "made-up-1", "made-up-2"):
        assert post("json", PLAIN, sender=name).status_code == 401
    assert post("json", large, sender="made-up-3", **{"Webhook-Signature": "v1,x"}).status_code == 413
    assert post("json", large, sender="has-a-token", **headers).status_code == 413

    refused = Arrival.objects.filter(decision="refused").order_by("pk")
    assert list(refused.values_list("sender", flat=True)) == [
        "signs", "has-sent", "unknown", "unknown", "unknown", "has-a-token",
    ]  # fmt: skip
    assert senders() == ["has-a-token", "has-sent", "signs", "unknown"]


@pytest.mark.django_db
def test_strangers_do_not_fill_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.throttles.FAILURES", 2)

    assert [post("json", PLAIN).status_code for _ in range(4)] == [401, 401, 429, 429]
    assert Arrival.objects.count() == 2


def test_without_the_database_alertmanager_is_told_to_come_back_and_grafana_is_kept_on_disk(
    committed_db: Any, free_port: Callable[[], int]
) -> None:
    _, secret = create_source(name="signs", actor=SETUP)
    headers = bearer()
    assert post("json", b'{"id": "before", "summary": "x"}', **headers).status_code == 202

    with database_away(free_port()):
        answers = {
            "alertmanager": post("alertmanager", MIXED, **headers),
            "pagerduty": post("pagerduty", json.dumps(TRIGGER).encode(), **headers),
            "grafana": post("grafana", GRAFANA, sender="signs", **by_grafana(secret)),
            "json": post("json", PLAIN, **headers),
            "forged": post("grafana", GRAFANA, sender="signs", **by_grafana("whsec_x")),
            "unsigned": post("grafana", GRAFANA, sender="signs", **headers),
            "unknown": post("json", PLAIN, Authorization="Bearer lg_0123abcd_" + "x" * 32),
        }

    codes = {name: answer.status_code for name, answer in answers.items()}
    assert codes == {
        "alertmanager": 503, "pagerduty": 503, "grafana": 202, "json": 202, "forged": 401, "unsigned": 503,
        "unknown": 503,
    }  # fmt: skip
    assert int(answers["alertmanager"]["Retry-After"]) > 0
    names = spool.waiting()
    assert len(names) == 2
    assert (
        secret not in b"".join(file.read_bytes() for file in known.file().parent.rglob("*") if file.is_file()).decode()
    )

    assert list(due_files(None)) == names  # type: ignore[arg-type]
    assert [take_spooled(name) for name in names + names] == [True, True, False, False]
    read_all()
    assert spool.waiting() == []
    assert sorted(Arrival.objects.filter(spooled=True).values_list("sender", "decision")) == [
        ("signs", "new"),
        ("town", "new"),
    ]
    assert sorted(Alert.objects.values_list("source", flat=True)) == ["grafana", "grafana", "json", "json"]


def spooled(name: str = "town", **about: Any) -> str:
    fields = {
        "source": "json", "sender": name, "key": "", "content_type": "", "token": "", "sent_at": "",
        "received_at": datetime.now(UTC).isoformat(), "sha256": hashlib.sha256(PLAIN).hexdigest(),
    } | about  # fmt: skip
    return spool.keep(spool.Spooled(**fields), PLAIN)


@pytest.mark.django_db
def test_killed_between_commit_and_removal_the_file_is_found_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    create_source(name="town", actor=SETUP)
    name = spooled(key="named-by-its-sender")
    with monkeypatch.context() as patch:
        patch.setattr(spool, "remove", lambda name: None)
        take_spooled(name)
    assert spool.waiting() == [name]

    take_spooled(name)

    assert spool.waiting() == []
    assert (Delivery.objects.count(), Arrival.objects.count()) == (1, 1)


@pytest.mark.django_db
def test_a_message_that_no_key_names_is_taken_in_once_though_it_is_killed_before_its_file_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = bearer()
    assert post("json", b'{"id": "before", "summary": "x"}', **headers).status_code == 202
    unnamed = b'{"summary": "Fraud is slow"}'
    with monkeypatch.context() as away:
        away.setattr(intake, "take_webhook", without_database)
        assert [post("json", unnamed, **headers).status_code for _ in range(2)] == [202, 202]
    names = spool.waiting()
    with monkeypatch.context() as killed:
        killed.setattr(spool, "remove", lambda name: None)
        assert [take_spooled(name) for name in names] == [True, True]

    assert [take_spooled(name) for name in names] == [True, True]

    read_all()
    assert Arrival.objects.filter(spooled=True).count() == 2
    assert Alert.objects.filter(summary="Fraud is slow").count() == 2


@pytest.mark.django_db
def test_a_sender_s_name_that_is_too_long_is_refused_with_the_database_and_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = bearer()
    assert post("json", PLAIN, **headers).status_code == 202

    problem_of(post("json", PLAIN, sender="x" * 41, **headers), 400, "sender-too-long")
    monkeypatch.setattr(intake, "take_webhook", without_database)
    monkeypatch.setattr(WebhookView, "_message", without_database)
    problem_of(post("json", PLAIN, sender="x" * 41, **headers), 400, "sender-too-long")

    assert spool.waiting() == []
    assert Delivery.objects.count() == 1


@pytest.mark.django_db
def test_a_file_that_the_database_can_never_hold_is_put_aside_and_the_others_go_on() -> None:
    ingest_token()
    token = ApiToken.objects.get().sha256
    never, whole = spooled(token=token, key="x" * 101), spooled(token=token)

    assert [take_spooled(name) for name in (never, whole, never)] == [False, True, False]

    assert [file.name for file in spool.folder().iterdir()] == [f"{never}.damaged"]
    assert Delivery.objects.count() == 1


@pytest.mark.django_db
def test_who_was_ended_before_it_came_is_refused_when_the_spool_is_taken_in() -> None:
    source, _ = create_source(name="town", actor=SETUP)
    end_source(source=source, actor=SETUP)
    ingest_token()
    token = ApiToken.objects.get()
    ApiToken.objects.update(revoked_at="2026-01-01T00:00:00Z")

    for name in (spooled(), spooled("other", token=token.sha256)):
        take_spooled(name)

    assert not Delivery.objects.exists()
    assert spool.waiting() == []
    assert [arrival.decision for arrival in Arrival.objects.all()] == ["refused", "refused"]


@pytest.mark.django_db
def test_a_damaged_file_is_put_aside_and_the_others_go_on() -> None:
    create_source(name="town", actor=SETUP)
    damaged, whole = spooled(), spooled()
    (spool.folder() / damaged).write_bytes((spool.folder() / damaged).read_bytes()[:-3])

    assert [take_spooled(name) for name in spool.waiting()] == [False, True]
    assert [file.name for file in spool.folder().iterdir()] == [f"{damaged}.damaged"]
    assert Delivery.objects.count() == 1
    assert whole != damaged


def test_a_file_that_is_taken_in_while_another_is_written_keeps_that_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, scandir = spooled(), spool.os.scandir

    def overtaken(place: Path) -> Any:
        entries = list(scandir(place))
        spool.remove(gone)
        return iter(entries)

    monkeypatch.setattr(spool.os, "scandir", overtaken)
    kept = spooled()
    monkeypatch.undo()

    assert [file.name for file in spool.folder().iterdir()] == [kept]


def test_a_spool_that_is_full_takes_no_more(settings: Any) -> None:
    first = spool.folder() / spooled()
    settings.LASTGOOD_SPOOL_BYTES = first.stat().st_size + len(PLAIN) - 1

    with pytest.raises(spool.SpoolFull):
        spooled()
    assert len(spool.waiting()) == 1
