"""The page of senders that sign their webhooks, for administrators. A secret is shown once, to whom has just proved who
they are."""

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.validators import validate_slug
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import require
from accounts.step_up import require_fresh_proof
from audit.clock import database_now
from monitoring import sources
from monitoring.models import WebhookSource
from monitoring.webhooks import routing_key


class SenderForm(forms.Form):
    name = forms.CharField(
        max_length=40,
        validators=[validate_slug],
        label=gettext_lazy("Name"),
        help_text=gettext_lazy("Letters, digits, hyphens and underscores, as in the address to which it posts."),
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def get_sender_for(request: HttpRequest, name: str) -> WebhookSource:
    """Lookup and permission in one: a sender, for an administrator."""
    require(request, "admin")
    return get_object_or_404(WebhookSource, name=name)


@login_required
@never_cache
@require_http_methods(["GET", "POST"])
def sender_list(request: HttpRequest) -> HttpResponse:
    """All senders; a post makes one and shows its secret."""
    require(request, "admin")
    form = SenderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        require_fresh_proof(request)
        try:
            source, secret = sources.create_source(name=form.cleaned_data["name"], actor=actor_for(request=request))
            return _page(request, SenderForm(), source.name, secret)
        except sources.SourceError as error:
            form.add_error("name", str(error))
    return _page(request, form)


@login_required
@never_cache
@require_POST
def sender_rotate(request: HttpRequest, name: str) -> HttpResponse:
    """Another secret, shown in the answer; the one before counts for a day more."""
    source = get_sender_for(request, name)
    require_fresh_proof(request)
    secrets: list[str] = []
    _attempt(request, lambda: secrets.append(sources.rotate_source(source=source, actor=actor_for(request=request))))
    return _page(request, SenderForm(), name, secrets[0]) if secrets else redirect("sender-list")


@login_required
@require_POST
def sender_end(request: HttpRequest, name: str) -> HttpResponse:
    source = get_sender_for(request, name)
    if _attempt(request, lambda: sources.end_source(source=source, actor=actor_for(request=request))):
        messages.success(request, gettext("Nothing of %(name)s is taken any more.") % {"name": name})
    return redirect("sender-list")


def _attempt(request: HttpRequest, act: Callable[[], None]) -> bool:
    try:
        act()
    except sources.SourceError as error:
        messages.error(request, str(error))
        return False
    return True


def _page(request: HttpRequest, form: SenderForm, name: str = "", secret: str = "") -> HttpResponse:
    listed = list(WebhookSource.objects.order_by("ended_at", "name"))
    live = sum(source.ended_at is None for source in listed)
    now = database_now()
    rows = [
        {"source": source, "overlaps": source.previous_until is not None and source.previous_until > now}
        for source in listed
    ]
    context = {
        "sentence": gettext("1 sender signs its webhooks.")
        if live == 1
        else gettext("%(live)s senders sign their webhooks.") % {"live": live},
        "rows": rows,
        "form": form,
        "shown_for": name,
        "secret": secret,
        "routing_key": routing_key(secret) if secret else "",
    }
    return render(request, "monitoring/senders.html", context)
