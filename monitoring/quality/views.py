"""The page of a version's quality over a span."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from monitoring import queries
from monitoring.charts.parts import Chart
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.sides import HOURS, BadSide
from monitoring.quality.delay import delay_chart
from monitoring.quality.detected import joint_chart
from monitoring.quality.performance import accuracy_chart, loss_chart
from monitoring.quality.report import Quality, quality_of
from monitoring.store import StoreDamaged
from monitoring.views import endpoint_for


@login_required
@require_GET
def quality(request: HttpRequest, slug: str) -> HttpResponse:
    """Accuracy known and estimated, labels' delay, groups, slices and skew."""
    endpoint = endpoint_for(request, slug)
    found: Quality | None = None
    problem = ""
    try:
        found = quality_of(endpoint, request.GET.dict(), timezone.now())
    except (BadSide, NothingThere, StoreDamaged) as refused:
        problem = str(refused)
    charts: list[Chart | None] = []
    if found:
        charts += [accuracy_chart(found.performance), loss_chart(found.performance), delay_chart(found.delay)]
        charts += [joint_chart(one) for one in found.detected]
    moved = {"a_since": "", "a_until": "", "b_since": "", "b_until": "", "against": "before"}
    context = {
        "endpoint": endpoint, "found": found, "problem": problem, "sentence": found.sentence if found else problem,
        "charts": [chart for chart in charts if chart], "versions": queries.versions_and_hosts(endpoint)[0],
        "offline": request.GET.get("offline", ""),
        "hours": [
            {"label": label, "now": found.asked.hours == hours, "query": found.asked.address(**moved, hours=hours)}
            for hours, label in HOURS.items()
        ] if found else [],
    }  # fmt: skip
    return render(request, "monitoring/quality.html", context)
