"""From alerts to incidents: one incident for one cause, opened once, with its evidence frozen."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from audit.actions import Target, record, record_each, service_actor
from audit.dispatch import each_of, send_on_commit
from audit.models import AuditEvent
from incidents.evidence import Claim, gather, incident_title, of_alerts
from incidents.grouping import placing
from incidents.grouping.placing import Place
from incidents.models import OPEN_STATES, Evidence, Incident, IncidentAlert
from monitoring.alerts import fingerprint
from monitoring.inbound import beats, ledger
from monitoring.models import Alert

logger = logging.getLogger(__name__)
INTAKE = service_actor("incidents")
NUMBER_LOCK = 7_104_201


def take_alert(*, alert_id: int) -> Incident | None:
    """Open an incident for the alert or let the alert join the open one of the same cause (`incidents.grouping`). Safe
    to call any number of times; None for an alert that opens nothing: it was over before it was taken, nobody is to be
    told of it, or its rule waits for more of its kind."""
    taken = IncidentAlert.objects.filter(alert=alert_id).select_related("incident").first()
    if taken is not None:
        return taken.incident
    alert = _waiting().get(pk=alert_id)
    return None if alert.suppressed_by else _take([alert], placing.place(alert))


def take_alerts(alert_ids: Sequence[int]) -> None:
    """`take_alert` for alerts that came together: those of one cause are taken by one incident in one transaction."""
    causes: dict[Place, list[Alert]] = {}
    alerts = list(_waiting().filter(pk__in=alert_ids, incident_alert=None, suppressed_by="").order_by("pk"))
    place_of = placing.places(alerts)
    try:
        each_of(lambda alert: causes.setdefault(place_of(alert), []).append(alert), alerts)
    finally:
        each_of(lambda place: _take(causes[place], place), causes)


def _waiting() -> QuerySet[Alert]:
    rows = Alert.objects.select_related("endpoint__model", "rule", "alert_rule", "host", "delivery")
    return rows.defer("delivery__body")


def _take(alerts: Sequence[Alert], place: Place) -> Incident | None:
    """Bring alerts of one place to their incident, where they have one; that of the first is returned."""
    try:
        return _bring(alerts, place)
    except IntegrityError:
        # Another worker opened one for this cause, or took one of these alerts, at the same moment.
        first, *_ = [_bring([alert], place) for alert in alerts]
        return first


def _bring(alerts: Sequence[Alert], place: Place) -> Incident | None:
    joined = _join(alerts, place)
    firing = [alert for alert in alerts if alert.state == "firing"]
    if joined is not None or not firing:
        return joined
    if place.held:
        for alert in firing:
            ledger.held(alert_id=alert.pk, why=place.held)
        return None
    claims = _evidence(firing[0])
    with transaction.atomic():
        opened = _open(firing[0], place, claims)
        _join([alert for alert in alerts if alert is not firing[0]], place)
        return opened


def take_beat(*, number: int) -> None:
    """Decide on a synthetic alert as on any that names no endpoint, take back what that leaves, and say that it was
    decided."""
    with transaction.atomic():
        with transaction.atomic():
            alert = Alert.objects.create(
                fingerprint=fingerprint("synthetic", number),
                source="synthetic",
                severity=4,
                summary=beats.SUMMARY,
                labels={"alertname": beats.SUMMARY},
                started_at=timezone.now(),
            )
            alert.refresh_from_db()
            place = placing.place(alert)
            if _join([alert], place) is None:
                _open(alert, place, [Claim("alert", alert.summary)])
            transaction.set_rollback(True)
        beats.decided(number)


def _evidence(alert: Alert) -> list[Claim]:
    """The evidence, or the alert's own words where it can't be read: an incident must open all the same."""
    try:
        return gather(alert)
    except Exception:
        logger.exception("incidents.evidence.unreadable alert=%s", alert.pk)
        return [Claim("alert", f"{alert.summary} The predictions behind it could not be read."[:500])]


def _join(alerts: Sequence[Alert], place: Place) -> Incident | None:
    """Let the alerts join the open incident of their cause; None where there is none. One that an incident has stays
    there."""
    if not alerts:
        return None
    with transaction.atomic():
        incident = (
            Incident.objects.select_for_update(of=("self",)).filter(group_key=place.key, state__in=OPEN_STATES).first()
        )
        if incident is None:
            return None
        links = IncidentAlert.objects.select_related("incident").filter(alert__in=alerts)
        taken = {link.alert_id: link.incident for link in links}
        new = [alert for alert in alerts if alert.pk not in taken]
        if not new:
            return taken[alerts[0].pk]
        IncidentAlert.objects.bulk_create(IncidentAlert(alert=alert, incident=incident) for alert in new)
        worse = min(incident.severity, place.severity)
        if worse < incident.severity:
            Incident.objects.filter(pk=incident.pk).update(severity=worse, version=F("version") + 1)
        ledger.taken_by_incident(alerts=[alert.pk for alert in new], incident_ref=incident.ref, opened=False)
        target = Target("incident", incident.ref)
        joined = [_words({"alert": alert.pk, "severity": worse}, alert.summary, alert) for alert in new]
        each = [(target, data, reason) for data, reason in joined]
        record_each(action="incident.join_alert", actor=INTAKE, incident=incident.ref, each=each)
        _add_evidence(incident, new)
        return incident


def _add_evidence(incident: Incident, joined: Sequence[Alert]) -> None:
    """Freeze what our own alerts fired on beside the evidence that is there; what was frozen before stays as it was."""
    claims = of_alerts([alert for alert in joined if alert.rule_id or alert.alert_rule_id])
    frozen = set(incident.evidence.values_list("sha256", flat=True)) if claims else set()
    for claim in claims:
        if claim.sha256 not in frozen:
            frozen.add(claim.sha256)
            _freeze(incident, claim, ours=True)


def _words(data: dict[str, Any], summary: str, alert: Alert) -> tuple[dict[str, Any], str]:
    """Data and reason of the event by which an alert joins: see `_note`."""
    return (data | {"summary": summary}, "") if alert.rule_id is not None else (data, summary)


def _open(alert: Alert, place: Place, claims: list[Claim]) -> Incident:
    number = _next_number()
    title = incident_title(alert.endpoint, alert, claims) if alert.endpoint else alert.summary[:300]
    incident = Incident.objects.create(
        number=number,
        ref=f"INC-{number}",
        title=title,
        severity=place.severity,
        endpoint=alert.endpoint,
        from_version=alert.version,
        group_key=place.key,
        impact_started_at=alert.started_at,
        detected_at=alert.fired_at,
    )
    IncidentAlert.objects.create(incident=incident, alert=alert)
    ledger.taken_by_incident(alerts=[alert.pk], incident_ref=incident.ref, opened=True)
    ours = alert.rule_id is not None
    data = {
        "alert": alert.pk,
        "severity": incident.severity,
        "endpoint": alert.endpoint.slug if alert.endpoint else "",
        "version": alert.version,
        "impact_started_at": alert.started_at.isoformat(),
    }
    _note(incident, "incident.open", data, title=title, ours=ours)
    for claim in claims:
        _freeze(incident, claim, ours=ours or claim.kind != "alert")
    if alert.endpoint_id:
        send_on_commit("incidents.rank_candidates", [incident.pk], queue="compute")
    return incident


def _next_number() -> int:
    """The next number without a gap; the lock is held until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [NUMBER_LOCK])
    newest = Incident.objects.order_by("-number").values_list("number", flat=True).first()
    return (newest or 0) + 1


def _note(incident: Incident, action: str, data: dict[str, Any], *, ours: bool, **words: str) -> None:
    """Words of our own rules are part of the record. What an outside sender wrote may name people, so it stands beside
    the log, where it can be erased."""
    record(
        action=action,
        target=Target("incident", incident.ref),
        actor=INTAKE,
        incident=incident.ref,
        data=data | words if ours else data,
        reason="" if ours else " ".join(words.values()),
    )


def _freeze(incident: Incident, claim: Claim, *, ours: bool) -> None:
    Evidence.objects.create(
        incident=incident, kind=claim.kind, claim=claim.claim[:500], data=claim.data, sha256=claim.sha256
    )
    data = {"kind": claim.kind, "sha256": claim.sha256}
    _note(incident, "incident.evidence.freeze", data, claim=claim.claim, ours=ours)


def alert_resolved(*, alert_id: int) -> None:
    """Tell the incident of the alert, once, that it no longer fires."""
    with transaction.atomic():
        links = IncidentAlert.objects.select_for_update(of=("self",)).select_related("incident", "alert")
        link = links.filter(alert_id=alert_id).first()
        if link is None or link.alert.state != "resolved":
            return
        told = {"action": "incident.alert_resolved", "incident": link.incident.ref}
        alert = Target("alert", str(alert_id))
        if AuditEvent.objects.filter(**told, target_kind=alert.kind, target_id=alert.id).exists():
            return
        ours = link.alert.rule_id is not None
        words = link.alert.summary
        data = {"alert": alert_id} | ({"summary": words} if ours else {})
        record(**told, target=alert, actor=INTAKE, data=data, reason="" if ours else words)


def replay_window(incident: Incident) -> tuple[object, object]:
    """The span whose inputs are replayed through the candidates: from the impact's start, at most an hour."""
    start = incident.impact_started_at or incident.detected_at
    return start, min(timezone.now(), start + timedelta(hours=1))
