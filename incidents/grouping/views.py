"""Pages: the rules by which alerts become incidents, for everybody to read and administrators to change."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, require
from incidents.errors import IncidentError
from incidents.grouping import actions, queries
from incidents.grouping.deciding import written
from incidents.grouping.forms import RuleForm, initial
from incidents.grouping.models import Flap, GroupingRule
from incidents.grouping.placing import live_rules


def _rule_for(request: HttpRequest, pk: int) -> GroupingRule:
    require(request, "admin")
    return get_object_or_404(GroupingRule, pk=pk, retired_at=None)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def rule_list(request: HttpRequest) -> HttpResponse:
    """The rules in the order in which they are asked, and what flaps; a post adds a rule or previews it."""
    require(request, "view")
    if request.method != "POST":
        return _page(request, None, RuleForm(initial=initial(None)))
    require(request, "admin")
    return _submitted(
        request, None, lambda form: actions.add_rule(terms=form.terms(), actor=actor_for(request=request))
    )


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def rule_edit(request: HttpRequest, pk: int) -> HttpResponse:
    """A rule's terms; a post changes them or previews the change."""
    rule = _rule_for(request, pk)
    if request.method != "POST":
        return _page(request, rule, RuleForm(initial=initial(rule)))
    return _submitted(
        request,
        rule,
        lambda form: actions.change_rule(
            rule=rule,
            terms=form.terms(),
            seen_revision=form.cleaned_data["revision"] or 0,
            actor=actor_for(request=request),
        ),
    )


@login_required
@require_POST
def rule_move(request: HttpRequest, pk: int) -> HttpResponse:
    rule = _rule_for(request, pk)
    place = request.POST.get("place", "")
    if not place.isdecimal():
        messages.error(request, gettext("Say at which place the rule is to be asked, from 1."))
    else:
        _attempt(request, lambda: actions.move_rule(rule=rule, place=int(place), actor=actor_for(request=request)))
    return redirect("grouping-rules")


@login_required
@require_POST
def rule_retire(request: HttpRequest, pk: int) -> HttpResponse:
    rule = _rule_for(request, pk)
    if _attempt(request, lambda: actions.retire_rule(rule=rule, actor=actor_for(request=request))):
        messages.success(request, gettext("%(name)s is asked no more.") % {"name": rule.name})
    return redirect("grouping-rules")


def _attempt(request: HttpRequest, act: Callable[[], None]) -> bool:
    try:
        act()
    except IncidentError as refused:
        messages.error(request, str(refused))
        return False
    return True


def _submitted(
    request: HttpRequest, rule: GroupingRule | None, save: Callable[[RuleForm], GroupingRule]
) -> HttpResponse:
    form = RuleForm(request.POST)
    if not form.is_valid():
        return _page(request, rule, form, status=400)
    if "preview" in request.POST:
        meant = GroupingRule(pk=rule.pk if rule else None, **form.terms().fields())
        return _page(request, rule, form, preview=queries.preview(meant))
    try:
        saved = save(form)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _page(request, rule, form, status=409)
    messages.success(request, gettext("%(name)s counts for alerts that come from now on.") % {"name": saved.name})
    return redirect("grouping-rules")


def _page(
    request: HttpRequest, rule: GroupingRule | None, form: RuleForm, *, status: int = 200, **more: Any
) -> HttpResponse:
    rules = live_rules()
    for place, one in enumerate(rules, start=1):
        one.place, one.asked = place, written(one.matchers)  # type: ignore[attr-defined]
    context = {
        "rule": rule,
        "rules": rules,
        "form": form,
        "may_change": may(request.user, "admin"),
        "flaps": Flap.objects.filter(ended_at=None).select_related("incident")[:50],
        "sentence": gettext("The rule %(name)s") % {"name": rule.name} if rule else _sentence(rules),
    } | more
    return render(request, "grouping/rules.html", context, status=status)


def _sentence(rules: list[GroupingRule]) -> str:
    if not rules:
        return gettext("Alerts of one endpoint and version are one incident")
    said = gettext("1 rule says") if len(rules) == 1 else gettext("%(count)s rules say") % {"count": len(rules)}
    return gettext("%(said)s which alerts are one incident") % {"said": said}
