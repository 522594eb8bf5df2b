"""From alerts to incidents: one incident for one cause, opened once, with its evidence frozen."""

import logging
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.utils import timezone

from audit.actions import Target, record, service_actor
from audit.dispatch import send_on_commit
from audit.models import AuditEvent
from incidents.evidence import Claim, gather, incident_title
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
    rows = Alert.objects.select_related("endpoint__model", "rule", "alert_rule", "host", "delivery")
    alert = rows.defer("delivery__body").get(pk=alert_id)
    taken = IncidentAlert.objects.filter(alert=alert).select_related("incident").first()
    if taken is not None:
        return taken.incident
    if alert.suppressed_by:
        return None
    place = placing.place(alert)
    joined = _join(alert, place)
    if joined is not None or alert.state != "firing":
        return joined
    if place.held:
        ledger.held(alert_id=alert.pk, why=place.held)
        return None
    claims = _evidence(alert)
    try:
        with transaction.atomic():
            return _open(alert, place, claims)
    except IntegrityError:
        # Another worker opened one for this cause, or took this alert, at the same moment.
        return _join(alert, place)


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
            if _join(alert, place) is None:
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


def _join(alert: Alert, place: Place) -> Incident | None:
    with transaction.atomic():
        incident = (
            Incident.objects.select_for_update(of=("self",)).filter(group_key=place.key, state__in=OPEN_STATES).first()
        )
        if incident is None:
            return None
        link, created = IncidentAlert.objects.get_or_create(alert=alert, defaults={"incident": incident})
        if not created:
            return link.incident
        worse = min(incident.severity, place.severity)
        if worse < incident.severity:
            Incident.objects.filter(pk=incident.pk).update(severity=worse, version=F("version") + 1)
        data = {"alert": alert.pk, "severity": worse}
        ledger.taken_by_incident(alert_id=alert.pk, incident_ref=incident.ref, opened=False)
        _note(incident, "incident.join_alert", data, summary=alert.summary, ours=alert.rule_id is not None)
        return incident


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
    ledger.taken_by_incident(alert_id=alert.pk, incident_ref=incident.ref, opened=True)
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
