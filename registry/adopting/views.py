"""The page on which a running engine is looked at, and what was found is registered."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.permissions import require
from registry.actions import RegistryError
from registry.adopting.actions import adopt
from registry.adopting.forms import AdoptForm
from registry.adopting.looking import Seen, look
from registry.serving.allow import AddressRefused
from registry.serving.base import ServingError


@login_required
@require_http_methods(["GET", "POST"])
def adopt_engine(request: HttpRequest) -> HttpResponse:
    """Look at an engine; register what is there where the form says so. Nothing is changed on the engine."""
    require(request, "registry.write")
    form = AdoptForm(request.POST or None, request.FILES or None)
    context: dict[str, Any] = {"form": form, "trail": [(reverse("endpoint-list"), gettext("Endpoints"))]}
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        asked = {name: given[name] for name in ("url", "token", "engine", "options", "rows")}
        try:
            seen = look(**asked)
            context["seen"] = seen
            if "register" in request.POST:
                return _register(request, seen, given)
        except (AddressRefused, ServingError, RegistryError) as error:
            form.add_error(None, str(error))
    return render(request, "registry/adopt.html", context, status=400 if form.errors else 200)


def _register(request: HttpRequest, seen: Seen, given: dict[str, Any]) -> HttpResponse:
    terms = {name: given[name] for name in ("name", "team", "environment", "token", "options")}
    done = adopt(seen, **terms, user=request.user, actor=actor_for(request=request))
    if done.made:
        messages.success(request, gettext("Registered: %(what)s.") % {"what": ", ".join(done.made)})
    for sentence in done.left:
        messages.warning(request, gettext("Not registered: %(sentence)s") % {"sentence": sentence})
    if not done.made and not done.left:
        messages.info(request, gettext("All that was found is registered already."))
    return redirect("endpoint-list")
