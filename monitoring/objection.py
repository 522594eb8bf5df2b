"""What monitoring says when a version is about to become last-good."""

from datetime import datetime

from django.db.models import Q

from monitoring.models import Alert
from registry.models import Endpoint, Version


def alert_on_record(endpoint: Endpoint, version: Version, since: datetime) -> str:
    """The sentence against a version for which an alert fired here since it went live; "" when none did.

    An alert of an outside sender that names no version counts against the one that was live.
    """
    found = (
        Alert.objects.filter(Q(version=str(version.number)) | Q(version=""), endpoint=endpoint, fired_at__gte=since)
        .order_by("fired_at")
        .first()
    )
    if found is None:
        return ""
    return f"An alert of {found.fired_at:%Y-%m-%d %H:%M} UTC is on record against it: {found.summary}"
