"""Pages: the charts of a model over the span that the address names, and each alone, as JSON and as CSV."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from monitoring.chart_views import HOURS, Asked, asked_by, points_csv
from monitoring.charts.parts import Chart
from monitoring.model_charts import CALLED, CHARTS, ModelSpan, model_span
from registry.models import Model
from registry.views import model_for

DEFAULT_HOURS = 168


def _span(model: Model, asked: Asked) -> ModelSpan | None:
    if asked.since is not None and asked.until is not None:
        return model_span(model, asked.since, asked.until)
    now = timezone.now()
    return model_span(model, now - timedelta(hours=asked.hours or DEFAULT_HOURS), now)


@login_required
@require_GET
def model_charts(request: HttpRequest, slug: str) -> HttpResponse:
    """A part of the model's page for htmx, else a page of its own: the first chart, and the places of the others, each
    of which is asked for as `?chart=` when it comes into view."""
    model, asked = model_for(request, slug), asked_by(request.GET)
    first, *later = CHARTS
    name = request.GET.get("chart", first)
    over = _span(model, asked)
    context: dict[str, Any] = {
        "model": model, "asked": asked, "query": asked.address(), "over": over, "chart": _drawn(over, name),
        "name": name, "called": CALLED[name], "alone": "chart" in request.GET,
        "later": [(one, CALLED[one]) for one in later], "spans": _spans(asked),
    }  # fmt: skip
    if not request.headers.get("HX-Request"):
        return render(request, "monitoring/model_charts_page.html", context)
    return render(request, f"monitoring/{'model_chart' if context['alone'] else 'model_charts'}.html", context)


def _spans(asked: Asked) -> list[dict[str, Any]]:
    bare = {"since": "", "until": ""}
    chosen = None if asked.since else asked.hours or DEFAULT_HOURS
    return [
        {"label": label, "query": asked.address(**bare, hours=hours), "now": hours == chosen}
        for hours, label in HOURS.items()
    ]


def _drawn(over: ModelSpan | None, name: str) -> Chart | None:
    if name not in CHARTS:
        raise Http404(
            gettext("There is no chart %(name)s; there are %(names)s.") % {"name": name, "names": ", ".join(CHARTS)}
        )
    return CHARTS[name](over) if over else None


def _one(request: HttpRequest, slug: str, name: str) -> Chart:
    chart = _drawn(_span(model_for(request, slug), asked_by(request.GET)), name)
    if chart is None:
        raise Http404(gettext("There is no data for this chart in this span yet."))
    return chart


@login_required
@require_GET
def figure(request: HttpRequest, slug: str, name: str) -> JsonResponse:
    """One chart's figure as JSON."""
    return JsonResponse(_one(request, slug, name).figure)


@login_required
@require_GET
def numbers(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One chart's traces as CSV: a row for each point, with the name of its line."""
    return points_csv(_one(request, slug, name), f"{slug}-{name}")
