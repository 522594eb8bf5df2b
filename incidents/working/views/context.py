"""What a responder asks during triage: what changed, what this resembles, whom it touches."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.permissions import may, user_of
from audit.clock import database_now
from incidents.models import Incident
from incidents.views.pages import incident_for
from incidents.working.reach import estimate, touched
from incidents.working.resembling import similar
from incidents.working.suspects import suspects


def triage_context(incident: Incident) -> dict[str, Any]:
    """Everything that the page shows, in at most 20 queries however much has happened."""
    links = incident.incident_alerts.select_related("alert__endpoint", "alert__rule", "alert__host")
    return {
        "alerts": [link.alert for link in links.order_by("-joined_at")[:50]],
        "suspects": suspects(incident),
        "similar": similar(incident),
        "touched": touched(incident),
        "estimate": estimate(incident, database_now()),
    }


@login_required
@require_GET
def incident_context(request: HttpRequest, ref: str) -> HttpResponse:
    """A page of its own; the incident's page loads the same as a part."""
    incident = incident_for(request, ref)
    context = triage_context(incident) | {"incident": incident, "may_audit": may(user_of(request), "audit.view")}
    part = request.headers.get("HX-Request") == "true"
    return render(request, "working/parts/context.html" if part else "working/context.html", context)
