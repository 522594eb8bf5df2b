"""The formats in which others send alerts. Nothing here touches the database.

Alertmanager 4: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config (notify/webhook/webhook.go).
Grafana: receivers/webhook/v1/webhook.go of grafana/alerting; before Grafana 9 the body of a single rule.
PagerDuty: Events API v2, https://developer.pagerduty.com/docs/events-api-v2-overview
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from audit import strictjson
from monitoring.reading import Unreadable, instant

ALERTMANAGER, GRAFANA, PAGERDUTY, JSON = "alertmanager", "grafana", "pagerduty", "json"
FIRING, RESOLVED, ACKNOWLEDGED = "firing", "resolved", "acknowledged"

WORDS = {
    FIRING: FIRING, "alerting": FIRING, "trigger": FIRING, "triggered": FIRING, "open": FIRING, "no_data": FIRING,
    RESOLVED: RESOLVED, "ok": RESOLVED, "resolve": RESOLVED, "closed": RESOLVED,
    ACKNOWLEDGED: ACKNOWLEDGED, "acknowledge": ACKNOWLEDGED,
}  # fmt: skip
QUIET = ("paused", "pending")
"""States of a rule of the old Grafana that are neither an alert nor the end of one."""
PAGERDUTY_SEVERITIES = ("critical", "error", "warning", "info")
MOST_KEY, MOST_SUMMARY = 255, 1024
LABELS_OF_JSON = ("model", "version", "endpoint", "severity", "host", "service")


@dataclass(frozen=True)
class AlertRow:
    """One alert as its sender tells of it. `fingerprint` is the sender's; `ends_at` is None until it is resolved.

    `timed` says whether the sender told the times. Where it did not, they are when the delivery came, and the order in
    which deliveries came is the order of what happened.
    """

    fingerprint: str
    status: str
    starts_at: datetime
    ends_at: datetime | None
    labels: dict[str, str]
    annotations: dict[str, str]
    timed: bool = True

    @property
    def firing(self) -> bool:
        return self.status == FIRING


@dataclass(frozen=True)
class Reading:
    """What a body holds: the alerts that could be read, a sentence for each that could not, and how many alerts the
    sender says that it left out."""

    rows: list[AlertRow]
    errors: list[str]
    left_out: int = 0

    @property
    def error(self) -> str:
        """Why the delivery must be looked at; empty where all of it was read."""
        if not self.errors or not self.rows:
            return self.errors[0] if self.errors else ""
        count = len(self.rows) + len(self.errors)
        return f"{len(self.errors)} of {count} alerts could not be read, the others were taken. {self.errors[0]}"


def read(source: str, body: bytes, received_at: datetime, key: str) -> Reading:
    """What a webhook of that format holds. `key` names an event that its sender gave no key. Raises Unreadable where
    the body as a whole is not of the format."""
    try:
        message = strictjson.parse(body)
    except strictjson.NotStrictJson as error:
        raise Unreadable(f"The body is not JSON: {error}") from error
    return READERS[source](message, received_at, key)


def _each(alerts: Iterable[object], read_one: Callable[[object, str], AlertRow]) -> tuple[list[AlertRow], list[str]]:
    """One alert that can't be read keeps none of the others."""
    rows, errors = [], []
    for number, alert in enumerate(alerts, 1):
        try:
            rows.append(read_one(alert, f"alert {number}"))
        except Unreadable as error:
            errors.append(str(error))
    return rows, errors


# --- Alertmanager and Grafana ---------------------------------------------------------------------------------------


def _read_group(message: object, received_at: datetime, key: str) -> Reading:
    """A group of alerts. Each has a status of its own, whatever the group's is."""
    if isinstance(message, dict) and "alerts" not in message and "ruleId" in message:
        return _read_old_grafana(message, received_at)
    if not isinstance(message, dict) or not isinstance(message.get("alerts"), list):
        raise Unreadable('The body is not a webhook of Alertmanager: it has no list "alerts".')
    group = message.get("status")
    rows, errors = _each(message["alerts"], lambda alert, where: _grouped(alert, where, group, received_at))
    left_out = message.get("truncatedAlerts")
    return Reading(rows, errors, left_out if isinstance(left_out, int) and left_out > 0 else 0)


def _grouped(alert: object, where: str, group: object, received_at: datetime) -> AlertRow:
    status = alert.get("status", group) if isinstance(alert, dict) else None
    if not isinstance(alert, dict) or status not in (FIRING, RESOLVED):
        raise Unreadable(f"In {where} the status is neither firing nor resolved.")
    labels, annotations = texts(alert.get("labels"), where), texts(alert.get("annotations"), where)
    for name in ("generatorURL", "dashboardURL", "panelURL", "silenceURL", "valueString"):
        if isinstance(alert.get(name), str) and alert[name]:
            annotations.setdefault(name, alert[name])
    starts_at = instant(alert.get("startsAt"), where)
    ends_at = None
    if status == RESOLVED:
        ends_at = instant(alert.get("endsAt") or received_at.isoformat(), where)
        # Grafana may say that it is over and leave the end at Go's zero time.
        ends_at = received_at if ends_at.year == 1 else max(ends_at, starts_at)
    fingerprint = str(alert.get("fingerprint") or json.dumps(labels, sort_keys=True))
    return AlertRow(fingerprint, str(status), starts_at, ends_at, labels, annotations)


def _read_old_grafana(message: dict[str, Any], received_at: datetime) -> Reading:
    """The body of one rule, as Grafana sent it before version 9. It tells no times."""
    state = message.get("state")
    if state in QUIET:
        return Reading([], [])
    if not isinstance(state, str) or state not in WORDS:
        raise Unreadable(f"The state {state!r} is none of a rule of Grafana's.")
    name = str(message.get("ruleName") or message.get("title") or "Alert")
    labels = {"alertname": name} | texts(message.get("tags"), "the tags")
    annotations = {
        key: str(message[key]) for key in ("title", "message", "ruleUrl", "imageUrl") if message.get(key) is not None
    }
    annotations["summary"] = str(message.get("message") or message.get("title") or name)
    if state == "no_data":
        annotations["summary"] = f"No data: {annotations['summary']}"
    values = message.get("evalMatches")
    if isinstance(values, list):
        annotations["values"] = json.dumps(values)[:2000]
    ends_at = received_at if WORDS[state] == RESOLVED else None
    key = f"rule:{message['ruleId']}"
    return Reading([AlertRow(key, WORDS[state], received_at, ends_at, labels, annotations, timed=False)], [])


# --- PagerDuty ------------------------------------------------------------------------------------------------------


def _read_pagerduty(message: object, received_at: datetime, key: str) -> Reading:
    """One event. Its `dedup_key` names the alert; `payload.timestamp` is kept, and the order of arrival counts."""
    if not isinstance(message, dict):
        raise Unreadable("The event is not an object.")
    action = message.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        raise Unreadable("The event_action is none of trigger, acknowledge and resolve.")
    named = message.get("dedup_key")
    if named is not None and (not isinstance(named, str) or not len(named) <= MOST_KEY):
        raise Unreadable(f"The dedup_key is longer than {MOST_KEY} characters, or no text.")
    if action != "trigger" and not named:
        raise Unreadable(f"To {action}, the event needs the dedup_key of what was triggered.")
    labels, annotations = _payload(message, required=action == "trigger")
    ends_at = received_at if action == "resolve" else None
    row = AlertRow(named or key, WORDS[action], received_at, ends_at, labels, annotations, timed=False)
    return Reading([row], [])


def _payload(message: dict[str, Any], required: bool) -> tuple[dict[str, str], dict[str, str]]:
    payload = message.get("payload")
    if not isinstance(payload, dict):
        if required:
            raise Unreadable("To trigger, the event needs a payload with summary, source and severity.")
        return {}, {}
    for name in ("summary", "source", "severity"):
        if required and (not isinstance(payload.get(name), str) or not payload[name]):
            raise Unreadable(f"The payload has no {name}.")
    if required and payload["severity"] not in PAGERDUTY_SEVERITIES:
        raise Unreadable(f"The payload's severity is none of {', '.join(PAGERDUTY_SEVERITIES)}.")
    details = payload.get("custom_details")
    details = details if isinstance(details, dict) else {"details": details} if details is not None else {}
    labels = {name: _text(value) for name, value in details.items() if name in LABELS_OF_JSON}
    given = {name: payload.get(name) for name in ("source", "severity", "component", "group", "class")}
    labels |= {name: str(value) for name, value in given.items() if value}
    labels["alertname"] = str(payload.get("class") or payload.get("component") or "PagerDuty event")
    annotations = {name: _text(value) for name, value in details.items()}
    annotations |= {name: str(payload[name]) for name in ("summary", "timestamp") if payload.get(name)}
    for name in ("client", "client_url", "links", "images"):
        if message.get(name):
            annotations[name] = _text(message[name])
    annotations["summary"] = annotations.get("summary", "")[:MOST_SUMMARY]
    return labels, annotations


# --- plain JSON -----------------------------------------------------------------------------------------------------


def _read_json(message: object, received_at: datetime, key: str) -> Reading:
    """An alert, a list of them, or an object with a list `alerts`; docs/intake.md tells the fields."""
    found = message.get("alerts", [message]) if isinstance(message, dict) else message
    if not isinstance(found, list):
        raise Unreadable("The body is neither an alert, nor a list of alerts, nor an object with a list alerts.")
    rows, errors = _each(found, lambda alert, where: _plain(alert, where, received_at, key))
    return Reading(rows, errors)


def _plain(alert: object, where: str, received_at: datetime, key: str) -> AlertRow:
    if not isinstance(alert, dict):
        raise Unreadable(f"What stands as {where} is not an object.")
    word = str(alert.get("status") or alert.get("state") or FIRING).lower()
    if word not in WORDS:
        raise Unreadable(f"In {where} the status {word[:40]!r} is none of firing, resolved and acknowledged.")
    labels = {name: _text(alert[name]) for name in LABELS_OF_JSON if alert.get(name) is not None}
    labels |= texts(alert.get("labels"), where)
    annotations = texts(alert.get("annotations"), where)
    given = (alert.get(name) for name in ("summary", "title", "message", "description", "name"))
    summary = next((str(text) for text in given if text), annotations.get("summary", ""))
    if not summary:
        raise Unreadable(f"In {where} there is no summary, title, message or name that says what is wrong.")
    annotations["summary"] = summary
    if alert.get("name"):
        labels.setdefault("alertname", str(alert["name"]))
    named = next((str(alert[name]) for name in ("id", "fingerprint", "dedup_key") if alert.get(name)), "")
    if not named and WORDS[word] != FIRING:
        raise Unreadable(f"In {where} there is no id of the alert that is {word}.")
    start, end = (alert.get(f"{name}_at") or alert.get(f"{name}At") for name in ("starts", "ends"))
    starts_at = instant(start, where) if start else received_at
    row = AlertRow(named or f"{key} {where}", WORDS[word], starts_at, None, labels, annotations, timed=bool(start))
    if row.status != RESOLVED:
        return row
    return replace(row, ends_at=max(instant(end, where) if end and start else received_at, starts_at))


def texts(value: object, where: str) -> dict[str, str]:
    """Labels or annotations as texts; null is none. Raises Unreadable."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unreadable(f"In {where} the labels and annotations are not objects.")
    return {str(key): _text(text) for key, text in value.items()}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:2000]


READERS: dict[str, Callable[[object, datetime, str], Reading]] = {
    ALERTMANAGER: _read_group,
    GRAFANA: _read_group,
    PAGERDUTY: _read_pagerduty,
    JSON: _read_json,
}
TELLS_ALL = (ALERTMANAGER, GRAFANA)
"""Formats whose messages tell the whole state of their alerts, so that the same body again is the same message. Of the
others the same body again may be news: triggered, resolved, triggered again."""
SENDS_AGAIN = (ALERTMANAGER, PAGERDUTY)
"""Formats whose senders send again what was answered with 503. The others send once."""
