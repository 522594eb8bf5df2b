"""From what senders tell to alerts: told twice, late, out of order or at once, it comes to the same."""

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.db.models import Value
from django.db.models.functions import Greatest

from monitoring import alerts
from monitoring.inbound import reasons
from monitoring.inbound.formats import ACKNOWLEDGED, AlertRow
from monitoring.inbound.models import Decision
from monitoring.models import Alert, AlertState, Delivery

FIRES_STILL = timedelta(minutes=10)
"""An alert that its sender ended is heard to fire, with the start that it had: within this time the message was late,
after it the alert fires again, as where Prometheus was away and kept the start."""
LOCK_SPACE = 7_104


@dataclass(frozen=True)
class Decided:
    """What came of an alert of a delivery."""

    fingerprint: str
    decision: Decision
    alert: Alert | None
    why: str = ""


def mark_of(delivery: Delivery, row: AlertRow) -> str:
    """The fingerprint here of what a sender calls by its own."""
    return alerts.fingerprint(delivery.source, delivery.sender, row.fingerprint)


def take(delivery: Delivery, rows: list[AlertRow]) -> list[Decided]:
    """Bring the alerts of a delivery into the table; must be called in a transaction, to whose end each alert's
    fingerprint is locked: whoever brings the same one at the same moment waits."""
    marked = _marked(delivery, rows)
    marks = marks_of(delivery, rows)
    if len(marks) == len(marked):
        return take_each([(delivery, rows)])[0]
    hand = _Hand(delivery, _locked(marks))
    return [hand.take(mark, row) for mark, row in marked]


def take_each(told: Sequence[tuple[Delivery, list[AlertRow]]]) -> list[list[Decided]]:
    """`take` for deliveries of which each alert is told of once by one of them: what begins to fire begins together."""
    known = _locked({mark for delivery, rows in told for mark in marks_of(delivery, rows)})
    together: list[Alert] = []
    found = []
    for delivery, rows in told:
        hand = _Hand(delivery, known, together)
        found.append([hand.take(mark, row) for mark, row in _marked(delivery, rows)])
    alerts.open_alerts(together)
    return [[_as_opened(one) if one.decision == Decision.NEW else one for one in each] for each in found]


def marks_of(delivery: Delivery, rows: Iterable[AlertRow]) -> set[str]:
    """The fingerprints of the alerts of a delivery."""
    return {mark_of(delivery, row) for row in rows}


def _marked(delivery: Delivery, rows: Iterable[AlertRow]) -> list[tuple[str, AlertRow]]:
    return [(mark_of(delivery, row), row) for row in sorted(rows, key=lambda row: (row.starts_at, row.firing))]


@dataclass(frozen=True)
class _Known:
    """By fingerprint, which alerts fire, and which ended last."""

    firing: dict[str, Alert]
    ended: dict[str, Alert]


def _locked(marks: Collection[str]) -> _Known:
    """What is known of the alerts of these fingerprints, which nobody else changes before the transaction ends."""
    _lock(marks)
    newest = Alert.objects.filter(fingerprint__in=marks).order_by("fingerprint", "state", "-ended_at", "-started_at")
    found = list(newest.distinct("fingerprint", "state"))
    firing, ended = (
        {alert.fingerprint: alert for alert in found if alert.state == state}
        for state in (AlertState.FIRING, AlertState.RESOLVED)
    )
    return _Known(firing, ended)


def _lock(marks: Iterable[str]) -> None:
    numbers = sorted({zlib.crc32(mark.encode()) - 2**31 for mark in marks})
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, n) FROM unnest(%s::int[]) AS n", [LOCK_SPACE, numbers])


def _as_opened(one: Decided) -> Decided:
    assert one.alert is not None
    by = one.alert.suppressed_by
    return Decided(one.fingerprint, Decision.SUPPRESSED, one.alert, reasons.sentence(by)) if by else one


class _Hand:
    """What is known of the alerts of one delivery while it is taken: which fire, and which ended last. `together`,
    where it is a list, gathers those that begin to fire, for the caller to open."""

    def __init__(self, delivery: Delivery, known: _Known, together: list[Alert] | None = None) -> None:
        self.delivery = delivery
        self.firing, self.ended = known.firing, known.ended
        self.together = together

    def take(self, mark: str, row: AlertRow) -> Decided:
        firing = self.firing.get(mark)
        if row.status == ACKNOWLEDGED:
            return Decided(mark, Decision.ACKNOWLEDGED if firing else Decision.OVER, firing)
        if row.firing:
            return self._fires_on(firing, row) if firing else self._fires(mark, row)
        return self._ends(mark, row, firing)

    def _fires_on(self, firing: Alert, row: AlertRow) -> Decided:
        if row.timed and row.starts_at > firing.started_at:
            # It ended in between, and the message of that is late or lost.
            self._resolve(firing, row.starts_at, "It fires anew.")
            return self._open(firing.fingerprint, row, row.starts_at)
        seen = Greatest("last_seen_at", Value(self.delivery.received_at))
        Alert.objects.filter(pk=firing.pk).update(last_seen_at=seen)
        firing.last_seen_at = max(firing.last_seen_at, self.delivery.received_at)
        return Decided(firing.fingerprint, Decision.DUPLICATE, firing)

    def _fires(self, mark: str, row: AlertRow) -> Decided:
        last = self.ended.get(mark)
        if last is None or last.ended_at is None:
            return self._open(mark, row, row.starts_at)
        if row.starts_at > last.started_at and row.starts_at >= last.ended_at:
            return self._open(mark, row, row.starts_at)
        if self.delivery.received_at > last.last_seen_at + FIRES_STILL:
            return self._open(mark, row, last.ended_at + timedelta(microseconds=1))
        return Decided(mark, Decision.OVER, last)

    def _ends(self, mark: str, row: AlertRow, firing: Alert | None) -> Decided:
        assert row.ends_at is not None
        if firing is not None and firing.started_at <= row.ends_at:
            if not row.timed and firing.last_seen_at > row.ends_at:
                # It was triggered again after this end, which comes late.
                return Decided(mark, Decision.OVER, firing)
            self._resolve(firing, row.ends_at, "The sender resolved it.")
            return Decided(mark, Decision.RESOLVED, firing)
        if Alert.objects.filter(fingerprint=mark, started_at=row.starts_at).exists():
            return Decided(mark, Decision.DUPLICATE, self.ended.get(mark))
        # Kept as ended, so that the message of its firing, which comes late, opens nothing.
        late = _alert(self.delivery, row, mark, row.starts_at)
        late.state, late.ended_at, late.last_seen_at = AlertState.RESOLVED, row.ends_at, self.delivery.received_at
        late.save(force_insert=True)
        self._ended(late)
        return Decided(mark, Decision.OVER, late)

    def _open(self, mark: str, row: AlertRow, started_at: datetime) -> Decided:
        alert = _alert(self.delivery, row, mark, started_at)
        alert.last_seen_at = self.delivery.received_at
        self.firing[mark] = alert
        if self.together is not None:
            self.together.append(alert)
            return Decided(mark, Decision.NEW, alert)
        alerts.open_alert(alert)
        return _as_opened(Decided(mark, Decision.NEW, alert))

    def _resolve(self, firing: Alert, ended_at: datetime, why: str) -> None:
        alerts.resolve_alert(firing, ended_at=ended_at, why=why, seen_at=self.delivery.received_at)
        del self.firing[firing.fingerprint]
        self._ended(firing)

    def _ended(self, alert: Alert) -> None:
        before = self.ended.get(alert.fingerprint)
        if before is None or before.ended_at is None or alert.ended_at is None or before.ended_at <= alert.ended_at:
            self.ended[alert.fingerprint] = alert


def _alert(delivery: Delivery, row: AlertRow, mark: str, started_at: datetime) -> Alert:
    name = row.labels.get("alertname", "Alert")
    summary = row.annotations.get("summary") or row.annotations.get("description") or name
    return Alert(
        fingerprint=mark,
        source=delivery.source,
        delivery=delivery,
        endpoint=delivery.endpoint or alerts.endpoint_of(row.labels),
        version=row.labels.get("version", "").removeprefix("v")[:40],
        severity=alerts.SEVERITIES.get(row.labels.get("severity", "").lower(), 2),
        summary=summary[:500],
        labels=row.labels,
        annotations=row.annotations,
        started_at=started_at,
    )
