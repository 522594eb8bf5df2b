"""What monitoring says when a version is about to become last-good."""

from datetime import datetime, timedelta

from django.db.models import Q

from monitoring.alerts import OBSERVED
from monitoring.models import Alert, Answer, Finding, Monitor, Window, WindowState
from registry.models import Endpoint, Version


def alert_on_record(endpoint: Endpoint, version: Version, since: datetime) -> str:
    """The sentence against a version for which an alert fired here since it went live; "" when none did.

    An alert of an outside sender that names no version counts against the one that was live; one about a host that is
    not as it was left says nothing of a version.
    """
    found = (
        Alert.objects.filter(Q(version=str(version.number)) | Q(version=""), endpoint=endpoint, fired_at__gte=since)
        .exclude(source=OBSERVED)
        .order_by("fired_at")
        .first()
    )
    if found is None:
        return ""
    return f"An alert of {found.fired_at:%Y-%m-%d %H:%M} UTC is on record against it: {found.summary}"


def not_judged_yet(endpoint: Endpoint, version: Version, since: datetime) -> str:
    """The sentence against a version whose soak has not been judged to its end under traffic, or whose newest judged
    window is in breach: silence is no proof of health, and two windows in breach may be an alert in a moment. "" for an
    endpoint that is not watched."""
    if not Monitor.objects.filter(endpoint=endpoint, enabled=True).exists():
        return ""
    soaked_at = since + timedelta(seconds=endpoint.soak_seconds)
    judged = Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED, rows__gt=0, end__gte=soaked_at)
    newest = judged.order_by("-start").first()
    if newest is None:
        return f"Its traffic until {soaked_at:%H:%M:%S} UTC has not been judged yet."
    breach = Finding.objects.filter(window=newest, version=str(version.number), answer=Answer.BREACH).first()
    return f"Its newest window is in breach: {breach.sentence}" if breach else ""
