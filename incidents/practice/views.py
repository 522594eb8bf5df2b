"""Pages of practice: could every endpoint be rolled back now, and the drills that show it."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.approvals.queries import NoPolicy
from accounts.permissions import may_on, require, require_on, user_of
from incidents.practice import by_hand, drills, queries, readiness, rules
from incidents.practice.forms import ByHandForm, DrillForm, RuleForm, ScheduleForm, SpareForm, WhyForm
from incidents.practice.models import Runbook
from incidents.rollback.plan import PlanRefused
from registry.models import Endpoint, Environment

PAGE = 20


def endpoint_for(request: HttpRequest, slug: str, permission: str = "view") -> Endpoint:
    """Lookup and permission in one: an endpoint in production for a person who may do that with its model."""
    require(request, permission)
    found = Endpoint.objects.filter(environment=Environment.PRODUCTION).select_related("model")
    endpoint = get_object_or_404(found, slug=slug)
    require_on(request, permission, endpoint)
    return endpoint


@login_required
@require_GET
def board(request: HttpRequest) -> HttpResponse:
    """Every endpoint in production: could we roll back now, to what, how fast, tested when."""
    require(request, "view")
    rows = readiness.board()
    return render(request, "practice/readiness.html", {"rows": rows, "head": _head(rows)})


def _head(rows: list[readiness.Readiness]) -> dict[str, str]:
    """The answer of the page, and its tone."""
    stuck = [row for row in rows if row.state == readiness.NOT_READY]
    untested = [row for row in rows if row.state == readiness.UNTESTED]
    if not rows:
        return {"text": gettext("No endpoint answers in production yet."), "tone": "unknown"}
    if stuck:
        text = gettext("%(slug)s could not be rolled back now.") % {"slug": stuck[0].endpoint.slug}
        if len(stuck) > 1:
            text = gettext("%(count)s of %(count_2)s endpoints could not be rolled back now.") % {
                "count": len(stuck),
                "count_2": len(rows),
            }
        return {"text": text, "tone": "bad"}
    if untested:
        text = gettext("Each could be rolled back now, by all that is known; %(count)s not drilled lately.") % {
            "count": len(untested)
        }
        return {"text": text, "tone": "warn"}
    return {"text": gettext("Every endpoint could be rolled back now."), "tone": "ok"}


@login_required
@require_GET
def endpoint(request: HttpRequest, slug: str) -> HttpResponse:
    return _page(request, endpoint_for(request, slug))


def _page(request: HttpRequest, found: Endpoint, **more: Any) -> HttpResponse:
    """One endpoint's readiness, the drills of its model, and what can be asked for."""
    staging = queries.staging_of(found.model)
    row, drifted = readiness.readiness(found), by_hand.found(found)
    listed = Paginator(queries.drills_of(found.model), PAGE).get_page(request.GET.get("page"))
    context = {
        "endpoint": found,
        "row": row,
        "staging": staging,
        "drills": listed,
        "schedules": [one for one in queries.schedules_of(staging).values() if one.active],
        "drill_form": DrillForm(endpoint=found, initial={"version": row.version}, auto_id="drill_%s"),
        "schedule_form": ScheduleForm(endpoint=found, auto_id="schedule_%s"),
        "spare_form": SpareForm(auto_id="spare_%s"),
        "drifted": drifted,
        "hand_form": ByHandForm(endpoint=found, found=drifted, auto_id="hand_%s") if drifted else None,
        "runbook": Runbook.objects.filter(endpoint=found).defer("body").first(),
        "rule": rules.rule_of(found.model),
        "by_itself": queries.policy_lets(found),
        "attempts": queries.attempts_of(found)[:PAGE],
        "rule_form": RuleForm(auto_id="rule_%s"),
        "may_command": may_on(user_of(request), "incident.command", found),
        "may_propose": may_on(user_of(request), "plan.propose", found),
        "may_register": may_on(user_of(request), "registry.write", found),
    } | more
    wrong = any(getattr(value, "errors", None) for value in more.values())
    return render(request, "practice/endpoint.html", context, status=400 if wrong else 200)


@login_required
@require_POST
def ask_drill(request: HttpRequest, slug: str) -> HttpResponse:
    found = endpoint_for(request, slug, "plan.propose")
    form = DrillForm(request.POST, endpoint=found, auto_id="drill_%s")
    if not form.is_valid():
        return _page(request, found, drill_form=form)
    wish = form.cleaned_data
    try:
        drill = drills.ask_drill(
            endpoint=wish["staging"],
            version=wish["version"],
            reason=wish["reason"],
            user=user_of(request),
            actor=actor_for(request=request),
        )
    except (PlanRefused, NoPolicy) as refused:
        form.add_error(None, str(refused))
        return _page(request, found, drill_form=form)
    return redirect("plan-detail", pk=drill.plan_id)


@login_required
@require_POST
def set_schedule(request: HttpRequest, slug: str) -> HttpResponse:
    found = endpoint_for(request, slug, "plan.propose")
    form = ScheduleForm(request.POST, endpoint=found, auto_id="schedule_%s")
    if not form.is_valid():
        return _page(request, found, schedule_form=form)
    wish = dict(form.cleaned_data)
    try:
        drills.set_schedule(
            endpoint=wish.pop("staging"), user=user_of(request), actor=actor_for(request=request), **wish
        )
    except PlanRefused as refused:
        form.add_error(None, str(refused))
        return _page(request, found, schedule_form=form)
    messages.success(request, gettext("The schedule is set.") if wish["active"] else gettext("The schedule is off."))
    return redirect("readiness-endpoint", slug=slug)


@login_required
@require_POST
def set_up_spare(request: HttpRequest, slug: str) -> HttpResponse:
    found = endpoint_for(request, slug, "registry.write")
    form = SpareForm(request.POST, auto_id="spare_%s")
    if not form.is_valid():
        return _page(request, found, spare_form=form)
    host = form.cleaned_data["host"]
    try:
        made = drills.set_up_spare(endpoint=found, host=host, user=user_of(request), actor=actor_for(request=request))
    except PlanRefused as refused:
        form.add_error(None, str(refused))
        return _page(request, found, spare_form=form)
    messages.success(
        request,
        gettext("%(name)s takes the drills of %(slug)s, as %(slug_2)s.")
        % {"name": host.name, "slug": found.slug, "slug_2": made.slug},
    )
    return redirect("readiness-endpoint", slug=slug)


@login_required
@require_POST
def set_rule(request: HttpRequest, slug: str) -> HttpResponse:
    found = endpoint_for(request, slug, "incident.command")
    form = RuleForm(request.POST, auto_id="rule_%s")
    if not form.is_valid():
        return _page(request, found, rule_form=form)
    wish = {"reason": form.cleaned_data["reason"], "user": user_of(request), "actor": actor_for(request=request)}
    try:
        rule = rules.set_rule(model=found.model, terms=form.terms, **wish)
    except PlanRefused as refused:
        form.add_error(None, str(refused))
        return _page(request, found, rule_form=form)
    messages.success(
        request, gettext("Rule %(number)s of %(slug)s is armed.") % {"number": rule.number, "slug": found.model.slug}
    )
    return redirect("readiness-endpoint", slug=slug)


TURNS = {"arm": rules.arm, "disarm": rules.disarm}


@login_required
@require_POST
def turn_rule(request: HttpRequest, slug: str, verb: str) -> HttpResponse:
    """Arm the model's rule again, or disarm it."""
    found = endpoint_for(request, slug, "incident.command")
    rule, form = rules.rule_of(found.model), WhyForm(request.POST)
    if rule is None or verb not in TURNS:
        raise Http404
    if not form.is_valid():
        messages.error(request, gettext("Say in a sentence why; it goes on record."))
        return redirect("readiness-endpoint", slug=slug)
    try:
        TURNS[verb](rule_id=rule.pk, user=user_of(request), actor=actor_for(request=request), **form.cleaned_data)
    except PlanRefused as refused:
        messages.error(request, str(refused))
    return redirect("readiness-endpoint", slug=slug)


@login_required
@require_POST
def record_by_hand(request: HttpRequest, slug: str) -> HttpResponse:
    """Put on an incident's record what was done by hand, and let the host go on serving what it does."""
    found = endpoint_for(request, slug, "incident.command")
    form = ByHandForm(request.POST, endpoint=found, found=by_hand.found(found), auto_id="hand_%s")
    if not form.is_valid():
        return _page(request, found, hand_form=form)
    wish = form.cleaned_data
    try:
        version = by_hand.record_by_hand(**wish, user=user_of(request), actor=actor_for(request=request))
    except PlanRefused as refused:
        form.add_error(None, str(refused))
        return _page(request, found, hand_form=form)
    host = wish["placement"].host.name
    messages.success(
        request,
        gettext("It is on record: %(host)s shall serve version %(number)s from now on.")
        % {"host": host, "number": version.number},
    )
    return redirect("readiness-endpoint", slug=slug)


@login_required
@require_GET
def runbook(request: HttpRequest, slug: str) -> HttpResponse:
    """The runbook as it was last made, as text."""
    found = endpoint_for(request, slug)
    made = get_object_or_404(Runbook, endpoint=found)
    return HttpResponse(made.body, content_type="text/plain; charset=utf-8")
