"""Pages: an endpoint's charts, its windows with what was found in them, and deliveries that could not be read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import condition, require_GET

from accounts.permissions import may, require
from monitoring import charts, queries
from monitoring.models import Answer, Finding, Rule, RuleKind, Window, WindowState
from monitoring.questions import limits_in_words
from registry.models import Deployment, Endpoint

SHOWN_WINDOWS = 120
HOURS = (1, 6, 24, 168)
PAGE = 50

CHECKS = {Answer.OK: "pass", Answer.BREACH: "fail", Answer.NOT_ENOUGH: "inconclusive"}

QUESTIONS = {
    RuleKind.ACCURACY: "Is it as accurate as it promised?",
    RuleKind.INPUT_DRIFT: "Are the inputs like its training data?",
    RuleKind.OUTPUT_DRIFT: "Are its answers like those on its training data?",
    RuleKind.LATENCY: "Is it as fast as the endpoint was?",
}


@dataclass(frozen=True)
class Row:
    """A finding as parts/check_row.html takes it, with its sentence and the rule's limits in words."""

    question: str
    answer: str
    observed: str
    expected: str
    interval: str
    note: str
    limits: str
    finding: Finding


def endpoint_for(request: HttpRequest, slug: str) -> Endpoint:
    """Lookup and permission in one: an endpoint for a person who may see it."""
    require(request, "view")
    return get_object_or_404(Endpoint.objects.select_related("model"), slug=slug)


def _hours(request: HttpRequest) -> int | None:
    try:
        hours = int(request.GET.get("hours", ""))
    except ValueError:
        return None
    return hours if hours in HOURS else None


def _span(endpoint: Endpoint, hours: int | None) -> charts.Span:
    """What is shown: the hours asked for, else the newest SHOWN_WINDOWS windows."""
    if hours is not None:
        now = timezone.now()
        return charts.span(endpoint, now - timedelta(hours=hours), now)
    windows = list(Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED)[:SHOWN_WINDOWS])
    if not windows:
        now = timezone.now()
        return charts.Span(endpoint, now - timedelta(hours=1), now, {})
    return charts.span(endpoint, windows[-1].start, windows[0].end)


def _charts_etag(request: HttpRequest, slug: str) -> str | None:
    """Changes with each judged window, deployment, alert and rule, and with what the reader may see."""
    if not request.user.is_authenticated:
        return None
    newest: list[Any] = [
        Window.objects.filter(endpoint__slug=slug, state=WindowState.JUDGED).values_list("pk", "attempts").first(),
        Finding.objects.filter(rule__endpoint__slug=slug).order_by("-pk").values_list("pk", flat=True).first(),
        Deployment.objects.filter(endpoint__slug=slug).values_list("pk", flat=True).first(),
        *Rule.objects.filter(endpoint__slug=slug).order_by("pk").values_list("params", "enabled", "min_rows"),
    ]
    key = (request.get_full_path(), bool(request.headers.get("HX-Request")), request.user.pk, newest)
    return f'"{queries.short_digest(key, request.user.permission_epoch)}"'


@login_required
@require_GET
@condition(etag_func=_charts_etag)
def endpoint_charts(request: HttpRequest, slug: str) -> HttpResponse:
    """The endpoint's findings and charts: a part of another page for htmx, else a page of its own."""
    endpoint = endpoint_for(request, slug)
    hours = _hours(request)
    over = _span(endpoint, hours)
    silent = _silent(endpoint)
    drawn = [chart for draw in charts.CHARTS.values() if (chart := draw(over)) is not None]
    context = {
        "endpoint": endpoint,
        "monitor": queries.monitor_of(endpoint),
        "rows": [_row(finding) for finding in queries.latest_findings(endpoint) if finding.host_id is None],
        "window": queries.newest_window(endpoint),
        "charts": drawn,
        "hours": hours,
        "choices": HOURS,
        "sentence": _sentence(endpoint, silent),
        "silent": silent,
    }
    name = "endpoint_charts" if request.headers.get("HX-Request") else "endpoint_charts_page"
    return render(request, f"monitoring/{name}.html", context)


def _sentence(endpoint: Endpoint, silent: datetime | None) -> str:
    found = [f for f in queries.latest_findings(endpoint) if f.answer == Answer.BREACH]
    if found:
        return found[0].sentence
    window = queries.newest_window(endpoint)
    if window is None:
        return f"No window of {endpoint.name} has been judged yet."
    if silent:
        return f"No data from {endpoint.name} since {_clock(silent)} UTC: whether it is well is not known."
    return f"Nothing was beyond its limit in the newest window of {endpoint.name}, {_clock(window.start)} UTC."


def _silent(endpoint: Endpoint) -> datetime | None:
    return queries.silent_since([endpoint], timezone.now()).get(endpoint.pk)


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _row(finding: Finding) -> Row:
    observed, expected, interval = _figures(finding)
    subject = f"version {finding.version}{f' on {finding.host.name}' if finding.host else ''}"
    return Row(
        question=f"{QUESTIONS[RuleKind(finding.rule.kind)]} ({subject})",
        answer=CHECKS[Answer(finding.answer)],
        observed=observed,
        expected=expected,
        interval=interval,
        note=finding.sentence,
        limits=f"{limits_in_words(finding.rule.kind, finding.rule.params)} {finding.data.get('false_alarms', '')}",
        finding=finding,
    )


def _figures(finding: Finding) -> tuple[str, str, str]:
    """Observed, expected and interval of a finding as text; empty where there was not enough data."""
    if finding.value is None or finding.limit is None:
        return "", "", ""
    if finding.rule.kind == RuleKind.ACCURACY:
        data = finding.data
        interval = f"{data['low']:.1%} to {data['high']:.1%}" if "low" in data else ""
        return f"{finding.value:.1%}", f"above {finding.limit:.1%}", interval
    if finding.rule.kind == RuleKind.LATENCY:
        return f"{finding.value:.1f} times", f"under {finding.limit:g} times", ""
    return f"PSI {finding.value:.2f}", f"under {finding.limit:g}", ""


@login_required
@require_GET
def figure(request: HttpRequest, slug: str, name: str) -> JsonResponse:
    """One chart's figure as JSON; `?column=` picks the column of the distribution."""
    endpoint = endpoint_for(request, slug)
    if name not in charts.CHARTS:
        raise Http404(f"There is no chart {name}; there are {', '.join(charts.CHARTS)}.")
    over = _span(endpoint, _hours(request))
    column = request.GET.get("column", "")
    chart = charts.distribution(over, column) if name == "distribution" else charts.CHARTS[name](over)
    if chart is None:
        raise Http404("There is no data for this chart in this span yet.")
    return JsonResponse(chart.figure)


@login_required
@require_GET
def window_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The endpoint's windows, newest first, each with what was beyond its limit."""
    endpoint = endpoint_for(request, slug)
    windows = Window.objects.filter(endpoint=endpoint).prefetch_related("findings__rule").order_by("-start", "-id")
    page = Paginator(windows, PAGE).get_page(request.GET.get("page"))
    rows = [(window, _worth_telling(window.findings.all())) for window in page]
    context = {"endpoint": endpoint, "page": page, "rows": rows, "sentence": _sentence(endpoint, _silent(endpoint))}
    return render(request, "monitoring/window_list.html", context)


def _worth_telling(findings: Iterable[Finding]) -> list[Finding]:
    """The breaches, those of single hosts only where the version as a whole was within its limit."""
    breaches = [finding for finding in findings if finding.answer == Answer.BREACH]
    whole = {(finding.rule_id, finding.version) for finding in breaches if finding.host_id is None}
    return [f for f in breaches if f.host_id is None or (f.rule_id, f.version) not in whole]


@login_required
@require_GET
def window_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One window: every answer of every rule, with its limits in words and the columns behind it."""
    require(request, "view")
    window = get_object_or_404(Window.objects.select_related("endpoint"), pk=pk)
    found = Finding.objects.filter(window=window).select_related("rule", "host").order_by("version", "rule__kind", "pk")
    rows = [_row(finding) for finding in found]
    breaches = [row.note for row in rows if row.answer == "fail"]
    if window.state == WindowState.OPEN:
        sentence = f"This window is judged when its labels have had their time, {_clock(window.due_at)} UTC."
    elif breaches:
        sentence = breaches[0]
    else:
        sentence = (
            "Nothing in this window was beyond its limit." if window.rows else "Nothing was answered in this window."
        )
    trail = [
        (reverse("endpoint-detail", args=[window.endpoint.slug]), window.endpoint.name),
        (reverse("window-list", args=[window.endpoint.slug]), "Windows"),
    ]
    context = {
        "window": window,
        "rows": rows,
        "whole": [row for row in rows if row.finding.host_id is None],
        "sentence": sentence,
        "trail": trail,
        "bad": bool(breaches),
    }
    return render(request, "monitoring/window_detail.html", context)


@login_required
@require_GET
def delivery_list(request: HttpRequest) -> HttpResponse:
    """What was taken in and could not be read, with the reason and the beginning of the body."""
    require(request, "view")
    page = Paginator(queries.set_aside(), PAGE).get_page(request.GET.get("page"))
    waiting = queries.waiting_deliveries()
    context = {"page": page, "waiting": waiting, "may_read_again": may(request.user, "incident.respond")}
    return render(request, "monitoring/delivery_list.html", context)
