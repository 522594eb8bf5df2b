"""Pages: the ledger of what senders of alerts sent, and having a delivery read once more."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, require, require_on
from monitoring import intake
from monitoring.inbound import beats, queries, spool
from monitoring.inbound.forms import NAMES, LedgerForm
from monitoring.models import Delivery

PAGE = 50


@login_required
@require_GET
def ledger(request: HttpRequest) -> HttpResponse:
    """Every arrival, newest first, with what came of it."""
    require(request, "view")
    form = LedgerForm(request.GET)
    page = Paginator(queries.arrivals(form.filters()), PAGE).get_page(request.GET.get("page"))
    for arrival in page:
        arrival.format = NAMES.get(arrival.source, arrival.source)  # type: ignore[attr-defined]
    health = beats.standing()
    context = {
        "page": page,
        "form": form,
        "may_read_again": may(request.user, "incident.respond"),
        **_sentence(health),
        "health": health,
    }
    return render(request, "monitoring/ledger.html", context)


def _sentence(health: beats.Standing) -> dict[str, Any]:
    if health.ok is False:
        return {"sentence": gettext("Alerts may not come through."), "tone": "bad"}
    if waiting := len(spool.waiting()):
        said = ngettext(
            "%(count)s delivery waits on disk since a time without the database.",
            "%(count)s deliveries wait on disk since a time without the database.",
            waiting,
        )
        return {"sentence": said % {"count": waiting}, "tone": "warn"}
    if overdue := queries.overdue():
        said = ngettext(
            "%(count)s delivery waits to be read for longer than it should.",
            "%(count)s deliveries wait to be read for longer than they should.",
            overdue,
        )
        return {"sentence": said % {"count": overdue}, "tone": "warn"}
    if not_readable := queries.not_readable():
        said = ngettext(
            "%(count)s delivery could not be read, or not whole.",
            "%(count)s deliveries could not be read, or not whole.",
            not_readable,
        )
        return {"sentence": said % {"count": not_readable}, "tone": "warn"}
    return {"sentence": gettext("Everything that senders of alerts sent was read."), "tone": ""}


def get_delivery_for(request: HttpRequest, pk: Any) -> Delivery:
    """Lookup and permission in one: a delivery, for a person who may respond to what concerns its model."""
    require(request, "incident.respond")
    delivery: Delivery = get_object_or_404(Delivery.objects.select_related("endpoint__model").defer("body"), pk=pk)
    require_on(request, "incident.respond", delivery)
    return delivery


@login_required
@require_POST
def read_again(request: HttpRequest, pk: Any) -> HttpResponse:
    """Have a delivery that could not be read be read once more."""
    delivery = get_delivery_for(request, pk)
    if intake.read_again(delivery=delivery, actor=actor_for(request=request)):
        messages.success(request, gettext("It is being read once more; look again in a moment."))
    else:
        messages.error(request, gettext("There is nothing to read: it was read meanwhile, or its body is gone."))
    back = request.POST.get("back", "")
    if not url_has_allowed_host_and_scheme(back, allowed_hosts={request.get_host()}):
        back = "ledger"
    return redirect(back)
