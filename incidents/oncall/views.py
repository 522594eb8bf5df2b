"""The pages of rotations and policies: everybody reads them, administrators set them, responders take turns."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.models import User
from accounts.permissions import may, may_on, require, require_on, user_of
from accounts.rosters.models import Roster
from audit import names
from incidents.errors import IncidentError
from incidents.oncall import duty, policies, rotations
from incidents.oncall.forms import (
    DAYS,
    LayerForm,
    OverrideForm,
    PolicyForm,
    RotationForm,
    step_forms,
    steps_of,
    targets,
)
from incidents.oncall.models import Override, Policy, Rotation

TRAIL = [("/on-call/", _("On call"))]


def attempt(request: HttpRequest, act: Callable[[], object], done: str) -> bool:
    """Do it, and say that it is done, or why not."""
    try:
        act()
    except IncidentError as refused:
        messages.error(request, str(refused))
        return False
    messages.success(request, done)
    return True


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Who is on call now, where nobody is in the weeks ahead, and by which policy people are woken."""
    require(request, "view")
    shown = duty.plans(duty.rotations())
    without = [str(plan.rotation) for plan in shown if plan.current.is_gap]
    gaps = sum(len(plan.gaps) for plan in shown)
    kept = policies.in_use()
    if not kept:
        sentence, tone = gettext("No escalation policy is set: an incident wakes nobody."), "warn"
    elif without:
        sentence, tone = gettext("Nobody is on call now by %(without)s.") % {"without": " and ".join(without)}, "warn"
    elif gaps:
        sentence, tone = (
            (gettext("Somebody is on call now; in the next 28 days there are %(gaps)s gaps.") % {"gaps": gaps}),
            "warn",
        )
    else:
        sentence, tone = gettext("Somebody is on call now and in the next 28 days."), "ok"
    if kept and not shown:
        sentence, tone = gettext("Who is called to an incident, and in which order."), "ok"
    context = {
        "sentence": sentence,
        "tone": tone,
        "plans": shown,
        "calendars": Roster.objects.exists(),
        "policies": [_told(policy, _labels()) for policy in kept],
        **_first_steps(may(user_of(request), "admin")),
    }
    return render(request, "oncall/home.html", context)


def _first_steps(may_set: bool) -> dict[str, Any]:
    """What stands where there is no rotation or policy yet, and the way to one for who may make it."""
    rotation = gettext(
        "People take turns by a rotation. A team's own calendar, from a file or an address, serves as well."
    )
    policy = gettext(
        "A policy says who is called to an incident, in which order, and how long each has to answer. Until one is "
        "set, an incident wakes nobody; it stands on the first page."
    )
    return {
        "may_set": may_set,
        "how_rotation": " ".join([rotation, *([] if may_set else [gettext("An administrator makes one.")])]),
        "how_policy": " ".join([policy, *([] if may_set else [gettext("An administrator sets one.")])]),
        "new_rotation": reverse("oncall-new-rotation") if may_set else "",
        "new_policy": reverse("oncall-new-policy") if may_set else "",
    }


def _labels() -> dict[str, str]:
    return {key: label for _, group in targets() for key, label in group}


def _told(policy: Policy, labels: dict[str, str]) -> dict[str, Any]:
    steps = [
        {
            "called": [labels.get(one, gettext("somebody gone")) for one in step["targets"]],
            "minutes": step["seconds"] / 60,
        }
        for step in policy.steps
    ]
    return {"policy": policy, "steps": steps, "minutes": policy.silence_seconds // 60}


@login_required
@require_http_methods(["GET", "POST"])
def new_rotation(request: HttpRequest) -> HttpResponse:
    require(request, "admin")
    form = RotationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = rotations.set_rotation(**form.cleaned_data, layers=[], actor=actor_for(request=request))
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("%(made)s is there. Add its first layer.") % {"made": made})
            return redirect("oncall-rotation", pk=made.pk)
    context = {"form": form, "sentence": gettext("A new rotation"), "trail": TRAIL, "button": gettext("Make it")}
    return render(request, "oncall/form.html", context, status=400 if form.errors else 200)


def _rotation(pk: int) -> Rotation:
    return get_object_or_404(duty.rotations(), pk=pk)


@login_required
@require_http_methods(["GET", "POST"])
def rotation(request: HttpRequest, pk: int) -> HttpResponse:
    """A rotation: its turns in the weeks ahead, its layers and its overrides; a POST changes its name and zone."""
    require(request, "view" if request.method == "GET" else "admin")
    one = _rotation(pk)
    if request.method == "POST":
        form = RotationForm(request.POST)
        if form.is_valid():
            try:
                rotations.set_rotation(
                    **form.cleaned_data, layers=one.layers, rotation=one, actor=actor_for(request=request)
                )
                return redirect("oncall-rotation", pk=pk)
            except IncidentError as refused:
                form.add_error(None, str(refused))
        return _shown(request, one, form=form)
    return _shown(request, one)


def _shown(request: HttpRequest, one: Rotation, **more: Any) -> HttpResponse:
    plan = duty.plans([one])[0]
    called = names.display({person for layer in one.layers for person in layer["people"]})
    user = user_of(request)
    context = {
        "rotation": one,
        "plan": plan,
        "layers": [_layer(number, layer, called) for number, layer in enumerate(one.layers)],
        "covers": [cover for cover in one.covers if cover.ends > plan.now],
        "zone": ZoneInfo(one.zone),
        "sentence": gettext("%(one)s: %(what)s is on call now") % {"one": one, "what": plan.current.person or "nobody"},
        "tone": "warn" if plan.current.is_gap else "ok",
        "trail": TRAIL,
        "may_set": may(user, "admin"),
        "may_cover": may_on(user, "incident.respond", one),
        "form": RotationForm(initial={"team": one.team, "name": one.name, "zone": one.zone}),
        "layer_form": LayerForm(auto_id="layer_%s"),
        "override_form": OverrideForm(auto_id="override_%s", initial={"person": user.username}),
    } | more
    wrong = any(getattr(form, "errors", None) for form in more.values())
    return render(request, "oncall/rotation.html", context, status=400 if wrong else 200)


def _layer(number: int, layer: dict[str, Any], called: dict[str, str]) -> dict[str, Any]:
    days = dict(DAYS)
    windows = [
        gettext("%(days)s %(start)s to %(until)s")
        % {
            "days": ", ".join(str(days[day]) for day in window["days"])
            if len(window["days"]) < 7
            else gettext("every day"),
            "start": window["start"],
            "until": window["until"],
        }
        for window in layer["windows"]
    ]
    return {
        "number": number,
        "people": [called.get(person, person) for person in layer["people"]],
        "begins": layer["begins"].replace("T", " "),
        "length": gettext("%(days)s days") % {"days": layer["hours"] // 24}
        if layer["hours"] % 24 == 0
        else gettext("%(hours)s hours") % {"hours": layer["hours"]},
        "windows": windows,
    }


@login_required
@require_POST
def add_layer(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    one = _rotation(pk)
    form = LayerForm(request.POST, auto_id="layer_%s")
    if form.is_valid():
        try:
            _set_layers(request, one, [*one.layers, form.layer()])
            messages.success(request, gettext("The layer is added, on top of the others."))
            return redirect("oncall-rotation", pk=pk)
        except IncidentError as refused:
            form.add_error(None, str(refused))
    return _shown(request, one, layer_form=form)


@login_required
@require_POST
def remove_layer(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    require(request, "admin")
    one = _rotation(pk)
    kept = [layer for place, layer in enumerate(one.layers) if place != number]
    attempt(request, lambda: _set_layers(request, one, kept), gettext("The layer is removed."))
    return redirect("oncall-rotation", pk=pk)


def _set_layers(request: HttpRequest, one: Rotation, layers: list[dict[str, Any]]) -> None:
    rotations.set_rotation(
        team=one.team, name=one.name, zone=one.zone, layers=layers, rotation=one, actor=actor_for(request=request)
    )


@login_required
@require_POST
def retire_rotation(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    one = _rotation(pk)
    act = lambda: rotations.retire_rotation(rotation=one, actor=actor_for(request=request))  # noqa: E731
    attempt(request, act, gettext("%(one)s is retired.") % {"one": one})
    return redirect("oncall-home")


@login_required
@require_POST
def add_override(request: HttpRequest, pk: int) -> HttpResponse:
    """Take somebody's turn, or give it to another. Times are of the rotation's clock."""
    require(request, "incident.respond")
    one = _rotation(pk)
    require_on(request, "incident.respond", one)
    form = OverrideForm(request.POST, auto_id="override_%s")
    if form.is_valid():
        typed, zone = form.cleaned_data, ZoneInfo(one.zone)
        try:
            rotations.override(
                rotation=one,
                user=User.objects.get(username=typed["person"]),
                starts=_in(typed["starts"], zone),
                ends=_in(typed["ends"], zone),
                reason=typed["reason"],
                by=user_of(request),
                actor=actor_for(request=request),
            )
            messages.success(request, gettext("The turn is taken."))
            return redirect("oncall-rotation", pk=pk)
        except IncidentError as refused:
            form.add_error(None, str(refused))
    return _shown(request, one, override_form=form)


def _in(typed: datetime, zone: ZoneInfo) -> datetime:
    return typed.replace(tzinfo=zone)


@login_required
@require_POST
def remove_override(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "incident.respond")
    one = get_object_or_404(Override.objects.select_related("rotation"), pk=pk)
    require_on(request, "incident.respond", one.rotation)
    act = lambda: rotations.remove_override(override=one, actor=actor_for(request=request))  # noqa: E731
    attempt(request, act, gettext("The turns are as they were."))
    return redirect("oncall-rotation", pk=one.rotation_id)


@login_required
@require_http_methods(["GET", "POST"])
def new_policy(request: HttpRequest) -> HttpResponse:
    require(request, "admin")
    return _edited(request, None)


@login_required
@require_http_methods(["GET", "POST"])
def policy(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    return _edited(request, get_object_or_404(Policy, pk=pk, retired_at=None))


def _edited(request: HttpRequest, one: Policy | None) -> HttpResponse:
    data = request.POST if request.method == "POST" else None
    known = {name: getattr(one, name) for name in ("name", "team", "severities", "repeats", "version")} if one else {}
    form = PolicyForm(data, initial=known | ({"silence_minutes": one.silence_seconds // 60} if one else {}))
    steps = step_forms(data, one)
    if data is not None and form.is_valid() and all([step.is_valid() for step in steps]):  # noqa: C419 (all are asked)
        typed = dict(form.cleaned_data)
        seen, minutes = typed.pop("version"), typed.pop("silence_minutes")
        try:
            made = policies.set_policy(
                **typed,
                steps=steps_of(steps),
                silence_seconds=minutes * 60,
                policy=one,
                seen_version=seen,
                actor=actor_for(request=request),
            )
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("%(name)s is set.") % {"name": made.name})
            return redirect("oncall-home")
    wrong = bool(form.errors) or any(step.errors for step in steps)
    context = {
        "form": form,
        "steps": steps,
        "policy": one,
        "trail": TRAIL,
        "sentence": gettext("The policy %(name)s") % {"name": one.name} if one else gettext("A new escalation policy"),
    }
    return render(request, "oncall/policy.html", context, status=400 if wrong else 200)


@login_required
@require_POST
def retire_policy(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    one = get_object_or_404(Policy, pk=pk)
    act = lambda: policies.retire_policy(policy=one, actor=actor_for(request=request))  # noqa: E731
    attempt(request, act, gettext("%(one)s is retired.") % {"one": one.name})
    return redirect("oncall-home")
