"""What became of alerts: their incidents, for the pages of the rules that raised them."""

from collections.abc import Iterable

from incidents.models import IncidentAlert
from monitoring.rules.worth import Outcome


def outcomes(alerts: Iterable[int]) -> dict[int, Outcome]:
    """By alert, the incident that it opened or joined, when the harm began, and what its review judged."""
    links = IncidentAlert.objects.filter(alert__in=list(alerts)).select_related("incident")
    return {link.alert_id: Outcome(link.incident.ref, link.incident.impact_started_at, None) for link in links}
