"""The whole record of an incident, as people read it."""

from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from accounts.permissions import may, may_on, user_of
from incidents.views.pages import incident_for
from incidents.working.forms import NoteForm
from incidents.working.timeline import KINDS, Asked, page

FILTERS = ("kind", "who", "by", "amiss")


def asked_of(request: HttpRequest) -> Asked:
    """What the address asks for; what it asks for wrongly counts as not asked."""
    numbers = {name: request.GET.get(name, "") for name in ("before", "at")}
    read = {name: int(text) if text.isdecimal() and len(text) < 10 else None for name, text in numbers.items()}
    words = {name: request.GET.get(name, "").strip()[:80] for name in ("kind", "who", "by")}
    return Asked(**words, amiss=request.GET.get("amiss") == "1", **read)


@login_required
@require_GET
def incident_timeline(request: HttpRequest, ref: str) -> HttpResponse:
    """Newest first, a page at a time. `kind`, `who`, `by` and `amiss` filter; `before` is the number to go on from,
    `at` the number of an event that is to be on the page."""
    incident = incident_for(request, ref)
    user = user_of(request)
    asked = asked_of(request)
    shown = page(incident, asked)
    kept = {name: request.GET[name] for name in FILTERS if request.GET.get(name)}
    context = {
        "incident": incident,
        "page": shown,
        "asked": asked,
        "kinds": [(value, label) for value, (label, _) in KINDS.items()],
        "filtered": bool(kept),
        "older": urlencode(kept | {"before": shown.older}) if shown.older else "",
        "newest": asked.before is None and asked.at is None,
        "kept": urlencode(kept),
        "may_audit": may(user, "audit.view"),
        "may_respond": may_on(user, "incident.respond", incident),
        "note_form": NoteForm(),
    }
    return render(request, "working/timeline.html", context)
