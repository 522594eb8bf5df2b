"""Pages: an endpoint's windows with what was found in them, and deliveries that could not be read."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from accounts.permissions import may, require
from monitoring import queries
from monitoring.models import Answer, Finding, Monitor, RuleKind, Window, WindowState
from monitoring.questions import limits_in_words
from registry.models import Endpoint

SHOWN_WINDOWS = 120
HOURS = (1, 6, 24, 168)
PAGE = 50

CHECKS = {Answer.OK: "pass", Answer.BREACH: "fail", Answer.NOT_ENOUGH: "inconclusive"}

QUESTIONS = {
    RuleKind.ACCURACY: _("Is it as accurate as it promised?"),
    RuleKind.INPUT_DRIFT: _("Are the inputs like its training data?"),
    RuleKind.OUTPUT_DRIFT: _("Are its answers like those on its training data?"),
    RuleKind.LATENCY: _("Is it as fast as the endpoint was?"),
    RuleKind.JOINT_DRIFT: _("Are the inputs, taken together, like its holdout set?"),
    RuleKind.CONCEPT_DRIFT: _("Are its errors no more than they were?"),
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


def sentence_of(endpoint: Endpoint, silent: datetime | None, window: Window | None, findings: Iterable[Finding]) -> str:
    """The endpoint's state in a sentence, from its newest window with traffic and that window's findings."""
    found = [f for f in findings if f.answer == Answer.BREACH]
    if found:
        return found[0].sentence
    if window is None:
        return gettext("No window of %(name)s has been judged yet.") % {"name": endpoint.name}
    if silent:
        return gettext("No data from %(name)s since %(clock)s UTC: whether it is well is not known.") % {
            "name": endpoint.name,
            "clock": _clock(silent),
        }
    return gettext("Nothing was beyond its limit in the newest window of %(name)s, %(clock)s UTC.") % {
        "name": endpoint.name,
        "clock": _clock(window.start),
    }


def silent_of(endpoint: Endpoint, monitor: Monitor | None) -> datetime | None:
    """Since when nothing has come of the endpoint, if it is watched and nothing comes."""
    return queries.silent_since([endpoint], timezone.now()).get(endpoint.pk) if monitor else None


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def row_of(finding: Finding) -> Row:
    observed, expected, interval = _figures(finding)
    subject = (gettext("version %(finding)s on %(host)s") if finding.host else gettext("version %(finding)s")) % {
        "finding": finding.version,
        "host": finding.host.name if finding.host else "",
    }
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
        interval = (
            gettext("%(low)s to %(high)s") % {"low": f"{data['low']:.1%}", "high": f"{data['high']:.1%}"}
            if "low" in data
            else ""
        )
        return f"{finding.value:.1%}", gettext("above %(limit)s") % {"limit": f"{finding.limit:.1%}"}, interval
    if finding.rule.kind == RuleKind.LATENCY:
        return (
            gettext("%(value)s times") % {"value": f"{finding.value:.1f}"},
            gettext("under %(limit)s times") % {"limit": f"{finding.limit:g}"},
            "",
        )
    if finding.rule.kind == RuleKind.JOINT_DRIFT:
        return f"AUC {finding.value:.2f}", gettext("under %(limit)s") % {"limit": f"{finding.limit:g}"}, ""
    if finding.rule.kind == RuleKind.CONCEPT_DRIFT:
        interval = gettext("%(low)s to %(high)s") % {name: f"{finding.data[name]:.1%}" for name in ("low", "high")}
        expected = gettext("under %(limit)s") % {"limit": f"{finding.limit:.1%}"}
        return gettext("%(share)s wrong") % {"share": f"{finding.value:.1%}"}, expected, interval
    return f"PSI {finding.value:.2f}", gettext("under %(limit)s") % {"limit": f"{finding.limit:g}"}, ""


@login_required
@require_GET
def window_list(request: HttpRequest, slug: str) -> HttpResponse:
    """The endpoint's windows, newest first, each with what was beyond its limit."""
    endpoint = endpoint_for(request, slug)
    windows = Window.objects.filter(endpoint=endpoint).prefetch_related("findings__rule").order_by("-start", "-id")
    page = Paginator(windows, PAGE).get_page(request.GET.get("page"))
    rows = [(window, _worth_telling(window.findings.all())) for window in page]
    context = {"endpoint": endpoint, "page": page, "rows": rows, "sentence": _sentence(endpoint)}
    return render(request, "monitoring/window_list.html", context)


def _sentence(endpoint: Endpoint) -> str:
    silent = silent_of(endpoint, queries.monitor_of(endpoint))
    return sentence_of(endpoint, silent, queries.newest_window(endpoint), queries.latest_findings(endpoint))


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
    rows = [row_of(finding) for finding in found]
    breaches = [row.note for row in rows if row.answer == "fail"]
    if window.state == WindowState.OPEN:
        sentence = gettext("This window is judged when its labels have had their time, %(clock)s UTC.") % {
            "clock": _clock(window.due_at)
        }
    elif breaches:
        sentence = breaches[0]
    else:
        sentence = (
            gettext("Nothing in this window was beyond its limit.")
            if window.rows
            else gettext("Nothing was answered in this window.")
        )
    trail = [
        (reverse("endpoint-detail", args=[window.endpoint.slug]), window.endpoint.name),
        (reverse("window-list", args=[window.endpoint.slug]), gettext("Windows")),
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
