"""When an endpoint was in trouble, for the false alarms of the rules that watch it."""

from collections.abc import Iterable
from datetime import datetime

from django.db.models import Q

from incidents.alert_worth import judged_false
from incidents.models import Incident
from monitoring.rules.troubled import Trouble
from registry.models import Endpoint


def troubles(endpoint: Endpoint, since: datetime, until: datetime) -> Iterable[Trouble]:
    """The incidents of the endpoint that touch the span: each from the start of its harm, or of its first alert where
    that is earlier or nobody said when the harm began, to its resolution. Four queries."""
    began = Q(detected_at__lt=until) | Q(impact_started_at__lt=until) | Q(incident_alerts__alert__started_at__lt=until)
    lasted = Q(resolved_at=None) | Q(resolved_at__gt=since)
    found = Incident.objects.filter(began, lasted, endpoint=endpoint).distinct()
    incidents = list(found.prefetch_related("incident_alerts__alert"))
    judged = judged_false(incident.pk for incident in incidents)
    return [
        Trouble(_began(incident), incident.resolved_at, _alerts(incident), judged.get(incident.pk))
        for incident in incidents
    ]


def _began(incident: Incident) -> datetime:
    known = [link.alert.started_at for link in incident.incident_alerts.all()]
    return min(filter(None, (incident.impact_started_at, incident.detected_at, *known)))


def _alerts(incident: Incident) -> frozenset[int]:
    return frozenset(link.alert_id for link in incident.incident_alerts.all())
