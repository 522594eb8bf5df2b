"""Pages of rehearsals: ordered from a composed version's page, followed here."""

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.permissions import require, user_of
from incidents.rollback.models import OPEN_TRIALS, Trial
from incidents.rollback.rehearsal import NotRehearsed, ask_rehearsal
from registry.composing import rehearsal_sentence
from registry.models import Endpoint, Version


def rehearsal_for(request: HttpRequest, pk: UUID) -> Trial:
    """Lookup and permission in one: a rehearsal for a person who may see it."""
    require(request, "view")
    rows = Trial.objects.select_related("endpoint", "version__model").prefetch_related("loads__host", "loads__version")
    return get_object_or_404(rows, pk=pk, version__isnull=False)


@login_required
@require_POST
def order(request: HttpRequest) -> HttpResponse:
    """Have a version rehearsed on an endpoint."""
    require(request, "plan.propose")
    version = get_object_or_404(Version.objects.select_related("model"), pk=_number(request.POST.get("version", "")))
    endpoint = get_object_or_404(Endpoint.objects.select_related("model"), slug=request.POST.get("endpoint", ""))
    try:
        trial = ask_rehearsal(
            version=version,
            endpoint=endpoint,
            user=user_of(request),
            incident_ref=request.POST.get("incident_ref", "")[:40],
            actor=actor_for(request=request),
        )
    except NotRehearsed as error:
        messages.error(request, str(error))
        return redirect("version-detail", slug=version.model.slug, number=version.number)
    return redirect("rehearsal", pk=trial.pk)


def _number(text: str) -> int:
    return int(text) if text.isdecimal() and len(text) < 18 else 0


@login_required
@require_GET
def rehearsal(request: HttpRequest, pk: UUID) -> HttpResponse:
    """How a rehearsal stands; it asks for itself again until it has ended."""
    trial = rehearsal_for(request, pk)
    assert trial.version is not None
    address = reverse("version-detail", args=[trial.version.model.slug, trial.version.number])
    context = {
        "trial": trial,
        "version": trial.version,
        "waiting": trial.state in OPEN_TRIALS,
        "rehearsed": rehearsal_sentence(trial.version),
        "address": f"{address}?incident_ref={trial.incident_ref}" if trial.incident_ref else address,
        "trail": [
            (
                address,
                gettext("%(slug)s version %(number)s")
                % {"slug": trial.version.model.slug, "number": trial.version.number},
            )
        ],
    }
    part = "rollback/parts/rehearsal.html" if "HX-Request" in request.headers else "rollback/rehearsal.html"
    return render(request, part, context)
