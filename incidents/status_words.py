"""Sentences for stakeholders: is it working for me, since when, what is being done. A page may have its own words for a
status, in which names in braces are filled in from what is known."""

import string
from datetime import datetime

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy, ngettext

from incidents.follow import rollbacks_of
from incidents.models import Incident, PostStatus, StatusPage
from incidents.rollback.models import StepState

FIELDS = {
    "service": gettext_lazy("the name of the service"),
    "since": gettext_lazy("when it began, as 14:05 UTC"),
    "remedy": gettext_lazy("what is being done, as a sentence; empty where nothing is"),
    "left": gettext_lazy("what a rollback has not reached, as a sentence; empty where it reached all"),
    "minutes": gettext_lazy("how long it lasted, as “12 minutes”"),
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
    return ngettext("%(minutes)s minute", "%(minutes)s minutes", minutes) % {"minutes": minutes}


def _remedy(incident: Incident, status: str) -> str:
    undone = rollbacks_of(incident.ref).exists()
    if status == PostStatus.IDENTIFIED:
        return gettext("A recent change is being undone now.") if undone else gettext("A remedy is under way.")
    if status == PostStatus.MONITORING:
        done = f"{incident.mitigated_at or timezone.now():%H:%M} UTC"
        said = (
            gettext("The change was undone at %(time)s.") if undone else gettext("A remedy is in place since %(time)s.")
        )
        return said % {"time": done}
    return ""


def sentence_for(incident: Incident, name: str, status: str) -> str:
    """What a stakeholder reads of an incident that comes to that status."""
    since = f"{_start(incident):%H:%M} UTC"
    slow = incident.incident_alerts.filter(alert__rule__kind="latency").exists() and not (
        incident.incident_alerts.exclude(alert__rule__kind="latency").exists()
    )
    known = {"since": since, "service": name, "remedy": _remedy(incident, status)}
    if slow:
        trouble = gettext("Since %(since)s, the answers of “%(service)s” take longer than they should.")
    else:
        trouble = gettext("Since %(since)s, the answers of “%(service)s” are less reliable than they should be.")
    if status == PostStatus.INVESTIGATING:
        return f"{trouble % known} {gettext('People are working on it.')}"
    if status == PostStatus.IDENTIFIED:
        return f"{trouble % known} {known['remedy']}"
    if status == PostStatus.MONITORING:
        if rollbacks_of(incident.ref).exists() and (left := left_out(incident)):
            known |= {"remedy": known["remedy"].removesuffix("."), "left": left}
            return gettext("%(remedy)s for most of “%(service)s”. %(left)s We are watching the rest.") % known
        return gettext("%(remedy)s We are watching that “%(service)s” works as it should again.") % known
    known["minutes"] = _span(incident)
    return gettext(
        "“%(service)s” works as it should again. It did not from %(since)s on, for %(minutes)s."
    ) % known  # fmt: skip


def left_out(incident: Incident) -> str:
    """A sentence where the newest rollback left a part of the machines as they were; "" where it reached all."""
    newest = rollbacks_of(incident.ref).order_by("-started_at").first()
    if newest is None:
        return ""
    total, done = newest.steps.count(), newest.steps.filter(state=StepState.DONE).count()
    said = gettext("It reached %(done)s of %(total)s machines so far.") % {"done": done, "total": total}
    return said if done < total else ""
