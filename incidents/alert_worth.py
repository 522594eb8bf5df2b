"""What became of alerts: their incidents, for the pages of the rules that raised them."""

from collections.abc import Iterable

from incidents.learning.models import Cause, ContributingCause
from incidents.models import IncidentAlert, ReviewState
from monitoring.rules.worth import Outcome


def outcomes(alerts: Iterable[int]) -> dict[int, Outcome]:
    """By alert, the incident that it opened or joined, when the harm began, and whether its published review names a
    false alarm among the causes. Where no cause is named, or nothing is published, that is not known. Two queries."""
    links = list(IncidentAlert.objects.filter(alert__in=list(alerts)).select_related("incident"))
    named: dict[int, set[str]] = {}
    causes = ContributingCause.objects.filter(
        review__incident__in=[link.incident_id for link in links], review__state=ReviewState.PUBLISHED
    )
    for incident, kind in causes.values_list("review__incident", "kind"):
        named.setdefault(incident, set()).add(kind)
    return {
        link.alert_id: Outcome(
            link.incident.ref,
            link.incident.impact_started_at,
            Cause.FALSE_ALARM in named[link.incident_id] if link.incident_id in named else None,
        )
        for link in links
    }
