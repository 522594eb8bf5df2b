"""The part of a version's page that shows the importance of its inputs."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods

from accounts.actions import actor_for
from accounts.permissions import may_on, require, require_on
from monitoring.chart_views import points_csv
from monitoring.importance.actions import ImportanceRefused, ask
from monitoring.importance.panel import shown
from registry.models import Version


def version_for(request: HttpRequest, slug: str, number: int, permission: str = "view") -> Version:
    """Lookup and permission in one: a version for a person who may do that with it."""
    require(request, permission)
    versions = Version.objects.select_related("model", "importance")
    version = get_object_or_404(versions, model__slug=slug, number=number)
    require_on(request, permission, version)
    return version


@login_required
@require_http_methods(["GET", "POST"])
def importance(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """What is known; a POST has it measured."""
    if request.method == "POST":
        version = version_for(request, slug, number, "registry.write")
        try:
            ask(version=version, actor=actor_for(request=request))
        except ImportanceRefused as refused:
            messages.error(request, str(refused))
        return redirect(f"{reverse('version-detail', args=[slug, number])}#importance-panel")
    version = version_for(request, slug, number)
    context = {"shown": shown(version), "may_ask": may_on(request.user, "registry.write", version)}
    return render(request, "importance/panel.html", context)


@login_required
@require_GET
def numbers(request: HttpRequest, slug: str, number: int) -> HttpResponse:
    """The chart's bars as CSV."""
    chart = shown(version_for(request, slug, number)).chart
    if chart is None:
        raise Http404(gettext("The importance of this version's inputs is not known yet."))
    return points_csv(chart, f"{slug}-{number}-importance")
