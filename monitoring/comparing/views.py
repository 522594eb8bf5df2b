"""Page, part and CSV of a comparison. The address names both sides, so that a copied link shows the same."""

import csv
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from monitoring import queries
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import Comparison, compare_sides
from monitoring.comparing.sides import AGAINST, HOURS, Asked, BadSide, Side, asked_by
from monitoring.sketches import TooMuch
from monitoring.store import StoreDamaged
from monitoring.views import endpoint_for
from registry.models import Endpoint

REFUSED = (BadSide, NothingThere, TooMuch, StoreDamaged)


@login_required
@require_GET
def comparison(request: HttpRequest, slug: str) -> HttpResponse:
    """Both sides held against each other; `?part=1` for htmx is the columns alone, as charts show."""
    endpoint = endpoint_for(request, slug)
    asked, found, problem = _compared(request, endpoint)
    context: dict[str, Any] = {
        "endpoint": endpoint, "asked": asked, "found": found, "problem": problem,
        "sentence": found.sentence if found else problem, "against": _choices(asked), "hours": _hours(asked),
        "versions": queries.versions_and_hosts(endpoint), "query": asked.address() if asked else "",
        "exactly": asked.address(exact=1) if asked else "", "sketched": asked.address(exact="") if asked else "",
        "columns": sorted(column.name for column in found.found.columns) if found else [],
        "shown": found.shown if found else "", "sides": _sides(asked),
        "kept": [(name, value) for name, value in request.GET.items() if name != "column"],
    }  # fmt: skip
    part = request.GET.get("part") and request.headers.get("HX-Request")
    return render(request, f"monitoring/{'comparison_part' if part else 'comparison'}.html", context)


def _compared(request: HttpRequest, endpoint: Endpoint) -> tuple[Asked | None, Comparison | None, str]:
    asked: Asked | None = None
    try:
        asked = asked_by(endpoint, request.GET, timezone.now())
        return asked, compare_sides(asked), ""
    except REFUSED as refused:
        return asked, None, str(refused)


def _sides(asked: Asked | None) -> list[tuple[str, str, Side | None]]:
    """What the form's two halves hold."""
    now = asked.now if asked else None
    return [("a", "Hold this", now), ("b", "against this", asked.before or now if asked else None)]


def _choices(asked: Asked | None) -> list[dict[str, Any]]:
    """What one click holds the side against."""
    if asked is None:
        return []
    bare = {"b_version": "", "b_host": "", "b_since": "", "b_until": ""}
    return [
        {"label": words, "query": asked.address(**bare, against=name), "now": asked.against == name}
        for name, words in AGAINST.items()
        if name != "side"
    ]


def _hours(asked: Asked | None) -> list[dict[str, Any]]:
    """Sliding spans: so many hours up to the newest judged window."""
    if asked is None:
        return []
    moved = {"a_since": "", "a_until": "", "b_since": "", "b_until": ""}
    against = asked.against if asked.against != "side" else "before"
    return [
        {
            "label": label,
            "query": asked.address(**moved, hours=hours, against=against),
            "now": asked.hours == hours,
        }
        for hours, label in HOURS.items()
    ]


@login_required
@require_GET
def numbers(request: HttpRequest, slug: str) -> HttpResponse:
    """The comparison as CSV; 400 with the reason where there is none."""
    _, found, problem = _compared(request, endpoint_for(request, slug))
    if found is None:
        return HttpResponse(f"{problem}\n", status=400, content_type="text/plain; charset=utf-8")
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{slug}-comparison.csv"'
    csv.writer(answer).writerows(found.rows())
    return answer
