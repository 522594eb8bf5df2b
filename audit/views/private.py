"""Reading a sealed text, deliberately and on record; and the legal holds that keep texts and data from being erased."""

import uuid
from collections.abc import Iterable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_POST

from audit import holds as keeping
from audit import search
from audit.erasure import NothingSealed, reveal
from audit.forms import HoldForm, LiftForm, RevealForm
from audit.models import AuditHold
from audit.names import display
from audit.templatetags.parts import action_words
from audit.views.access import HOLD, READ, actor_of, auditors, require

SHOWN = 100


@require_POST
@auditors(READ)
def reveal_text(request: HttpRequest, event_uuid: uuid.UUID) -> HttpResponse:
    """The text of one event, for an auditor who says why. It is shown once, as the answer to the post."""
    event = search.events().filter(event_uuid=event_uuid).first()
    if event is None:
        raise Http404(gettext("There is no such event in the log."))
    form, text = RevealForm(request.POST), ""
    if form.is_valid():
        try:
            text = reveal(event=event, actor=actor_of(request), reason=form.cleaned_data["reason"])
        except NothingSealed as error:
            messages.error(request, str(error))
            return redirect("audit-event", event_uuid=event_uuid)
    names = display([event.actor])
    context = {
        "event": event,
        "text": text,
        "form": form,
        "sentence": gettext("What %(names)s wrote: %(action_words)s")
        % {"names": names[event.actor], "action_words": action_words(event.action)},
        "tone": "quiet",
    }
    return render(request, "audit/revealed.html", context)


@require_http_methods(["GET", "POST"])
@auditors(READ, HOLD)
def holds(request: HttpRequest) -> HttpResponse:
    """The legal holds, those that stand first; administrators place one here."""
    may_place = request.user.has_perm(HOLD)
    form = HoldForm(request.POST or None, initial={name: request.GET.get(name, "") for name in ("kind", "ref")})
    if request.method == "POST":
        require(request, HOLD)
        if form.is_valid():
            try:
                keeping.place(**form.cleaned_data, actor=actor_of(request))
            except keeping.HoldError as error:
                form.add_error(None, str(error))
            else:
                messages.success(
                    request, gettext("The hold stands. Nothing about it is erased or pruned until it is lifted.")
                )
                return redirect("audit-holds")
    standing = list(keeping.active())
    past = AuditHold.objects.select_related("event").exclude(pk__in=[hold.pk for hold in standing])[:SHOWN]
    count = len(standing)
    context = {
        "standing": _rows(standing),
        "past": _rows(past),
        "form": form,
        "lift_form": LiftForm(auto_id=False),
        "may_place": may_place,
        "may_read": request.user.has_perm(READ),
        "sentence": ngettext("%(n)s legal hold stands.", "%(n)s legal holds stand.", count) % {"n": count}
        if count
        else gettext("No legal hold stands."),
        "tone": "warn" if count else "quiet",
    }
    return render(request, "audit/holds.html", context)


def _rows(found: Iterable[AuditHold]) -> list[dict[str, Any]]:
    """Holds with what they are on and the people's names, for tables."""
    found = list(found)
    names = display(one for hold in found for one in (hold.placed_by, hold.lifted_by) if one)
    return [
        {
            "hold": hold,
            "words": keeping.in_words(hold),
            "placed_by": names[hold.placed_by],
            "lifted_by": names.get(hold.lifted_by, ""),
        }
        for hold in found
    ]


@require_POST
@auditors(HOLD)
def lift_hold(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """End a hold, with a reason."""
    hold = get_object_or_404(AuditHold.objects.select_related("event"), pk=pk)
    try:
        keeping.lift(hold=hold, reason=request.POST.get("reason", "")[:2000], actor=actor_of(request))
        messages.success(
            request, gettext("The hold on the %(in_words)s is lifted.") % {"in_words": keeping.in_words(hold)}
        )
    except keeping.HoldError as error:
        messages.error(request, str(error))
    return redirect("audit-holds")
