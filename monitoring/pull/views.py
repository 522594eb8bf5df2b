"""Pages: sources of metrics with what is pulled from them, an expression asked once for a chart, pages of figures."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, require
from accounts.step_up import require_fresh_proof
from audit.clock import database_now
from monitoring.charts.parts import MOST_POINTS
from monitoring.charts.pulled import asked_chart
from monitoring.pull import actions, asking
from monitoring.pull.forms import AskForm, CredentialForm, QueryForm, ScrapeForm, SourceForm
from monitoring.pull.models import Query, Scrape, Source


def get_source_for(request: HttpRequest, name: str, permission: str = "view") -> Source:
    """Lookup and permission in one."""
    require(request, permission)
    return get_object_or_404(Source, name=name)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def source_list(request: HttpRequest) -> HttpResponse:
    """All sources and pages of figures; a post makes a source."""
    require(request, "admin" if request.method == "POST" else "view")
    form = SourceForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        require_fresh_proof(request)
        made = _attempt(request, lambda: actions.create_source(**form.cleaned_data, actor=actor_for(request=request)))
        if made:
            return redirect("metric-source", form.cleaned_data["name"])
    sources = list(Source.objects.order_by("ended_at", "name"))
    scrapes = list(Scrape.objects.select_related("host").filter(ended_at=None))
    down = sum(one.down_since is not None for one in scrapes)
    failing = Query.objects.filter(ended_at=None).exclude(problem="").count()
    told = [
        ngettext("%(failing)s query can't be pulled", "%(failing)s queries can't be pulled", failing)
        % {"failing": failing}
        if failing
        else "",
        gettext("%(down)s of %(count)s pages of figures can't be read") % {"down": down, "count": len(scrapes)}
        if down
        else "",
    ]
    sentence = " and ".join(filter(None, told)) or gettext("Everything that is pulled comes in")
    context = {
        "sentence": f"{sentence[0].upper()}{sentence[1:]}."
        if sources or scrapes
        else gettext("No metric is pulled yet."),
        "bad": bool(failing or down),
        "sources": sources,
        "scrapes": scrapes,
        "form": form,
        "scrape_form": ScrapeForm(),
        "may_change": may(request.user, "admin"),
    }
    return render(request, "pull/sources.html", context)


@login_required
@never_cache
@require_GET
def source_detail(request: HttpRequest, name: str) -> HttpResponse:
    """A source, its stored queries, and an expression asked once, with the step that fits the chart."""
    source = get_source_for(request, name)
    ask = AskForm(request.GET if "query" in request.GET else None)
    chart, problem = None, ""
    may_ask = may(request.user, "incident.respond") or may(request.user, "admin")
    if may_ask and ask.is_bound and ask.is_valid():
        until = database_now()
        since = until - timedelta(hours=ask.cleaned_data["hours"])
        step = asking.step_for(since, until, MOST_POINTS)
        try:
            lines = asking.query_range(source, ask.cleaned_data["query"], since, until, step)
            chart = asked_chart(source.name, ask.cleaned_data["query"], lines, step)
        except asking.PullFailed as error:
            problem = str(error)
    queries = list(source.queries.select_related("endpoint").filter(ended_at=None))
    failing = [query for query in queries if query.problem]
    sentence = ngettext(
        "%(n)s metric is pulled from %(name)s.", "%(n)s metrics are pulled from %(name)s.", len(queries)
    ) % {"n": len(queries), "name": source.name}
    context = {
        "source": source,
        "sentence": failing[0].problem if failing else sentence,
        "bad": bool(failing),
        "queries": queries,
        "ask": ask,
        "chart": chart,
        "problem": problem,
        "may_ask": may_ask,
        "may_change": may(request.user, "admin") and source.ended_at is None,
        "form": QueryForm(),
        "credential_form": CredentialForm(initial={"credential": source.credential, "username": source.username}),
        "trail": [("/monitoring/sources/", gettext("Sources of metrics"))],
    }
    return render(request, "pull/source.html", context)


@login_required
@require_POST
def source_act(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """End a source, change its credential, or have a query's answers kept."""
    source, actor = get_source_for(request, name, "admin"), actor_for(request=request)
    form = {"credential": CredentialForm, "query": QueryForm}.get(verb, CredentialForm)(request.POST)
    if verb != "end" and not form.is_valid():
        messages.error(request, " ".join(f"{field}: {' '.join(said)}" for field, said in form.errors.items()))
        return redirect("metric-source", name)
    if verb != "query":
        require_fresh_proof(request)
    verbs: dict[str, Callable[[], Any]] = {
        "end": lambda: actions.end_source(source=source, actor=actor),
        "credential": lambda: actions.set_credential(source=source, **form.cleaned_data, actor=actor),
        "query": lambda: actions.create_query(source=source, **form.cleaned_data, actor=actor),
    }
    _attempt(request, verbs[verb])
    return redirect("metric-source", name)


@login_required
@require_POST
def query_end(request: HttpRequest, pk: int) -> HttpResponse:
    """Pull it no more."""
    require(request, "admin")
    query = get_object_or_404(Query.objects.select_related("source", "endpoint"), pk=pk)
    _attempt(request, lambda: actions.end_query(query=query, actor=actor_for(request=request)))
    return redirect("metric-source", query.source.name)


@login_required
@require_POST
def scrape_set(request: HttpRequest) -> HttpResponse:
    """Have a page of figures read by the clock."""
    require(request, "admin")
    form = ScrapeForm(request.POST)
    if form.is_valid():
        _attempt(request, lambda: actions.scrape_host(**form.cleaned_data, actor=actor_for(request=request)))
    else:
        messages.error(request, " ".join(f"{field}: {' '.join(said)}" for field, said in form.errors.items()))
    return redirect("metric-sources")


@login_required
@require_POST
def scrape_end(request: HttpRequest, pk: int) -> HttpResponse:
    """Read it no more."""
    require(request, "admin")
    scrape = get_object_or_404(Scrape.objects.select_related("host"), pk=pk)
    _attempt(request, lambda: actions.end_scrape(scrape=scrape, actor=actor_for(request=request)))
    return redirect("metric-sources")


def _attempt(request: HttpRequest, act: Callable[[], Any]) -> bool:
    try:
        act()
    except actions.PullRefused as error:
        messages.error(request, str(error))
        return False
    return True
