"""Searching everything, and lists of incidents that are kept."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, require, user_of
from incidents.errors import IncidentError
from incidents.working.forms import SaveViewForm
from incidents.working.saved import drop_view, save_view
from incidents.working.search import SHORTEST, search

LONGEST = 200


@login_required
@require_GET
def find(request: HttpRequest) -> HttpResponse:
    """What the text of `q` finds. People see what they may look at; the log has a search of its own."""
    require(request, "view")
    text = request.GET.get("q", "")[:LONGEST].strip()
    groups = search(text)
    count = sum(len(group.hits) for group in groups)
    if len(text) < SHORTEST:
        sentence = gettext("Search incidents, notes, reviews, runbooks, models, endpoints and hosts")
    else:
        more = any(group.more for group in groups)
        words = gettext("%(count)s or more found for “%(text)s”") if more else gettext("%(count)s found for “%(text)s”")
        sentence = (words if count else gettext("Nothing found for “%(text)s”")) % {"count": count, "text": text}
    context = {
        "groups": groups,
        "text": text,
        "sentence": sentence,
        "asked": len(text) >= SHORTEST,
        "may_audit": may(user_of(request), "audit.view"),
    }
    return render(request, "working/search.html", context)


@login_required
@require_POST
def save(request: HttpRequest) -> HttpResponse:
    """Keep a list of incidents under a name."""
    require(request, "view")
    form = SaveViewForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Give the list a name of at most 80 characters."))
        return redirect("incident-list")
    try:
        view = save_view(user=user_of(request), actor=actor_for(request=request), **form.cleaned_data)
    except IncidentError as refused:
        messages.error(request, str(refused))
        return redirect("incident-list")
    messages.success(request, gettext("The list is kept as “%(name)s”.") % {"name": view.name})
    return redirect(f"/incidents/?{view.query}")


@login_required
@require_POST
def drop(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "view")
    try:
        drop_view(user=user_of(request), pk=pk, actor=actor_for(request=request))
        messages.success(request, gettext("The view is gone."))
    except IncidentError as refused:
        messages.error(request, str(refused))
    return redirect("incident-list")
