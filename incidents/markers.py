"""Incidents on charts. Rollbacks are marked there already, by the deployments that they make."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from incidents.models import Incident
from monitoring.markers import Marker
from registry.models import Endpoint


def incident_markers(endpoint: Endpoint, since: datetime, until: datetime) -> Iterable[Marker]:
    """When an incident of the endpoint was opened, and when it was resolved."""
    within = Q(detected_at__range=(since, until)) | Q(resolved_at__range=(since, until))
    for incident in Incident.objects.filter(within, endpoint=endpoint):
        if since <= incident.detected_at <= until:
            yield Marker(incident.detected_at, incident.ref, "incident")
        if incident.resolved_at and since <= incident.resolved_at <= until:
            yield Marker(incident.resolved_at, f"{incident.ref} resolved", "incident")
