"""Sentences for stakeholders: is it working for me, since when, what is being done. A page may have its own words for a
status, in which names in braces are filled in from what is known."""

import string
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from incidents.follow import rollbacks_of
from incidents.models import Incident, PostStatus, StatusPage
from incidents.rollback.models import StepState

FIELDS = {
    "service": "the name of the service",
    "since": "when it began, as 14:05 UTC",
    "remedy": "what is being done, as a sentence; empty where nothing is",
    "left": "what a rollback has not reached, as a sentence; empty where it reached all",
    "minutes": "how long it lasted, as “12 minutes”",
}


def words_for(page: StatusPage, incident: Incident, name: str, status: str) -> str:
    """The page's own words for the status with what is known filled in, else words for all pages, else Lastgood's."""
    from incidents.telling.models import Template

    own = Template.objects.filter(Q(page=page) | Q(page=None), status=status).order_by("page_id").first()
    return sentence_for(incident, name, status) if own is None else filled_in(own.text, incident, name, status)


def unknown_fields(text: str) -> list[str]:
    """Names in braces that nothing is known of. Raises ValueError for braces that don't match."""
    parts = [part[1:] for part in string.Formatter().parse(text) if part[1] is not None]
    return sorted({str(name) for name, spec, conversion in parts if name not in FIELDS or spec or conversion})


def filled_in(text: str, incident: Incident, name: str, status: str) -> str:
    known = {
        "service": name,
        "since": f"{_start(incident):%H:%M} UTC",
        "remedy": _remedy(incident, status),
        "left": left_out(incident),
        "minutes": _span(incident),
    }
    return " ".join(text.format_map(known).split())


def _start(incident: Incident) -> datetime:
    return incident.impact_started_at or incident.detected_at


def _span(incident: Incident) -> str:
    minutes = max(1, round(((incident.resolved_at or timezone.now()) - _start(incident)).total_seconds() / 60))
    return "1 minute" if minutes == 1 else f"{minutes} minutes"


def _remedy(incident: Incident, status: str) -> str:
    undone = rollbacks_of(incident.ref).exists()
    if status == PostStatus.IDENTIFIED:
        return "A recent change is being undone now." if undone else "A remedy is under way."
    if status == PostStatus.MONITORING:
        done = f"{incident.mitigated_at or timezone.now():%H:%M} UTC"
        return f"The change was undone at {done}." if undone else f"A remedy is in place since {done}."
    return ""


def sentence_for(incident: Incident, name: str, status: str) -> str:
    """What a stakeholder reads of an incident that comes to that status."""
    since = f"{_start(incident):%H:%M} UTC"
    slow = incident.incident_alerts.filter(alert__rule__kind="latency").exists() and not (
        incident.incident_alerts.exclude(alert__rule__kind="latency").exists()
    )
    answers = f"the answers of “{name}”"
    trouble = f"{answers} take longer than they should" if slow else f"{answers} are less reliable than they should be"
    if status == PostStatus.INVESTIGATING:
        return f"Since {since}, {trouble}. People are working on it."
    remedy = _remedy(incident, status)
    if status == PostStatus.IDENTIFIED:
        return f"Since {since}, {trouble}. {remedy}"
    if status == PostStatus.MONITORING:
        if rollbacks_of(incident.ref).exists() and (left := left_out(incident)):
            return f"{remedy.removesuffix('.')} for most of “{name}”. {left} We are watching the rest."
        return f"{remedy} We are watching that “{name}” works as it should again."
    return f"“{name}” works as it should again. It did not from {since} on, for {_span(incident)}."


def left_out(incident: Incident) -> str:
    """A sentence where the newest rollback left a part of the machines as they were; "" where it reached all."""
    newest = rollbacks_of(incident.ref).order_by("-started_at").first()
    if newest is None:
        return ""
    total, done = newest.steps.count(), newest.steps.filter(state=StepState.DONE).count()
    return f"It reached {done} of {total} machines so far." if done < total else ""
