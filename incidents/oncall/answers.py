"""The pages of who is called: how they are reached, what they answer."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.models import User
from accounts.permissions import may, require, require_on, user_of
from incidents.errors import IncidentError
from incidents.oncall import calls, contacts, duty, escalations, queries
from incidents.oncall.forms import ChannelForm, WayForm
from incidents.oncall.models import Contact, Escalation
from incidents.oncall.views import TRAIL, attempt

VERBS = ("take", "hand-over", "call-now")


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def mine(request: HttpRequest) -> HttpResponse:
    """How the reader is called, and when they are on call."""
    require(request, "view")
    user = user_of(request)
    form, secret = WayForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        added = _added(request, form, user=user)
        if added is not None and not added[1]:
            return redirect("oncall-mine")
        secret = added[1] if added else ""
        form = WayForm() if secret else form
    ways = list(contacts.contacts().filter(user=user, own=False))
    context = {
        "ways": ways,
        "form": form,
        "secret": secret,
        "turns": _turns_of(user),
        "trail": TRAIL,
        "sentence": _how(ways, user),
        "tone": "ok" if ways or user.email else "warn",
    }
    return render(request, "oncall/mine.html", context, status=400 if form.errors else 200)


def _how(ways: list[Contact], user: User) -> str:
    if ways:
        return ngettext("You are called in %(count)s way", "You are called in %(count)s ways", len(ways)) % {
            "count": len(ways)
        }
    if user.email:
        return gettext("You are called at your account's address, %(email)s") % {"email": user.email}
    return gettext("You can't be called: your account has no e-mail address. Add a way.")


def _turns_of(user: User) -> list[dict[str, Any]]:
    found = [
        {"rotation": plan.rotation, "turn": shown}
        for plan in duty.plans(duty.rotations())
        for shown in plan.shown
        if shown.person is not None and shown.person.pk == user.pk
    ]
    return sorted(found, key=lambda one: one["turn"].turn.starts)[:12]


def _added(request: HttpRequest, form: WayForm, **whose: Any) -> tuple[Contact, str] | None:
    try:
        made, secret = contacts.add_contact(**(form.cleaned_data | whose), actor=actor_for(request=request))
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return None
    waits = made.receiver.state == "pending"
    said = (
        gettext("A letter is on its way there: follow its link.")
        if waits
        else gettext("%(made)s is used from now on. Try it.") % {"made": made.name}
    )
    messages.success(request, said)
    return made, secret


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def channels(request: HttpRequest) -> HttpResponse:
    """What is called of a team beside people: chat channels, PagerDuty, programs."""
    require(request, "view" if request.method == "GET" else "admin")
    form, secret = ChannelForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        added = _added(request, form)
        if added is not None and not added[1]:
            return redirect("oncall-channels")
        secret = added[1] if added else ""
        form = ChannelForm() if secret else form
    found = list(contacts.contacts().filter(user=None).order_by("team", "name"))
    context = {
        "ways": found,
        "form": form,
        "secret": secret,
        "may_set": may(user_of(request), "admin"),
        "trail": TRAIL,
        "sentence": ngettext(
            "%(count)s channel of teams can be called", "%(count)s channels of teams can be called", len(found)
        )
        % {"count": len(found)},
    }
    return render(request, "oncall/channels.html", context, status=400 if form.errors else 200)


def _way(request: HttpRequest, pk: int) -> Contact:
    """A person's own way, or a team's for who administers."""
    require(request, "view")
    found = get_object_or_404(contacts.contacts(), pk=pk)
    if found.user_id is None:
        require(request, "admin")
    elif found.user_id != user_of(request).pk:
        raise Http404
    return found


def _back(way: Contact) -> HttpResponse:
    return redirect("oncall-mine" if way.user_id else "oncall-channels")


@login_required
@require_POST
def test_way(request: HttpRequest, pk: int) -> HttpResponse:
    way = _way(request, pk)
    act = lambda: contacts.test(contact=way, actor=actor_for(request=request))  # noqa: E731
    attempt(
        request,
        act,
        gettext("A test is on its way to %(way)s. What was answered stands here when it is there.") % {"way": way.name},
    )
    return _back(way)


@login_required
@require_POST
def remove_way(request: HttpRequest, pk: int) -> HttpResponse:
    way = _way(request, pk)
    act = lambda: contacts.remove_contact(contact=way, actor=actor_for(request=request))  # noqa: E731
    attempt(request, act, gettext("%(way)s is not called any more, and its address is forgotten.") % {"way": way.name})
    return _back(way)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """The link of the first letter. Programs that follow links press no buttons: only a POST confirms."""
    require(request, "view")
    user = user_of(request)
    try:
        way = contacts.contact_of_link(token=token, user=user)
        if request.method == "POST":
            way = contacts.confirm(token=token, user=user, actor=actor_for(request=request))
            messages.success(request, gettext("%(address)s is used from now on.") % {"address": way.receiver.address})
            return _back(way)
    except IncidentError as refused:
        return render(request, "oncall/refused.html", {"sentence": str(refused), "trail": TRAIL}, status=410)
    context = {
        "way": way,
        "trail": TRAIL,
        "sentence": gettext("Call you at %(address)s?") % {"address": way.receiver.address},
    }
    return render(request, "oncall/confirm.html", context)


@login_required
@never_cache
@require_http_methods(["GET"])
def answer(request: HttpRequest, token: str) -> HttpResponse:
    """The link of a call: what it is about, and the three answers."""
    require(request, "view")
    try:
        escalation, way = calls.escalation_of(token)
    except IncidentError as refused:
        return render(request, "oncall/refused.html", {"sentence": str(refused), "trail": TRAIL}, status=410)
    user = user_of(request)
    context = queries.panel(escalation.incident, user) | {
        "incident": escalation.incident,
        "sentence": f"{escalation.incident.ref}: {escalation.incident.title}",
        "other": way.user if way.user and way.user.pk != user.pk else None,
    }
    return render(request, "oncall/answer.html", context)


@login_required
@require_POST
def act(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """One of the three answers to a call."""
    require(request, "incident.respond")
    if verb not in VERBS:
        raise Http404
    one = get_object_or_404(Escalation.objects.select_related("incident__endpoint__model", "taken_by"), pk=pk)
    require_on(request, "incident.respond", one)
    user, actor = user_of(request), actor_for(request=request)
    reason = request.POST.get("reason", "")[:500]
    if verb == "take":
        attempt(
            request, lambda: escalations.acknowledge(escalation=one, user=user, actor=actor), gettext("You have it.")
        )
    elif verb == "call-now":
        attempt(
            request,
            lambda: escalations.call_now(escalation=one, actor=actor, reason=reason),
            gettext("The next are called."),
        )
    else:
        to = User.objects.filter(username=request.POST.get("to", ""), is_active=True).first()
        if to is None:
            messages.error(request, gettext("Choose to whom you hand it over."))
        else:
            attempt(
                request,
                lambda: escalations.hand_over(escalation=one, to=to, user=user, actor=actor, reason=reason),
                gettext("%(to)s is called. Until they answer, nobody has it.") % {"to": to},
            )
    return redirect("incident-detail", ref=one.incident.ref)
