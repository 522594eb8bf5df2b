"""Page, part and CSV of a comparison. The address names both sides, so that a copied link shows the same; one that is
computed from every row has a page of its own, which follows the work and then shows what was kept."""

import csv
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.permissions import may_on, require_on
from monitoring import queries
from monitoring.comparing import actions, kept
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import Comparison, compare_sides
from monitoring.comparing.models import ExactComparison, ExactState
from monitoring.comparing.sides import AGAINST, HOURS, Asked, BadSide, Side, asked_by
from monitoring.sketches import TooMuch
from monitoring.views import endpoint_for
from registry.models import Endpoint

REFUSED = (BadSide, NothingThere, TooMuch)
NEWEST = 5
"""Exact comparisons of the endpoint that the page lists."""


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
        "sides": _sides(asked), "kept": [(name, value) for name, value in request.GET.items() if name != "column"],
        "exactly": sorted(kept_sides(asked).items()) if asked else [],
    }  # fmt: skip
    part = request.GET.get("part") and request.headers.get("HX-Request")
    if not part:
        newest = ExactComparison.objects.filter(endpoint=endpoint).defer("content").select_related("asked_by")[:NEWEST]
        context["computed"] = [(one, kept.asked_of(endpoint, one.asked)) for one in newest]
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
    return [("a", gettext("Hold this"), now), ("b", gettext("against this"), asked.before or now if asked else None)]


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
    return _csv(found, problem, f"{slug}-comparison")


def _csv(found: Comparison | None, problem: str, name: str) -> HttpResponse:
    if found is None:
        return HttpResponse(f"{problem}\n", status=400, content_type="text/plain; charset=utf-8")
    answer = HttpResponse(content_type="text/csv; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    csv.writer(answer).writerows(found.rows())
    return answer


def kept_sides(asked: Asked) -> dict[str, str]:
    """The fields that ask for the same sides with their spans fixed."""
    fixed = asked.address(hours="", column="", **_ends("a", asked.now), **_ends("b", asked.before))
    return {name: value for name, value in QueryDict(fixed).items() if value}


def _ends(side: str, one: Side | None) -> dict[str, str]:
    return {f"{side}_since": one.since.isoformat(), f"{side}_until": one.until.isoformat()} if one else {}


def get_exact_for(request: HttpRequest, slug: str, pk: UUID) -> ExactComparison:
    """Lookup and permission in one."""
    endpoint = endpoint_for(request, slug)
    found = get_object_or_404(ExactComparison.objects.select_related("asked_by"), pk=pk, endpoint=endpoint)
    found.endpoint = endpoint
    return found


@login_required
@require_POST
def ask_exactly(request: HttpRequest, slug: str) -> HttpResponse:
    """Have both sides compared from every row; its own page follows the work."""
    endpoint = endpoint_for(request, slug)
    try:
        asked = asked_by(endpoint, request.POST, timezone.now())
        made = actions.ask_exactly(asked=asked, user=request.user, actor=actor_for(request=request))
    except (BadSide, actions.ExactRefused) as refused:
        messages.error(request, str(refused))
        return redirect("monitoring-compare", slug)
    return redirect("monitoring-exact", slug, made.pk)


@login_required
@never_cache
@require_GET
def exact(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """How far it is; when it is done, what was kept. For htmx the part that follows the work."""
    one = get_exact_for(request, slug, pk)
    if request.headers.get("HX-Request"):
        if not one.unfinished:
            return HttpResponse(headers={"HX-Refresh": "true"})
        return render(request, "monitoring/exact_progress.html", {"one": one, "endpoint": one.endpoint})
    found, problem = _kept(one, request.GET.get("column", "")[:200])
    asked = kept.asked_of(one.endpoint, one.asked)
    context = {
        "endpoint": one.endpoint, "one": one, "asked": asked, "found": found,
        "sentence": found.sentence if found else problem or _standing(one), "sketched": asked.address(),
        "exactly": sorted(kept_sides(asked).items()),
        "may_cancel": one.unfinished and (one.asked_by_id == request.user.pk or may_on(
            request.user, "incident.respond", one)),
    }  # fmt: skip
    return render(request, "monitoring/exact.html", context)


def _kept(one: ExactComparison, column: str) -> tuple[Comparison | None, str]:
    if one.state != ExactState.DONE or one.content is None:
        return None, one.problem
    try:
        return kept.unpacked(one.endpoint, bytes(one.content), one.sha256, column), ""
    except kept.Altered as altered:
        return None, str(altered)


def _standing(one: ExactComparison) -> str:
    if one.state == ExactState.CANCELLED:
        return gettext("This comparison was cancelled before it was done.")
    if one.state == ExactState.RUNNING and one.total:
        return gettext("%(done)s of %(total)s columns of %(rows)s rows are compared.") % {
            "done": one.done,
            "total": one.total,
            "rows": f"{one.rows:,}",
        }
    return (
        gettext("This comparison waits for a worker.")
        if one.state == ExactState.WAITING
        else gettext("The rows are being read.")
    )


@login_required
@require_POST
def cancel_exact(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """Who asked for it cancels it, or whoever responds to the model's incidents."""
    one = get_exact_for(request, slug, pk)
    if one.asked_by_id != request.user.pk:
        require_on(request, "incident.respond", one)
    try:
        actions.cancel(comparison=one, actor=actor_for(request=request))
    except actions.ExactRefused as refused:
        messages.error(request, str(refused))
    return redirect("monitoring-exact", slug, pk)


@login_required
@require_GET
def exact_numbers(request: HttpRequest, slug: str, pk: UUID) -> HttpResponse:
    """What was kept as CSV; 400 with the reason where there is nothing."""
    one = get_exact_for(request, slug, pk)
    found, problem = _kept(one, "")
    return _csv(found, problem or _standing(one), f"{slug}-comparison-{str(pk)[:8]}")
