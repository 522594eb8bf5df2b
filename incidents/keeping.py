"""Predictions that an incident needs as evidence: they are not pruned while it is open or a legal hold keeps it."""

from datetime import datetime

from django.db.models import Q

from audit.clock import database_now
from audit.holds import held_incidents
from incidents.evidence import BEFORE
from incidents.models import Incident, IncidentState
from registry.models import Endpoint


def evidence_spans(endpoint: Endpoint) -> list[tuple[datetime, datetime]]:
    """From an hour before the impact began to the end of the incident, for each that is not closed, or is held."""
    needed = Incident.objects.filter(
        ~Q(state=IncidentState.CLOSED) | Q(ref__in=list(held_incidents())), endpoint=endpoint
    )
    now = database_now()
    return [
        ((incident.impact_started_at or incident.detected_at) - BEFORE, incident.resolved_at or now)
        for incident in needed
    ]
