"""Each format by its real shape, and what its senders are known to do."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitoring.inbound.formats import Reading, read
from monitoring.reading import Unreadable

VECTORS = Path(__file__).parents[1] / "vectors"
MIXED, GRAFANA = ((VECTORS / f"{name}.json").read_bytes() for name in ("alertmanager-mixed", "grafana-alerting"))
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


def reading(source: str, message: Any) -> Reading:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return read(source, body, NOW, "key-of-delivery")


def changed(body: bytes, **fields: Any) -> dict[str, Any]:
    """The message with fields of its first alert changed; None takes one away."""
    message = json.loads(body)
    for name, value in fields.items():
        if value is None:
            del message["alerts"][0][name]
        else:
            message["alerts"][0][name] = value
    return message


def test_each_alert_has_its_own_status_whatever_the_groups_is() -> None:
    firing, resolved = reading("alertmanager", MIXED).rows

    assert (firing.fingerprint, firing.status, firing.ends_at) == ("791cec13fcba0368", "firing", None)
    assert (resolved.status, resolved.ends_at) == ("resolved", datetime(2026, 1, 5, 9, 58, tzinfo=UTC))


def test_a_time_of_nanoseconds_is_kept_to_the_microsecond() -> None:
    row, _ = reading("alertmanager", MIXED).rows

    assert row.starts_at == datetime(2026, 1, 5, 10, 0, 0, 123456, tzinfo=UTC)
    assert reading("alertmanager", changed(MIXED, startsAt="2026-01-05T11:00:00.1+01:00")).rows[0].starts_at == (
        datetime(2026, 1, 5, 10, 0, 0, 100_000, tzinfo=UTC)
    )


def test_fields_that_are_new_or_absent_stop_nothing() -> None:
    older, newer = json.loads(MIXED), json.loads(MIXED)
    for name in ("notification_reason", "routeLabels", "groupLabels", "groupKey", "truncatedAlerts", "receiver"):
        del older[name]
    newer["numFiring"], newer["alerts"][0]["enrichments"] = 1, [{"of": "a later version"}]

    assert (
        reading("alertmanager", older).rows
        == reading("alertmanager", newer).rows
        == reading("alertmanager", MIXED).rows
    )


def test_an_alert_without_a_fingerprint_is_told_by_its_labels() -> None:
    [first, _] = reading("alertmanager", changed(MIXED, fingerprint=None)).rows
    again = changed(MIXED, fingerprint=None, status="resolved", endsAt="2026-01-05T10:05:00Z")

    assert first.fingerprint == reading("alertmanager", again).rows[0].fingerprint


def test_an_alert_that_cannot_be_read_keeps_none_of_the_others() -> None:
    found = reading("alertmanager", changed(MIXED, startsAt="yesterday"))

    assert [row.fingerprint for row in found.rows] == ["8df98227bdd81384"]
    assert found.error.startswith("1 of 2 alerts could not be read, the others were taken. In alert 1 the time")


def test_what_the_sender_left_out_is_told() -> None:
    assert reading("alertmanager", json.loads(MIXED) | {"truncatedAlerts": 3}).left_out == 3
    assert reading("alertmanager", json.loads(MIXED) | {"truncatedAlerts": None}).left_out == 0


def test_an_end_before_the_start_is_the_start() -> None:
    row = reading("alertmanager", changed(MIXED, status="resolved", endsAt="2026-01-05T09:00:00Z")).rows[0]
    assert row.ends_at == row.starts_at


def test_grafana_tells_more_and_may_leave_the_end_at_zero() -> None:
    firing, resolved = reading("grafana", GRAFANA).rows

    assert firing.starts_at == datetime(2026, 1, 5, 9, 0, 0, 123456, tzinfo=UTC)
    assert firing.annotations["valueString"] == "[ var='A' labels={} value=0.41 ]"
    assert "panelURL" not in firing.annotations
    assert (resolved.annotations, resolved.ends_at) == ({}, NOW)


@pytest.mark.parametrize("body", [{"text": "a template of the user's"}, [], "alert", None, {"alerts": "none"}])
def test_a_body_of_another_shape_is_unreadable_and_breaks_nothing(body: Any) -> None:
    with pytest.raises(Unreadable):
        reading("grafana", body)


@pytest.mark.parametrize(
    ("state", "status"),
    [("alerting", "firing"), ("no_data", "firing"), ("ok", "resolved"), ("paused", None), ("pending", None)],
)
def test_the_old_grafana_sends_one_rule_without_times(state: str, status: str | None) -> None:
    body = {
        "ruleId": 7, "ruleName": "Fraud is slow", "ruleUrl": "https://grafana.example/d/7", "state": state,
        "title": "[Alerting] Fraud is slow", "message": "p95 above 200 ms", "imageUrl": None,
        "evalMatches": [{"metric": "p95", "value": 240.5, "tags": None}], "tags": {"model": "fraud"},
    }  # fmt: skip
    rows = reading("grafana", body).rows

    assert [row.status for row in rows] == ([status] if status else [])
    for row in rows:
        assert (row.fingerprint, row.starts_at, row.timed, row.labels["model"]) == ("rule:7", NOW, False, "fraud")


TRIGGER = {
    "routing_key": "k" * 32, "event_action": "trigger", "dedup_key": "fraud/latency",
    "payload": {
        "summary": "Fraud is slow", "source": "gpu-1", "severity": "error", "timestamp": "2026-01-05T11:59:00.000+0000",
        "component": "scorer", "custom_details": {"model": "fraud", "version": "v3", "p95": 240.5},
    },
    "links": [{"href": "https://example.org", "text": "Graph"}], "client": "monitor", "images": [],
}  # fmt: skip


def test_an_event_of_pagerduty_is_triggered_and_resolved_by_its_key() -> None:
    [row] = reading("pagerduty", TRIGGER).rows

    assert (row.fingerprint, row.status, row.starts_at, row.timed) == ("fraud/latency", "firing", NOW, False)
    assert row.labels == {
        "source": "gpu-1", "severity": "error", "component": "scorer", "alertname": "scorer", "model": "fraud",
        "version": "v3",
    }  # fmt: skip
    assert row.annotations["timestamp"] == "2026-01-05T11:59:00.000+0000"
    resolve = {"routing_key": "k" * 32, "event_action": "resolve", "dedup_key": "fraud/latency"}
    [end] = reading("pagerduty", resolve).rows
    assert (end.fingerprint, end.status, end.ends_at) == ("fraud/latency", "resolved", NOW)
    assert reading("pagerduty", resolve | {"event_action": "acknowledge"}).rows[0].status == "acknowledged"


def test_an_event_without_a_key_is_an_alert_of_its_own() -> None:
    event = {name: value for name, value in TRIGGER.items() if name != "dedup_key"}
    assert reading("pagerduty", event).rows[0].fingerprint == "key-of-delivery"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"event_action": "explode"}, "event_action"),
        ({"event_action": "resolve", "dedup_key": ""}, "dedup_key"),
        ({"dedup_key": "k" * 256}, "255"),
        ({"payload": {"summary": "s", "source": "x", "severity": "page"}}, "severity"),
        ({"payload": {"summary": "s", "severity": "info"}}, "no source"),
        ({"payload": None}, "needs a payload"),
    ],
)
def test_an_event_that_pagerduty_would_refuse_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        reading("pagerduty", TRIGGER | change)


def test_plain_json_is_one_alert_or_many_and_needs_only_words() -> None:
    alert = {
        "id": "a1",
        "summary": "Fraud is slow",
        "model": "fraud",
        "version": "3",
        "severity": "critical",
        "more": {"x": 1},
    }

    [one] = reading("json", alert).rows
    assert (one.fingerprint, one.status, one.starts_at, one.timed) == ("a1", "firing", NOW, False)
    assert one.labels == {"model": "fraud", "version": "3", "severity": "critical"}
    assert reading("json", [alert]).rows == reading("json", {"alerts": [alert]}).rows == [one]
    end = {
        "id": "a1",
        "title": "x",
        "state": "ok",
        "startsAt": "2026-01-05T10:00:00Z",
        "ends_at": "2026-01-05T10:05:00Z",
    }
    [over] = reading("json", end).rows
    assert (over.status, over.timed, over.ends_at) == ("resolved", True, datetime(2026, 1, 5, 10, 5, tzinfo=UTC))
    assert reading("json", {"title": "no id"}).rows[0].fingerprint == "key-of-delivery alert 1"


@pytest.mark.parametrize(
    "alert", [{"id": "a"}, {"summary": "x", "status": "maybe"}, {"summary": "x", "status": "resolved"}, 7, None]
)
def test_plain_json_that_says_too_little_is_unreadable(alert: Any) -> None:
    assert len(reading("json", [alert, {"summary": "fine"}]).errors) == 1
    assert len(reading("json", [alert, {"summary": "fine"}]).rows) == 1
