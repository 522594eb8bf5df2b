"""Duties to report an incident: marked by who commands it, read by auditors with their clocks."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, may_on, require, user_of
from audit.clock import database_now
from audit.duties import load
from audit.views import csv_file
from incidents import duties
from incidents.errors import Conflict, IncidentError
from incidents.forms import DutyForm
from incidents.models import DutyState, Incident
from incidents.views.pages import incident_for

TONES = {
    "undecided": "quiet", "does not apply": "quiet", "sent": "ok", "sent late": "bad", "waits": "quiet",
    "overdue": "bad", "soon": "warn", "running": "busy",
}  # fmt: skip


@login_required
@require_GET
def incident_duties(request: HttpRequest, ref: str) -> HttpResponse:
    """What the incident must be reported by, when, and what was said of each."""
    return _page(request, incident_for(request, ref))


@login_required
@require_http_methods(["GET", "POST"])
def mark(request: HttpRequest, ref: str, clock: str) -> HttpResponse:
    """Say of one deadline that it applies, that it does not, or that its report was sent."""
    incident = incident_for(request, ref, "incident.command")
    shown = next((one for one in duties.clocks_of(incident) if one.clock.id == clock), None)
    if shown is None:
        raise Http404(gettext("There is no duty %(clock)s.") % {"clock": clock})
    version = shown.mark.version if shown.mark else 0
    if request.method == "GET":
        state = DutyState.NOTIFIED if shown.mark and shown.mark.state == DutyState.APPLIES else DutyState.APPLIES
        initial = {"version": version, "aware_at": shown.aware_at, "state": state}
        return _form(request, incident, shown, DutyForm(initial=initial))
    form = DutyForm(request.POST)
    if not form.is_valid():
        return _form(request, incident, shown, form, 400)
    typed: dict[str, Any] = dict(form.cleaned_data)
    try:
        duties.mark_duty(
            incident=incident,
            clock=clock,
            seen_version=typed.pop("version") or 0,
            actor=actor_for(request=request),
            **typed,
        )
    except Conflict:
        form.add_error(None, gettext("Somebody else has marked it since you opened this page. Load it again."))
        return _form(request, incident, shown, form, 409)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _form(request, incident, shown, form, 409)
    messages.success(request, gettext("It is on record."))
    return redirect("incident-duties", ref=ref)


@never_cache
@login_required
@require_GET
def clocks(request: HttpRequest) -> HttpResponse:
    """For auditors: the clocks of all incidents that are open, or for which a report is owed."""
    require(request, "audit.view")
    now = database_now()
    found = duties.clocks_of_open()
    undecided = {one.incident.ref for one in found if one.mark is None}
    sentence, tone = (
        duties.worst(found, now) if found else (gettext("No incident is open, and no report is owed."), "ok")
    )
    context = {
        "rows": [row for row in _rows(found, now) if row["state"] not in ("undecided", "does not apply")],
        "undecided": sorted(undecided),
        "here": "clocks",
        "may_export": may(user_of(request), "audit.export"),
        "sentence": sentence,
        "tone": tone,
    }
    return render(request, "incidents/clocks.html", context)


@login_required
@require_POST
def clocks_csv(request: HttpRequest) -> HttpResponse:
    """The clocks as CSV; that it was taken is on record."""
    require(request, "audit.export")
    now = database_now()
    header = ("incident", "law or standard", "article", "report", "state", "aware at", "due", "sent")
    rows = [
        (
            one.incident.ref,
            one.duty.source,
            one.duty.article,
            one.clock.label,
            one.state_at(now),
            one.aware_at.isoformat(),
            one.due.isoformat() if one.due else "",
            one.mark.notified_at.isoformat() if one.mark and one.mark.notified_at else "",
        )
        for one in duties.clocks_of_open()
    ]
    return csv_file("clocks", [header, *rows], {}, actor_for(request=request))


def _rows(found: list[duties.Ticking], now: Any) -> list[dict[str, Any]]:
    states = [one.state_at(now) for one in found]
    return [{"one": one, "state": state, "tone": TONES[state]} for one, state in zip(found, states, strict=True)]


def _page(request: HttpRequest, incident: Incident) -> HttpResponse:
    now = database_now()
    found = duties.clocks_of(incident)
    sentence, tone = duties.worst(found, now)
    context = {
        "incident": incident,
        "rows": _rows(found, now),
        "note": load().note,
        "may_mark": may_on(user_of(request), "incident.command", incident),
        "sentence": f"{incident.ref}: {sentence}",
        "tone": tone,
        "trail": [("/incidents/", gettext("Incidents")), (f"/incidents/{incident.ref}/", incident.ref)],
    }
    return render(request, "incidents/duties.html", context)


def _form(
    request: HttpRequest, incident: Incident, shown: duties.Ticking, form: DutyForm, status: int = 200
) -> HttpResponse:
    context = {"incident": incident, "shown": shown, "form": form}
    return render(request, "incidents/duty_mark.html", context, status=status)
