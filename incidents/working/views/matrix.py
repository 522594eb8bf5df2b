"""The table from impact and urgency to severity: everybody reads it, administrators edit it."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from accounts.actions import actor_for
from accounts.permissions import may, require, user_of
from incidents import severity
from incidents.errors import Conflict, IncidentError
from incidents.models import Urgency
from incidents.working.forms import MatrixForm
from incidents.working.models import SeverityMatrix


@login_required
@require_http_methods(["GET", "POST"])
def severity_matrix(request: HttpRequest) -> HttpResponse:
    """GET shows the table that counts and its earlier editions; POST puts another into force, on record."""
    require(request, "view" if request.method == "GET" else "admin")
    if request.method == "GET":
        return _page(request, MatrixForm(initial=MatrixForm.initial_of(*severity.matrix())))
    form = MatrixForm(request.POST)
    if not form.is_valid():
        return _page(request, form, 400)
    try:
        severity.set_matrix(
            cells=form.cells,
            reason=form.cleaned_data["reason"],
            user=user_of(request),
            actor=actor_for(request=request),
            seen_edition=form.cleaned_data["edition"],
        )
    except Conflict as conflict:
        sent = request.POST.copy()
        sent["edition"] = str(conflict.current)
        again = MatrixForm(sent)
        again.is_valid()
        again.add_error(
            None, gettext("Somebody else edited the table since you opened it. Compare, then send yours again.")
        )
        return _page(request, again, 409)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _page(request, form, 409)
    messages.success(
        request, gettext("The table counts from now on. Open incidents keep their severity until they are triaged.")
    )
    return redirect("severity-matrix")


def _page(request: HttpRequest, form: MatrixForm, status: int = 200) -> HttpResponse:
    edition, cells = severity.matrix()
    context = {
        "form": form,
        "edition": edition,
        "cells": cells,
        "now": list(zip([label for label, _ in form.rows()], cells, strict=True)),
        "urgencies": [urgency.label for urgency in Urgency],
        "may_edit": may(user_of(request), "admin"),
        "editions": SeverityMatrix.objects.select_related("by")[:10],
        "sentence": gettext("Severity follows from impact and urgency"),
        "trail": [("/incidents/", gettext("Incidents"))],
    }
    return render(request, "working/matrix.html", context, status=status)
