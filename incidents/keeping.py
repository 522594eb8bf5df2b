"""Predictions that an incident needs as evidence: they are not pruned while it is open or a legal hold keeps it."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from audit.clock import database_now
from audit.holds import held_incidents
from incidents.evidence import BEFORE
from incidents.models import Incident, IncidentState
from registry.models import Endpoint


def evidence_spans(endpoints: Iterable[Endpoint]) -> list[tuple[int, tuple[datetime, datetime]]]:
    """From an hour before the impact began to the end of the incident, for each that is not closed, or is held; each
    with the key of its endpoint."""
    needed = Incident.objects.filter(
        ~Q(state=IncidentState.CLOSED) | Q(ref__in=list(held_incidents())), endpoint__in=endpoints
    )
    now = database_now()
    return [
        (
            incident.endpoint_id,
            ((incident.impact_started_at or incident.detected_at) - BEFORE, incident.resolved_at or now),
        )
        for incident in needed
    ]
