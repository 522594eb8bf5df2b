"""What became of alerts: their incidents, for the pages of the rules that raised them."""

from collections.abc import Iterable

from incidents.learning.models import Cause, ContributingCause
from incidents.models import IncidentAlert, ReviewState
from monitoring.rules.worth import Outcome


def outcomes(alerts: Iterable[int]) -> dict[int, Outcome]:
    """By alert, the incident that it opened or joined, when the harm began, and whether its published review names a
    false alarm among the causes. Where no cause is named, or nothing is published, that is not known. Two queries."""
    links = list(IncidentAlert.objects.filter(alert__in=list(alerts)).select_related("incident"))
    judged = judged_false(link.incident_id for link in links)
    return {
        link.alert_id: Outcome(
            link.incident.ref,
            link.incident.impact_started_at,
            judged.get(link.incident_id),
        )
        for link in links
    }


def judged_false(incidents: Iterable[int]) -> dict[int, bool]:
    """By incident, whether its published review names a false alarm among the causes; those without are left out."""
    causes = ContributingCause.objects.filter(review__incident__in=list(incidents), review__state=ReviewState.PUBLISHED)
    named: dict[int, bool] = {}
    for incident, kind in causes.values_list("review__incident", "kind"):
        named[incident] = named.get(incident, False) or kind == Cause.FALSE_ALARM
    return named
