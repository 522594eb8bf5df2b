"""The library of runbooks: everybody who may look reads it, who commands incidents writes in it."""

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.permissions import may, may_on, require, require_on, user_of
from incidents.errors import Conflict, IncidentError
from incidents.working import runbooks
from incidents.working.forms import NewRunbookForm, RunbookForm
from incidents.working.markdown import render as as_html
from incidents.working.models import Runbook

WRITES = "incident.command"


def runbook_for(request: HttpRequest, slug: str, permission: str = "view") -> Runbook:
    """Lookup and permission in one."""
    require(request, permission)
    runbook = get_object_or_404(Runbook.objects.select_related("model"), slug=slug)
    require_on(request, permission, runbook)
    return runbook


@login_required
@require_GET
def library(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    found = Runbook.objects.filter(retired_at=None).select_related("model")
    context = {
        "runbooks": found,
        "may_write": may(user_of(request), WRITES),
        "sentence": gettext("What to do when something goes wrong"),
        "trail": [("/incidents/", gettext("Incidents"))],
    }
    return render(request, "working/library.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Write a runbook."""
    require(request, WRITES)
    form = NewRunbookForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        typed = dict(form.cleaned_data)
        typed.pop("version")
        _guard_model(request, typed)
        try:
            made = runbooks.write_runbook(actor=actor_for(request=request), **typed)
        except IncidentError as refused:
            form.add_error(None, str(refused))
            return _form(request, form, gettext("Write a runbook"), 409)
        messages.success(request, gettext("%(made)s is in the library.") % {"made": made})
        return redirect("runbook-detail", slug=made.slug)
    return _form(request, form, gettext("Write a runbook"), 400 if form.errors else 200)


def _guard_model(request: HttpRequest, typed: dict[str, Any]) -> None:
    """Who commands some models only writes runbooks for these."""
    model = typed["model"]
    if model is not None:
        require(request, WRITES, model=model.slug, team=model.team)


@login_required
@require_GET
def detail(request: HttpRequest, slug: str) -> HttpResponse:
    runbook = runbook_for(request, slug)
    context = {
        "runbook": runbook,
        "html": as_html(runbook.body),
        "uses": runbook.uses.select_related("incident").order_by("-pk")[:10],
        "may_write": runbook.retired_at is None and may_on(user_of(request), WRITES, runbook),
        "sentence": runbook.title,
        "trail": [("/incidents/", gettext("Incidents")), ("/runbooks/", gettext("Runbooks"))],
    }
    return render(request, "working/runbook.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    """Replace what it says. When somebody else did meanwhile, what was typed stays, beside a link to theirs."""
    runbook = runbook_for(request, slug, WRITES)
    initial = {name: getattr(runbook, name) for name in ("version", "title", "model", "kind", "body")}
    if request.method == "GET":
        return _form(
            request, RunbookForm(initial=initial), gettext("Edit %(runbook)s") % {"runbook": runbook}, runbook=runbook
        )
    form = RunbookForm(request.POST)
    form.fields["version"].required = True
    if not form.is_valid():
        return _form(request, form, gettext("Edit %(runbook)s") % {"runbook": runbook}, 400, runbook)
    typed = dict(form.cleaned_data)
    seen = typed.pop("version")
    _guard_model(request, typed)
    try:
        runbooks.edit_runbook(runbook=runbook, seen_version=seen, actor=actor_for(request=request), **typed)
    except Conflict:
        sent = request.POST.copy()
        sent["version"] = str(runbook.version)
        again = RunbookForm(sent)
        again.is_valid()
        again.add_error(
            None, gettext("Somebody changed this runbook since you opened it. Compare, then save yours again.")
        )
        return _form(request, again, gettext("Edit %(runbook)s") % {"runbook": runbook}, 409, runbook, theirs=True)
    except IncidentError as refused:
        form.add_error(None, str(refused))
        return _form(request, form, gettext("Edit %(runbook)s") % {"runbook": runbook}, 409, runbook)
    messages.success(request, gettext("The runbook is saved. Incidents that took it up keep what they took up."))
    return redirect("runbook-detail", slug=slug)


@login_required
@require_POST
def retire(request: HttpRequest, slug: str) -> HttpResponse:
    runbook = runbook_for(request, slug, WRITES)
    try:
        runbooks.retire_runbook(runbook=runbook, reason="", actor=actor_for(request=request))
        messages.success(request, gettext("%(runbook)s is offered in no incident any more.") % {"runbook": runbook})
    except IncidentError as refused:
        messages.error(request, str(refused))
    return redirect("runbook-library")


def _form(
    request: HttpRequest,
    form: forms.Form,
    sentence: str,
    status: int = 200,
    runbook: Runbook | None = None,
    theirs: bool = False,
) -> HttpResponse:
    context = {
        "form": form,
        "sentence": sentence,
        "theirs": as_html(runbook.body) if theirs and runbook else "",
        "back": f"/runbooks/{runbook.slug}/" if runbook else "/runbooks/",
        "trail": [("/incidents/", gettext("Incidents")), ("/runbooks/", gettext("Runbooks"))],
    }
    return render(request, "working/runbook_form.html", context, status=status)
