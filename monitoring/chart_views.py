"""Pages: an endpoint's charts over the span that the address names, and each chart alone, as JSON and as CSV."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.http import condition, require_GET

from audit.figures import as_csv
from monitoring import charts, queries
from monitoring.comparing.sides import AGAINST, MINUTE, moment, stamp
from monitoring.models import Alert, Finding, Rule, Window, WindowState
from monitoring.pull.models import Query, Scrape
from monitoring.pull.queries import unanswered
from monitoring.views import endpoint_for, row_of, sentence_of, silent_of
from registry.models import Deployment, Endpoint

SHOWN_WINDOWS = 120
HOURS = {1: "1 h", 6: "6 h", 24: "24 h", 168: "7 days", 720: "30 days", 2160: "90 days"}
EARLIER = ("before", "week")
"""What the columns of a span can be held against beside the training data, each of the same length."""
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=400)


@dataclass(frozen=True)
class Asked:
    """What the address asks for: `hours` up to now, or from `since` to `until`, or else the newest windows; the column
    whose distribution is drawn, the metric of another program's that stands first, what the columns are held against (a
    name of monitoring.comparing.sides.AGAINST; "" is the training data), and on a model's page the endpoint that was
    chosen."""

    hours: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    column: str = ""
    metric: str = ""
    against: str = ""
    endpoint: str = ""
    problem: str = ""

    def address(self, **changes: object) -> str:
        """The query of an address that asks for the same but for the changes."""
        given = {"since": _minute(self.since), "until": _minute(self.until)} if self.since else {"hours": self.hours}
        named = ("column", "metric", "against", "endpoint")
        told = {**given, **{name: getattr(self, name) for name in named}, **changes}
        return urlencode({name: value for name, value in told.items() if value})


def asked_by(values: Mapping[str, str]) -> Asked:
    """What an address asks for; a span that is none is told in `problem`, and the newest windows are shown."""
    names = {"column": values.get("column", "")[:200], "metric": values.get("metric", "")[:60]}
    names["endpoint"] = values.get("endpoint", "")[:100]
    names["against"] = values["against"] if values.get("against") in EARLIER else ""
    if values.get("since") or values.get("until"):
        try:
            since, until = moment(values.get("since", "")), moment(values.get("until", ""))
        except ValueError:
            return Asked(
                **names, problem=gettext("A span needs a beginning and an end, such as 2026-11-21T12:00, in UTC.")
            )
        if not SHORTEST <= until - since <= LONGEST:
            return Asked(
                **names, problem=gettext("A span must end at least a minute after it begins, and within 400 days.")
            )
        return Asked(**names, since=since, until=until)
    hours = values.get("hours", "")
    return Asked(**names, hours=int(hours) if hours.isdecimal() and int(hours) in HOURS else None)


def span_of(endpoint: Endpoint, asked: Asked) -> charts.Span:
    """What is drawn."""
    if asked.since is not None and asked.until is not None:
        return charts.span(endpoint, asked.since, asked.until)
    now = timezone.now()
    if asked.hours is not None:
        return charts.span(endpoint, now - timedelta(hours=asked.hours), now)
    windows = list(Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED)[:SHOWN_WINDOWS])
    if not windows:
        return charts.span(endpoint, now - timedelta(hours=1), now)
    return charts.span(endpoint, windows[-1].start, windows[0].end)


def _minute(at: datetime | None) -> str:
    return stamp(at) if at else ""


def _charts_etag(request: HttpRequest, slug: str) -> str | None:
    """Changes with each judged window, deployment, alert, rule, page of figures and query that fails, with the
    endpoint's falling silent, and with what the reader may see. A span that ends now, or later, moves on each minute,
    and so does that of an endpoint without a judged window."""
    if not request.user.is_authenticated:
        return None
    endpoint, *latest = _latest(slug)
    asked, now = asked_by(request.GET), timezone.now()
    moves = asked.hours is not None or latest[0] is None or (asked.until is not None and asked.until > now)
    newest: list[Any] = [
        *latest,
        *Rule.objects.filter(endpoint=endpoint).order_by("pk").values_list("params", "enabled", "min_rows"),
        *Scrape.objects.filter(host__placements__endpoint=endpoint).order_by("pk").values_list("pk", "down_since"),
        *Query.objects.filter(endpoint=endpoint, ended_at=None).order_by("pk").values_list("pk", "problem"),
        *queries.silent_since(Endpoint.objects.filter(pk=endpoint), now).values(),
        f"{now:{MINUTE}}" if moves else "",
    ]
    key = (request.get_full_path(), bool(request.headers.get("HX-Request")), request.user.pk, newest)
    return f'"{queries.short_digest(key, request.user.permission_epoch)}"'


def _latest(slug: str) -> tuple[int | None, ...]:
    """The keys of the endpoint of that name, and of its newest judged window, with its attempts, finding, deployment
    and alert, in one query. Each None where there is none."""

    def newest(rows: QuerySet[Any], of: str = "pk") -> Subquery:
        return Subquery(rows.values(of)[:1])

    here = OuterRef("pk")
    judged = Window.objects.filter(endpoint=here, state=WindowState.JUDGED)
    found: tuple[int | None, ...] | None = (
        Endpoint.objects.filter(slug=slug)
        .values_list(
            "pk",
            newest(judged),
            newest(judged, "attempts"),
            newest(Finding.objects.filter(rule__endpoint=here).order_by("-pk")),
            newest(Deployment.objects.filter(endpoint=here)),
            newest(Alert.objects.filter(endpoint=here).order_by("-pk")),
        )
        .first()
    )
    return found or (None,) * 6


@login_required
@require_GET
@condition(etag_func=_charts_etag)
def endpoint_charts(request: HttpRequest, slug: str) -> HttpResponse:
    """The endpoint's findings and first chart: a part of another page for htmx, else a page of its own. Each other
    chart is asked for when it comes into view, as `?chart=`."""
    if "chart" in request.GET:
        return _chart_alone(request, slug, request.GET["chart"])
    endpoint, asked = endpoint_for(request, slug), asked_by(request.GET)
    monitor, window = queries.monitor_of(endpoint), queries.newest_window(endpoint)
    findings = queries.findings_of(window)
    over, silent = span_of(endpoint, asked), silent_of(endpoint, monitor)
    others = charts.metric_names(over)
    names = charts.names_of(over, asked.metric) if window or others else []
    first, later = charts.first_of(over, names, asked.column)
    context = {
        "endpoint": endpoint,
        "monitor": monitor,
        "rows": [row_of(finding) for finding in findings if finding.host_id is None],
        "window": window,
        "chart": first,
        "later": [(name, charts.called(name)) for name in later],
        "asked": asked,
        "over": over,
        "spans": _spans(asked, over),
        "others": others,
        "columns": sorted({one.column for one in over.series if one.name == "psi"}),
        "query": asked.address(),
        "held": held(asked, over),
        "against": [
            {
                "label": AGAINST[name],
                "query": asked.address(against="" if name == "training" else name),
                "now": name == (asked.against or "training"),
            }
            for name in ("training", *EARLIER)
        ],
        "unanswered": unanswered(endpoint),
        "sentence": sentence_of(endpoint, silent, window, findings),
        "silent": silent,
    }
    name = "endpoint_charts" if request.headers.get("HX-Request") else "endpoint_charts_page"
    return render(request, f"monitoring/{name}.html", context)


def held(asked: Asked, over: charts.Span) -> str:
    """The query that holds the columns of what is drawn against what was chosen: monitoring.comparing.views."""
    span = {"hours": asked.hours} if asked.hours else {"a_since": _minute(over.since), "a_until": _minute(over.until)}
    return urlencode({**span, "against": asked.against or "training"})


def _chart_alone(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One chart with its table, or a sentence that it has no data in the span."""
    endpoint, asked = endpoint_for(request, slug), asked_by(request.GET)
    context = {
        "endpoint": endpoint, "name": name, "chart": _drawn(endpoint, asked, name), "query": asked.address(),
        "called": charts.called(name),
    }  # fmt: skip
    template = "endpoint_chart" if request.headers.get("HX-Request") else "endpoint_chart_page"
    return render(request, f"monitoring/{template}.html", context)


def _drawn(endpoint: Endpoint, asked: Asked, name: str) -> charts.Chart | None:
    try:
        return charts.chart_of(span_of(endpoint, asked), name, asked.column)
    except KeyError as error:
        raise Http404(
            gettext("There is no chart %(name)s; there are %(names)s.")
            % {"name": name, "names": ", ".join(charts.CHARTS)}
        ) from error


def _spans(asked: Asked, over: charts.Span) -> list[dict[str, Any]]:
    """The spans that one click leads to: the newest windows, hours up to now, and earlier, later and twice as long."""
    length = over.until - over.since
    bare = {"since": "", "until": "", "hours": ""}
    found = [
        {"label": gettext("newest windows"), "query": asked.address(**bare), "now": not (asked.hours or asked.since)}
    ]
    found += [
        {"label": label, "query": asked.address(**{**bare, "hours": hours}), "now": asked.hours == hours}
        for hours, label in HOURS.items()
    ]
    moved = {
        gettext("earlier"): (-length, -length),
        gettext("later"): (length, length),
        gettext("twice as long"): (-length / 2, length / 2),
    }
    for label, (first, last) in moved.items():
        since, until = (at.replace(microsecond=0) for at in (over.since + first, over.until + last))
        if until - since <= LONGEST and since < timezone.now():
            query = asked.address(hours="", since=_minute(since), until=_minute(until))
            found.append({"label": label, "query": query, "now": False})
    return found


@login_required
@require_GET
def figure(request: HttpRequest, slug: str, name: str) -> JsonResponse:
    """One chart's figure as JSON; `?column=` picks the column of the distribution."""
    return JsonResponse(_one(request, slug, name).figure)


@login_required
@require_GET
def numbers(request: HttpRequest, slug: str, name: str) -> HttpResponse:
    """One chart's traces as CSV: a row for each point, with the name of its line."""
    return points_csv(_one(request, slug, name), f"{slug}-{name}")


def points_csv(chart: charts.Chart, name: str) -> HttpResponse:
    """A chart's traces as a file `<name>.csv`: line, x, y."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return HttpResponse(as_csv(chart.figure), content_type="text/csv; charset=utf-8", headers=headers)


def _one(request: HttpRequest, slug: str, name: str) -> charts.Chart:
    chart = _drawn(endpoint_for(request, slug), asked_by(request.GET), name)
    if chart is None:
        raise Http404(gettext("There is no data for this chart in this span yet."))
    return chart
