"""Pages: the charts of a model over the span that the address names, and each alone, as JSON and as CSV."""

from datetime import timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from monitoring import charts
from monitoring.chart_views import HOURS, Asked, asked_by, held, points_csv
from monitoring.charts.parts import Chart
from monitoring.model_charts import CALLED, CHARTS, ModelSpan, model_span, names_on
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
        "model": model, "asked": asked, "query": asked.address(), "over": over, "chart": _drawn(over, name, asked),
        "name": name, "called": CALLED.get(name) or charts.called(name), "alone": "chart" in request.GET,
        "later": [(one, CALLED[one]) for one in later], "spans": _spans(asked),
        **(_on_endpoint(over, asked) if over else {}),
    }  # fmt: skip
    if not request.headers.get("HX-Request"):
        return render(request, "monitoring/model_charts_page.html", context)
    return render(request, f"monitoring/{'model_chart' if context['alone'] else 'model_charts'}.html", context)


def _on_endpoint(over: ModelSpan, asked: Asked) -> dict[str, Any]:
    """The charts of the endpoint that was chosen, and the ways to the others."""
    chosen = over.on(asked.endpoint)
    return {
        "chosen": chosen.endpoint,
        "of_endpoint": [(name, charts.called(name)) for name in names_on(chosen)],
        "held": held(asked, chosen),
        "endpoints": [
            {"name": one.endpoint.name, "query": asked.address(endpoint=one.endpoint.slug), "now": one is chosen}
            for one in over.overs
        ],
    }


def _spans(asked: Asked) -> list[dict[str, Any]]:
    bare = {"since": "", "until": ""}
    chosen = None if asked.since else asked.hours or DEFAULT_HOURS
    return [
        {"label": label, "query": asked.address(**bare, hours=hours), "now": hours == chosen}
        for hours, label in HOURS.items()
    ]


def _drawn(over: ModelSpan | None, name: str, asked: Asked) -> Chart | None:
    if name in CHARTS:
        return CHARTS[name](over) if over else None
    chosen = over.on(asked.endpoint) if over else None
    if chosen is None or name not in (names := names_on(chosen)):
        known = ", ".join([*CHARTS, *(names if chosen else [])])
        raise Http404(gettext("There is no chart %(name)s; there are %(names)s.") % {"name": name, "names": known})
    return charts.chart_of(chosen, name, asked.column)


def _one(request: HttpRequest, slug: str, name: str) -> Chart:
    asked = asked_by(request.GET)
    chart = _drawn(_span(model_for(request, slug), asked), name, asked)
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
