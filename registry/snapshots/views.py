"""Pages of snapshots: those of an endpoint, one of them, and what differs since."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may_on, require, require_on
from audit.names import display
from registry.errors import RegistryError
from registry.snapshots import actions, queries
from registry.snapshots.forms import RetentionForm
from registry.snapshots.models import Reason, Snapshot, Sweep
from registry.snapshots.preview import preview
from registry.store import ArtifactUnavailable
from registry.views import endpoint_for

PAGE = 50


def rule_in_force() -> dict[str, int]:
    """The settings by which things are removed, for the page that explains them."""
    return {
        "days": settings.LASTGOOD_ARTIFACTS_DAYS,
        "versions": settings.LASTGOOD_ARTIFACTS_VERSIONS,
        "snapshot_days": settings.LASTGOOD_SNAPSHOTS_DAYS,
        "snapshot_count": settings.LASTGOOD_SNAPSHOTS_COUNT,
    }


def snapshot_for(request: HttpRequest, pk: int, permission: str = "view") -> Snapshot:
    """Lookup and permission in one: a snapshot for a person who may do that with it."""
    require(request, permission)
    snapshot = get_object_or_404(Snapshot.objects.select_related("endpoint__model", "endpoint__fallback"), pk=pk)
    require_on(request, permission, snapshot)
    return snapshot


@login_required
@require_http_methods(["GET", "POST"])
def of_endpoint(request: HttpRequest, slug: str) -> HttpResponse:
    """Those of an endpoint, the last first; POST takes one now."""
    if request.method == "POST":
        endpoint = endpoint_for(request, slug, "incident.command")
        taken = actions.take(endpoint=endpoint, reason=Reason.BY_HAND, actor=actor_for(request=request))
        messages.success(request, gettext("The snapshot is taken; a worker now reads its files from the store."))
        return redirect("snapshot", pk=taken.pk)
    endpoint = endpoint_for(request, slug)
    rows = Paginator(endpoint.snapshots.all(), PAGE).get_page(request.GET.get("page"))
    context = {
        "endpoint": endpoint,
        "rows": rows,
        "may_take": may_on(request.user, "incident.command", endpoint),
    }
    return render(request, "snapshots/of_endpoint.html", context)


@login_required
@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One snapshot, and what differs from it to now, or to the other of the same endpoint that `with` names."""
    snapshot = snapshot_for(request, pk)
    others = list(snapshot.endpoint.snapshots.exclude(pk=pk).only("pk", "taken_at", "reason")[:PAGE])
    asked = request.GET.get("with", "")
    other = None
    if asked.isascii() and asked.isdigit():
        other = get_object_or_404(snapshot.endpoint.snapshots, pk=int(asked[:18]))
    context = {
        "snapshot": snapshot,
        "endpoint": snapshot.endpoint,
        "other": other,
        "others": others,
        "changes": queries.against(snapshot, other),
        "by": display([snapshot.taken_by])[snapshot.taken_by],
        "target": queries.version_to_restore(snapshot),
        "may_propose": may_on(request.user, "plan.propose", snapshot),
        "may_keep": may_on(request.user, "incident.command", snapshot),
    }
    return render(request, "snapshots/detail.html", context)


@login_required
@require_GET
def retention(request: HttpRequest) -> HttpResponse:
    """What the next sweep removes and why the rest stays; with `days`, what a rule of so many would remove."""
    require(request, "view")
    form = RetentionForm(request.GET)
    asked = form.cleaned_data["days"] if form.is_valid() else None
    context: dict[str, Any] = {"form": form, "asked": asked, "sweeps": Sweep.objects.order_by("-day")[:PAGE]}
    try:
        context["seen"] = preview(asked)
    except ArtifactUnavailable as error:
        context["unavailable"] = str(error)
    return render(request, "snapshots/retention.html", context | {"rule": rule_in_force()})


@login_required
@require_POST
def keep(request: HttpRequest, pk: int) -> HttpResponse:
    """Keep the snapshot from retention, with a reason; without one, no longer."""
    snapshot = snapshot_for(request, pk, "incident.command")
    try:
        actions.keep(snapshot=snapshot, reason=request.POST.get("reason", ""), actor=actor_for(request=request))
    except RegistryError as error:
        messages.error(request, str(error))
    return redirect("snapshot", pk=pk)
