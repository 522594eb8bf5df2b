"""The pages behind a status page: who administers it, who plans maintenance, and who wants to be told."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import require, require_on, user_of
from accounts.step_up import require_fresh_proof
from accounts.throttles import is_one_too_many
from incidents import status
from incidents.errors import IncidentError
from incidents.models import StatusComponent, StatusPage, WindowStatus
from incidents.status_impacts import shown
from incidents.status_readers import may_read, sends_letters
from incidents.telling import drafts, maintenance, outbox, subscribers
from incidents.telling.forms import ComponentForm, EditPageForm, MaintenanceForm, SubscribeForm, WebhookForm, WordsForm
from incidents.telling.models import Draft, Maintenance, Message, Subscriber, SubscriberState

SHOWN = 50


def _administered(request: HttpRequest, slug: str) -> StatusPage:
    require(request, "admin")
    return get_object_or_404(StatusPage, slug=slug)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def manage(request: HttpRequest, slug: str) -> HttpResponse:
    """A page's own settings, its components, its subscribers and what was sent to them."""
    page = _administered(request, slug)
    known = {name: getattr(page, name) for name in ("name", "description", "public", "readers", "by_itself", "version")}
    form = EditPageForm(request.POST or None, initial=known)
    if request.method == "POST" and form.is_valid():
        typed = dict(form.cleaned_data)
        seen = typed.pop("version")
        try:
            status.edit_page(page=page, seen_version=seen, actor=actor_for(request=request), **typed)
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("%(typed)s is changed.") % {"typed": typed["name"]})
            return redirect("status-manage", slug=slug)
    return _managed(request, page, form=form)


def _managed(request: HttpRequest, page: StatusPage, **more: Any) -> HttpResponse:
    known = {name: getattr(page, name) for name in ("name", "description", "public", "readers", "by_itself", "version")}
    told = page.subscribers.exclude(state=SubscriberState.ENDED).prefetch_related("components")
    sent = Message.objects.filter(subscriber__page=page).select_related("subscriber", "post").prefetch_related("tries")
    context = {
        "page": page,
        "form": EditPageForm(initial=known),
        "component_form": ComponentForm(page=page, auto_id="component_%s"),
        "webhook_form": WebhookForm(page=page, auto_id="webhook_%s"),
        "words_form": WordsForm(auto_id="words_%s"),
        "words": page.templates.all(),
        "components": shown(page).select_related("endpoint", "model", "group"),
        "subscribers": told[:SHOWN],
        "subscriber_count": told.count(),
        "sent": sent[:SHOWN],
    } | more
    wrong = any(form.errors for form in context.values() if hasattr(form, "errors"))
    return render(request, "status/manage.html", context, status=400 if wrong else 200)


@login_required
@require_POST
def add_component(request: HttpRequest, slug: str) -> HttpResponse:
    page = _administered(request, slug)
    form = ComponentForm(request.POST, page=page, auto_id="component_%s")
    if form.is_valid():
        try:
            made = status.add_component(page=page, actor=actor_for(request=request), **form.cleaned_data)
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(request, gettext("%(name)s is on the page.") % {"name": made.name})
            return redirect("status-manage", slug=slug)
    return _managed(request, page, component_form=form)


@login_required
@require_POST
def set_words(request: HttpRequest, slug: str) -> HttpResponse:
    page = _administered(request, slug)
    form = WordsForm(request.POST, auto_id="words_%s")
    if form.is_valid():
        try:
            drafts.set_words(page=page, actor=actor_for(request=request), **form.cleaned_data)
        except IncidentError as refused:
            form.add_error("text", str(refused))
        else:
            messages.success(request, gettext("The words are kept."))
            return redirect("status-manage", slug=slug)
    return _managed(request, page, words_form=form)


@login_required
@require_POST
def retire_component(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    page = _administered(request, slug)
    component = get_object_or_404(StatusComponent, page=page, pk=pk)
    _attempt(
        request,
        lambda: status.retire_component(component=component, actor=actor_for(request=request)),
        gettext("%(component)s is on the page no more.") % {"component": component.name},
    )
    return redirect("status-manage", slug=slug)


@login_required
@never_cache
@require_POST
def add_webhook(request: HttpRequest, slug: str) -> HttpResponse:
    """Enter a program that is told; its secret is in the answer, and never again."""
    page = _administered(request, slug)
    require_fresh_proof(request)
    form = WebhookForm(request.POST, page=page, auto_id="webhook_%s")
    if form.is_valid():
        try:
            _, secret = subscribers.add_webhook(page=page, actor=actor_for(request=request), **form.cleaned_data)
            return _managed(request, page, secret=secret, shown_for=form.cleaned_data["address"])
        except IncidentError as refused:
            form.add_error("address", str(refused))
    return _managed(request, page, webhook_form=form)


@login_required
@require_POST
def end_subscriber(request: HttpRequest, slug: str, ref: str) -> HttpResponse:
    page = _administered(request, slug)
    subscriber = get_object_or_404(Subscriber, page=page, ref=ref)
    if subscribers.end(subscriber=subscriber, how="administrator", actor=actor_for(request=request)):
        messages.success(request, gettext("They are told no more, and their address is forgotten."))
    return redirect("status-manage", slug=slug)


@login_required
@require_POST
def replay(request: HttpRequest, slug: str, message: Any) -> HttpResponse:
    page = _administered(request, slug)
    found = get_object_or_404(Message.objects.select_related("subscriber__page"), subscriber__page=page, pk=message)
    reason = request.POST.get("reason", "")
    _attempt(
        request,
        lambda: outbox.replay(message=found, actor=actor_for(request=request), reason=reason),
        gettext("It is sent again."),
    )
    return redirect("status-manage", slug=slug)


def _attempt(request: HttpRequest, act: Callable[[], object], done: str) -> None:
    try:
        act()
    except IncidentError as refused:
        messages.error(request, str(refused))
    else:
        messages.success(request, done)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def maintenances(request: HttpRequest, slug: str) -> HttpResponse:
    """What is planned on a page, and a form that plans more."""
    require(request, "status.publish")
    page = get_object_or_404(StatusPage, slug=slug)
    form = MaintenanceForm(request.POST or None, page=page)
    if request.method == "POST" and form.is_valid():
        for component in form.cleaned_data["components"]:
            require_on(request, "status.publish", component)
        try:
            made = maintenance.plan(
                page=page, by=user_of(request), actor=actor_for(request=request), **form.cleaned_data
            )
        except IncidentError as refused:
            form.add_error(None, str(refused))
        else:
            messages.success(
                request,
                gettext("The readers of %(name)s are told of %(title)s.") % {"name": page.name, "title": made.title},
            )
            return redirect("status-maintenance", slug=slug)
    going_on = page.maintenances.filter(state__in=[WindowStatus.SCHEDULED, WindowStatus.IN_PROGRESS])
    context = {"page": page, "form": form, "windows": going_on.prefetch_related("components")}
    return render(request, "status/maintenance.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def cancel_maintenance(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    require(request, "status.publish")
    window = get_object_or_404(Maintenance.objects.select_related("page"), page__slug=slug, pk=pk)
    require_on(request, "status.publish", window)
    reason = request.POST.get("reason", "")
    _attempt(
        request,
        lambda: maintenance.cancel(
            maintenance=window, by=user_of(request), actor=actor_for(request=request), reason=reason
        ),
        gettext("Its readers are told."),
    )
    return redirect("status-maintenance", slug=slug)


@login_required
@require_POST
def dismiss_draft(request: HttpRequest, slug: str, pk: int) -> HttpResponse:
    require(request, "status.publish")
    draft = get_object_or_404(Draft.objects.select_related("page", "incident"), page__slug=slug, pk=pk)
    require_on(request, "status.publish", draft.incident)
    _attempt(
        request,
        lambda: drafts.dismiss(draft=draft, actor=actor_for(request=request)),
        gettext("The draft is not told."),
    )
    return redirect("status-post", slug=slug)


@never_cache
@require_http_methods(["GET", "POST"])
def subscribe(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask to be told by e-mail. The answer is the same whether the address is told already or not."""
    page = get_object_or_404(StatusPage, slug=slug)
    if not may_read(request.user, page):
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        require(request, "admin")
    form = SubscribeForm(request.POST or None, page=page)
    asked = False
    if request.method == "POST" and form.is_valid():
        if is_one_too_many(request, "subscribe"):
            return HttpResponse(
                gettext("Too many letters were asked for from here. Try again in an hour.\n"), "text/plain", 429
            )
        try:
            subscribers.subscribe(page=page, **form.cleaned_data)
            asked = True
        except IncidentError as refused:
            form.add_error("address", str(refused))
    context = {"page": page, "form": form, "asked": asked, "letters": sends_letters()}
    return render(request, "status/subscribe.html", context, status=400 if form.errors else 200)


@never_cache
@require_http_methods(["GET", "POST"])
def confirm(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """The link of the first letter. Programs that follow links in letters press no buttons: only a POST confirms."""
    page = get_object_or_404(StatusPage, slug=slug, public=True)
    if request.method == "GET":
        return render(request, "status/subscription.html", {"page": page, "verb": "confirm"})
    return _by_link(request, page, "confirmed", lambda: subscribers.confirm(token=token))


@csrf_exempt
@never_cache
@require_http_methods(["GET", "POST"])
def unsubscribe(request: HttpRequest, slug: str, token: str) -> HttpResponse:
    """The link at the end of each letter. Mail programs POST to it themselves (RFC 8058), without a cookie."""
    try:
        page = subscribers.page_of_link(token=token)
    except IncidentError as refused:
        return render(request, "status/subscription.html", {"refused": str(refused)}, status=410)
    if request.method == "GET":
        return render(request, "status/subscription.html", {"page": page, "verb": "end"})
    return _by_link(request, page, "ended", lambda: subscribers.end_by_link(token=token))


def _by_link(request: HttpRequest, page: StatusPage, done: str, act: Callable[[], object]) -> HttpResponse:
    try:
        act()
    except IncidentError as refused:
        return render(request, "status/subscription.html", {"page": page, "refused": str(refused)}, status=410)
    return render(request, "status/subscription.html", {"page": page, "done": done})
