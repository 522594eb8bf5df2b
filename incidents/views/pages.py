"""What is wrong now, all incidents, and one incident live."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET

from accounts.models import User
from accounts.permissions import may, may_on, require, require_on, user_of
from audit.queries import timeline
from incidents import queries
from incidents.forms import ProposeForm, ResolveForm, TriageForm
from incidents.models import LEGAL_MOVES, OPEN_STATES, Incident, IncidentRole, IncidentState
from incidents.narrative import tell
from incidents.next_step import next_step
from incidents.oncall.queries import lost_alerts, untaken
from incidents.rollback.models import Plan
from incidents.rollback.views import lanes_context
from incidents.working.models import Sighting
from incidents.working.roles import roll
from incidents.working.saved import views_for
from incidents.working.times import moments_of
from monitoring.models import Alert, AlertState
from monitoring.queries import silent_since
from monitoring.questions import listed
from registry.models import Endpoint, Placement

NEWEST = 8
PAGE = 50


def incident_for(request: HttpRequest, ref: str, permission: str = "view", *, bare: bool = False) -> Incident:
    """Lookup and permission in one: an incident for a person who may do that to it. A `bare` one comes without the
    holders of its roles."""
    require(request, permission)
    rows = queries.incidents()
    incident = get_object_or_404(rows.prefetch_related(None) if bare else rows, ref=ref)
    require_on(request, permission, incident)
    return incident


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What is wrong now, which model, who has it, and what waits for the reader."""
    require(request, "view")
    going_on = list(queries.found(state="open"))
    endpoints = _endpoints(going_on)
    silent = [row["endpoint"].name for row in endpoints if row["silent"]]
    return render(
        request,
        "incidents/home.html",
        {
            "incidents": [_row(incident) for incident in going_on],
            "sentence": _sentence(going_on, silent),
            "tone": "bad" if going_on else "unknown" if silent else "ok",
            "waiting": queries.waits_for(user_of(request), going_on),
            "untaken": untaken(going_on, user_of(request)),
            "lost": lost_alerts(),
            "endpoints": endpoints,
            "past": queries.found(state="over")[:5],
        },
    )


def _sentence(going_on: list[Incident], silent: list[str]) -> str:
    if not going_on and silent:
        return gettext("No incident is open, but there is no data from %(listed)s.") % {"listed": listed(silent)}
    if not going_on:
        return gettext("Nothing is wrong now.")
    if len(going_on) == 1:
        return f"{going_on[0].title}."
    return gettext("%(count)s incidents are open; the worst has severity %(min)s.") % {
        "count": len(going_on),
        "min": min(one.severity for one in going_on),
    }


def _row(incident: Incident) -> dict[str, Any]:
    holder = next((held.user for held in incident.held_now if held.role == IncidentRole.COMMANDER), None)
    return {"incident": incident, "commander": str(holder or "")}


def _endpoints(going_on: list[Incident]) -> list[dict[str, Any]]:
    """Each endpoint with what its hosts serve, and whether something fires or nothing comes in. Four queries in all."""
    firing = set(Alert.objects.filter(state=AlertState.FIRING).values_list("endpoint_id", flat=True))
    wrong = {incident.endpoint_id for incident in going_on}
    served: dict[int, set[str]] = {}
    for placement in Placement.objects.filter(host__drained_at=None):
        served.setdefault(placement.endpoint_id, set()).add(placement.observed_version)
    endpoints = list(Endpoint.objects.select_related("model").order_by("slug"))
    silent = silent_since(endpoints, timezone.now())
    return [
        {
            "endpoint": endpoint,
            "versions": sorted(version for version in served.get(endpoint.pk, ()) if version),
            "hosts": endpoint.pk in served,
            "silent": endpoint.pk in silent,
        }
        | _state(endpoint, wrong, firing, silent)
        for endpoint in endpoints
    ]


def _state(endpoint: Endpoint, wrong: set[Any], firing: set[Any], silent: dict[int, datetime]) -> dict[str, str]:
    if endpoint.pk in wrong:
        return {"state": "bad", "word": "incident"}
    if endpoint.pk in firing:
        return {"state": "warn", "word": "alert"}
    if endpoint.pk in silent:
        return {
            "state": "unknown",
            "word": gettext("no data since %(silent)s") % {"silent": f"{silent[endpoint.pk]:%Y-%m-%d %H:%M}"},
        }
    return {"state": "ok", "word": "quiet"}


@login_required
@require_GET
def incident_list(request: HttpRequest) -> HttpResponse:
    """All incidents, newest first, by text, state, severity and endpoint."""
    require(request, "view")
    asked = {name: request.GET.get(name, "").strip()[:100] for name in ("q", "state", "severity", "endpoint")}
    page = Paginator(queries.found(**asked), PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": [_row(incident) for incident in page],
        "asked": asked,
        "saved": views_for(user_of(request)),
        "query": urlencode({name: value for name, value in asked.items() if value}),
        "states": [("open", "Open"), ("over", "Over"), *IncidentState.choices],
        "sentence": (
            ngettext("%(count)s incident found", "%(count)s incidents found", page.paginator.count)
            % {"count": page.paginator.count}
        )
        if any(asked.values())
        else gettext("All incidents"),
    }
    return render(request, "incidents/list.html", context)


@login_required
@require_GET
def incident_detail(request: HttpRequest, ref: str) -> HttpResponse:
    """One incident: what happened, what is proposed, what is decided; the rollback host by host."""
    incident = incident_for(request, ref, bare=True)
    return render(request, "incidents/detail.html", _context(request, incident))


@login_required
@require_GET
def incident_live(request: HttpRequest, ref: str) -> HttpResponse:
    """The live part of the page; 304 while nothing about the incident has changed."""
    incident = incident_for(request, ref, bare=True)
    etag = queries.etag(incident, user_of(request))
    if request.headers.get("If-None-Match") == etag:
        return HttpResponseNotModified(headers={"ETag": etag})
    response = render(request, "incidents/parts/live.html", _context(request, incident))
    response["ETag"] = etag
    response["Cache-Control"] = "private, no-cache"
    return response


def _context(request: HttpRequest, incident: Incident) -> dict[str, Any]:
    user = user_of(request)
    now = queries.situation(incident)
    step = next_step(now, user)
    people = _people(now, user)
    told = tell(timeline(incident.ref, newest=NEWEST), known=_known(now, user, people["seen"]))
    context: dict[str, Any] = {
        "incident": incident,
        "now": now,
        "step": step,
        "seconds": 1 if now.moves else 5 if incident.state in OPEN_STATES else 15,
        "commander": str(now.commander or ""),
        **people,
        "moments": moments_of(incident),
        "is_open": incident.state in OPEN_STATES,
        "cards": queries.cards(now.evidence),
        "diagnosis": now.diagnosis(),
        "told": list(reversed(told)),
        "beside": queries.beside_rows(now.beside),
        "updates": now.around.updates,
        "may_audit": may(user, "audit.view"),
        **_forms(now, user),
    }
    if now.standing is not None and now.plan is not None:
        context["approval"] = _approval(now.plan, now)
    if now.run is not None:
        # The page's own polling brings the run with it.
        context |= lanes_context(now.run, user) | {"run_live": 0}
    return context


def _people(now: queries.Situation, user: User) -> dict[str, Any]:
    """Who holds or is offered each role, and who has seen the incident."""
    offers = {offer.role: offer for offer in now.around.offers}
    seen, unseen = roll(now.incident, now.around.sightings, now.holdings.values(), offers.values())
    return {
        "roles": [
            {"role": role.label.lower(), "holder": _holder(now, role), "offer": offers.get(role)}
            for role in IncidentRole
        ],
        "seen": seen,
        "unseen": unseen,
        "have_seen": any(one.user_id == user.pk for one in seen),
    }


def _known(now: queries.Situation, user: User, seen: list[Sighting]) -> list[User]:
    """The people whom this look at the incident has read already."""
    deciders = [decision.by for decision in now.standing.decisions] if now.standing else []
    proposer = [now.plan.proposer] if now.plan else []
    return [user, *(held.user for held in now.holdings.values()), *(one.user for one in seen), *deciders, *proposer]


def _holder(now: queries.Situation, role: str) -> str:
    held = now.holdings.get(role)
    return str(held.user) if held else ""


def _forms(now: queries.Situation, user: User) -> dict[str, Any]:
    """The forms that this reader may use on this incident now."""
    incident = now.incident
    is_open = incident.state in OPEN_STATES
    responds, commands = (may_on(user, right, incident) for right in ("incident.respond", "incident.command"))
    seen = {"version": incident.version}
    triaged = {"impact": incident.impact, "urgency": incident.urgency, "assessment": incident.assessment}
    return {
        "may_respond": responds,
        "may_command": commands,
        "may_tell": may_on(user, "status.publish", incident),
        "triage_form": TriageForm(initial=seen | triaged) if is_open and responds else None,
        "resolve_form": ResolveForm(initial=seen, auto_id="resolve_%s")
        if commands and IncidentState.RESOLVED in LEGAL_MOVES[incident.state]
        else None,
        "may_propose": is_open and may_on(user, "plan.propose", incident) and (now.run is None or not now.moves),
        "propose_form": ProposeForm(),
        "raise_to": incident.severity - 1 if is_open and responds and incident.severity > 1 else None,
    }


def _approval(plan: Plan, now: queries.Situation) -> dict[str, Any]:
    request = plan.request
    return {
        "state": request.state,
        "policy": request.policy.name,
        "seats": queries.seats(request, now.standing),
        "proposer": str(plan.proposer),
        "expires_at": request.expires_at,
        "hash": plan.plan_hash,
        "note": now.standing.denied.reason if now.standing.denied else "",
    }
