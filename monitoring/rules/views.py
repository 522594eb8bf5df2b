"""Pages: the rules with where they stand, one rule and what it did, writing one, an alert, and silences."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, may_on, require, require_on
from audit.clock import database_now
from monitoring.chart_views import points_csv
from monitoring.charts.parts import Chart
from monitoring.models import Alert
from monitoring.rules import actions, measured, queries, worth
from monitoring.rules.alert_page import alert_context, around
from monitoring.rules.charts import chart
from monitoring.rules.fields import UnfitRule
from monitoring.rules.forms import DAYS, ReasonForm, RuleForm, SilenceForm, initial_of, kind_choices, kind_of
from monitoring.rules.models import AlertRule, Silence
from monitoring.rules.preview import DAYS as WHOLE
from monitoring.rules.preview import preview
from monitoring.rules.spec import in_words
from registry.models import Endpoint

PAGE = 50


def get_rule_for(request: HttpRequest, pk: int, permission: str = "view") -> AlertRule:
    """Lookup and permission in one."""
    require(request, permission)
    rule = get_object_or_404(AlertRule.objects.select_related("endpoint__model"), pk=pk)
    require_on(request, permission, rule)
    return rule


@login_required
@require_GET
def rule_list(request: HttpRequest) -> HttpResponse:
    """Every rule with where it stands, what fires now, and which detectors are asked."""
    require(request, "view")
    slug = request.GET.get("endpoint", "")
    endpoint = get_object_or_404(Endpoint, slug=slug) if slug else None
    page = Paginator(queries.rules(endpoint), PAGE).get_page(request.GET.get("page"))
    rows = queries.with_standing(page)
    firing = list(queries.firing(endpoint)[:PAGE])
    told = sum(not alert.suppressed_by for alert in firing)
    context = {
        "page": page,
        "rows": rows,
        "firing": firing,
        "detectors": queries.with_worth(endpoint) if endpoint else [],
        "endpoint": endpoint,
        "endpoints": Endpoint.objects.order_by("name"),
        **kind_choices(),
        "may_write": may(request.user, "admin"),
        "sentence": _list_sentence(told, len(firing) - told, rows),
        "tone": "bad" if told else "unknown" if any(row.tone == "unknown" for row in rows) else "",
    }
    return render(request, "monitoring/rules/list.html", context)


def _list_sentence(told: int, held: int, rows: list[queries.RuleRow]) -> str:
    unknown = sum(row.tone == "unknown" for row in rows)
    parts = []
    if told:
        parts.append(ngettext("%(n)s alert fires now.", "%(n)s alerts fire now.", told) % {"n": told})
    if held:
        parts.append(ngettext("%(n)s more is held back.", "%(n)s more are held back.", held) % {"n": held})
    if unknown:
        parts.append(
            ngettext(
                "Of %(n)s rule it is not known whether all is well.",
                "Of %(n)s rules it is not known whether all is well.",
                unknown,
            )
            % {"n": unknown}
        )
    return " ".join(parts) or gettext("No alert fires now.")


@login_required
@require_http_methods(["GET", "POST"])
def rule_new(request: HttpRequest) -> HttpResponse:
    """Write a rule: see first what it would have done, then have it judged."""
    require(request, "admin")
    asked = request.POST or request.GET
    endpoint = get_object_or_404(Endpoint.objects.select_related("model"), slug=asked.get("endpoint", ""))
    kind, of_chart = kind_of(asked.get("kind", ""))
    form = RuleForm(request.POST or None, endpoint=endpoint, kind=kind, chart=of_chart)
    context: dict[str, Any] = {"form": form, "endpoint": endpoint, "days": DAYS}
    if request.method == "POST" and form.is_valid():
        try:
            if "save" in request.POST:
                rule = actions.make_rule(endpoint=endpoint, actor=actor_for(request=request), **form.said())
                messages.success(request, gettext("%(name)s is judged from now on.") % {"name": rule.name})
                return redirect("alert-rule", pk=rule.pk)
            context |= _previewed(actions.draft(endpoint=endpoint, **form.said()))
        except UnfitRule as error:
            form.add_error(None, str(error))
    context["trail"] = [
        (
            f"{reverse('alert-rules')}?endpoint={endpoint.slug}",
            gettext("Rules of %(endpoint)s") % {"endpoint": endpoint.name},
        )
    ]
    return render(request, "monitoring/rules/form.html", context)


def _previewed(rule: AlertRule) -> dict[str, Any]:
    found = preview(rule, until=database_now(), days=WHOLE)
    return {
        "preview": found,
        "chart": chart(found),
        "words": in_words(rule),
        "false_alarms": measured.sentences(rule, found.until, found),
    }


@login_required
@require_GET
def rule_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Where a rule stands, what it did, and how good it was at it."""
    rule = get_rule_for(request, pk)
    asked = request.GET.get("days", "")
    days = int(asked) if asked in {str(number) for number, said in DAYS} else 1
    asks_measured = request.GET.get("part") == "false-alarms" and rule.retired_at is None
    said = measured.kept(rule, database_now()) if asks_measured else []
    if asks_measured and request.headers.get("HX-Request"):
        return render(request, "monitoring/rules/false_alarms.html", {"false_alarms": said})
    if request.GET.get("as") == "csv":
        drawn = None if rule.retired_at else chart(preview(rule, until=database_now(), days=days))
        return _numbers(drawn, f"rule-{rule.pk}-{days}-days")
    context = {
        "csv": request.path,
        "query": f"days={days}&as=csv",
        "rule": rule,
        "words": in_words(rule),
        "standings": queries.standings(rule),
        "days": DAYS,
        "chosen": days,
        "worth": worth.of(rule),
        "reason": ReasonForm(),
        "may_write": rule.retired_at is None and may_on(request.user, "admin", rule),
        "trail": [
            (
                f"{reverse('alert-rules')}?endpoint={rule.endpoint.slug}",
                gettext("Rules of %(name)s") % {"name": rule.endpoint.name},
            )
        ],
        **_detail_sentence(rule),
    }
    if rule.retired_at is None:
        found = preview(rule, until=database_now(), days=days)
        # Measuring replays weeks, which takes longer than a page may: it comes behind it.
        later = "" if asks_measured else f"{request.path}?days={days}&part=false-alarms"
        context |= {"preview": found, "chart": chart(found), "false_alarms": said, "later": later}
    return render(request, "monitoring/rules/detail.html", context)


def _numbers(drawn: dict[str, Any] | None, name: str) -> HttpResponse:
    """A drawn chart's traces as a file: line, x, y. Raises Http404 where nothing is drawn."""
    if drawn is None:
        raise Http404(gettext("There is no data for this chart in this span yet."))
    return points_csv(Chart(drawn["id"], drawn["title"], drawn["summary"], drawn["figure"]), name)


def _detail_sentence(rule: AlertRule) -> dict[str, str]:
    if rule.retired_at is not None:
        return {"sentence": gettext("%(name)s is asked no more.") % {"name": rule.name}, "tone": "quiet"}
    [row] = queries.with_standing([rule])
    where = ngettext(" on %(hosts)s host", " on %(hosts)s hosts", row.hosts) % {"hosts": row.hosts} if row.hosts else ""
    return {"sentence": f"{rule.name}: {row.phase.label.lower()}{where}.", "tone": row.tone}


@login_required
@require_http_methods(["GET", "POST"])
def rule_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change what a rule asks; what fires by it ends, and it is judged anew."""
    rule = get_rule_for(request, pk, "admin")
    form = RuleForm(
        request.POST or None,
        endpoint=rule.endpoint,
        kind=rule.kind,
        chart=rule.params.get("chart", ""),
        initial=initial_of(rule),
    )
    reason = ReasonForm(request.POST if "save" in request.POST else None)
    context: dict[str, Any] = {
        "form": form, "reason": reason, "rule": rule, "endpoint": rule.endpoint,
        "days": DAYS, "trail": [(reverse("alert-rule", args=[rule.pk]), rule.name)],
    }  # fmt: skip
    if request.method == "POST" and form.is_valid() and (not reason.is_bound or reason.is_valid()):
        try:
            if "save" in request.POST:
                actions.change_rule(
                    rule=rule,
                    changes=form.said(),
                    reason=reason.cleaned_data["reason"],
                    actor=actor_for(request=request),
                )
                messages.success(request, gettext("%(name)s is judged anew from now on.") % {"name": rule.name})
                return redirect("alert-rule", pk=rule.pk)
            drafted = actions.draft(endpoint=rule.endpoint, **form.said())
            drafted.pk = rule.pk
            context |= _previewed(drafted)
        except UnfitRule as error:
            form.add_error(None, str(error))
    return render(request, "monitoring/rules/form.html", context)


@login_required
@require_POST
def rule_retire(request: HttpRequest, pk: int) -> HttpResponse:
    rule = get_rule_for(request, pk, "admin")
    form = ReasonForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Say why the rule is retired; the reason goes on record."))
    elif actions.retire_rule(rule=rule, reason=form.cleaned_data["reason"], actor=actor_for(request=request)):
        messages.success(request, gettext("%(name)s is asked no more.") % {"name": rule.name})
    else:
        messages.error(request, gettext("This rule was retired before. Nothing was changed."))
    return redirect("alert-rule", pk=rule.pk)


@login_required
@require_GET
def alert_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """What fired, its value against the limit, the chart, the inputs that moved most, and what was live."""
    require(request, "view")
    found = Alert.objects.select_related("endpoint__model", "rule", "alert_rule__endpoint", "host")
    alert = get_object_or_404(found, pk=pk)
    if request.GET.get("as") == "csv":
        return _numbers(around(alert), f"alert-{alert.pk}")
    context = {**alert_context(alert), "csv": request.path, "query": "as=csv"}
    return render(request, "monitoring/rules/alert.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def silence_list(request: HttpRequest) -> HttpResponse:
    """Silences that hold, with what each holds back, and those that are over; a post makes one."""
    require(request, "view")
    form = SilenceForm(
        request.POST or None, initial={name: request.GET.get(name) for name in ("endpoint", "host", "rule")}
    )
    if request.method == "POST":
        require(request, "incident.respond")
        if form.is_valid() and _silenced(request, form):
            return redirect("silences")
    holding, over = queries.silences(database_now())
    page = Paginator(over, PAGE).get_page(request.GET.get("page"))
    for one in (*holding, *page):
        one.words = queries.in_words(one)
        one.mine = may_on(request.user, "incident.respond", one)
    held = sum(one.held for one in holding)
    context = {
        "form": form,
        "holding": holding,
        "page": page,
        "may_silence": may(request.user, "incident.respond"),
        "sentence": _silence_sentence(len(holding), held),
        "trail": [(reverse("alert-rules"), gettext("Rules and alerts"))],
    }
    return render(request, "monitoring/rules/silences.html", context)


def _silence_sentence(count: int, held: int) -> str:
    if not count:
        return gettext("Nothing is silenced.")
    alerts = ngettext("%(held)s alert", "%(held)s alerts", held) % {"held": held}
    back = ngettext("holds back %(alerts)s now", "hold back %(alerts)s now", count) % {"alerts": alerts}
    return ngettext("%(count)s silence %(back)s.", "%(count)s silences %(back)s.", count) % {
        "count": count,
        "back": back,
    }


def _silenced(request: HttpRequest, form: SilenceForm) -> bool:
    matchers = form.matchers()
    require_on(request, "incident.respond", Silence(matchers=matchers))
    try:
        silence, count = actions.make_silence(
            matchers=matchers,
            reason=form.cleaned_data["reason"],
            ends_at=database_now() + form.length(),
            user=request.user,
            actor=actor_for(request=request),
        )
    except UnfitRule as error:
        form.add_error(None, str(error))
        return False
    also = (
        ngettext(" %(count)s that fires now is among them.", " %(count)s that fire now are among them.", count)
        % {"count": count}
        if count
        else ""
    )
    messages.success(
        request,
        gettext("Nobody is told of %(in_words)s until %(ends_at)s UTC.%(also)s")
        % {"in_words": queries.in_words(silence), "ends_at": f"{silence.ends_at:%Y-%m-%d %H:%M}", "also": also},
    )
    return True


@login_required
@require_POST
def silence_end(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "incident.respond")
    silence = get_object_or_404(Silence, pk=pk)
    require_on(request, "incident.respond", silence)
    if actions.end_silence(silence=silence, actor=actor_for(request=request)):
        messages.success(request, gettext("It is over; what still fires is told within a minute."))
    else:
        messages.error(request, gettext("This silence was over before. Nothing was changed."))
    return redirect("silences")
