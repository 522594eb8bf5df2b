"""Pages of registered gates, and what a named person says in a run."""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import actor_for
from accounts.approvals.acts import ActRefused
from accounts.approvals.models import Act
from accounts.permissions import may, require, user_of
from incidents.rollback.gating import queries
from incidents.rollback.gating.actions import accept, retire_gate
from incidents.rollback.gating.acts import register_gate
from incidents.rollback.gating.bodies import EXAMPLES, GateRefused
from incidents.rollback.gating.forms import AcceptForm, GateForm, RetireForm
from incidents.rollback.gating.models import Asking, GateDefinition, GateKind
from incidents.rollback.gating.words import sentence_of


def asking_for(request: HttpRequest, pk: UUID) -> Asking:
    """Lookup and permission in one: a gate as it was asked in a run, for a person who may see it."""
    require(request, "view")
    return get_object_or_404(queries.askings(), pk=pk)


def gate_to_change(request: HttpRequest, item: int) -> GateDefinition:
    """Lookup and permission in one: a gate for a person who may change what is registered."""
    require(request, "registry.write")
    return get_object_or_404(queries.gates(), pk=item)


@login_required
@require_GET
def gate_list(request: HttpRequest) -> HttpResponse:
    """The gates that plans ask beside those that every plan has."""
    require(request, "view")
    rows = queries.gate_rows(request.GET.get("model", "")[:60])
    wanted = request.GET.get("retire", "")
    may_write = may(user_of(request), "registry.write")
    chosen = [row["gate"] for row in rows if may_write and str(row["gate"].pk) == wanted]
    count = (
        ngettext("%(count)s gate is registered", "%(count)s gates are registered", len(rows)) % {"count": len(rows)}
        if rows
        else gettext("No gate is registered")
    )
    context = {
        "sentence": gettext("%(count)s, beside those that every plan asks.") % {"count": count},
        "rows": rows,
        "may_write": may_write,
        "chosen": chosen[0] if chosen else None,
        "retire_form": RetireForm(auto_id="retire_%s"),
    }
    return render(request, "gating/list.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def gate_register(request: HttpRequest) -> HttpResponse:
    """Register a gate, or ask those who have to agree."""
    require(request, "registry.write")
    form = GateForm(request.POST or None, initial={"model": request.GET.get("model", "")})
    if request.method == "POST" and form.is_valid():
        user = user_of(request)
        try:
            done = register_gate(**form.cleaned_data, user=user, actor=actor_for(request=request))
        except (GateRefused, ActRefused) as refused:
            form.add_error(None, refused.sentence)
        else:
            if isinstance(done, Act):
                messages.success(request, gettext("It waits for its approvals. Until they are there, no plan asks it."))
                return redirect("approval-detail", pk=done.request_id)
            messages.success(request, gettext("The gate %(name)s is registered.") % {"name": done.name})
            return redirect("gate-list")
    examples = [{"kind": label, "body": json.dumps(EXAMPLES[value], indent=2)} for value, label in GateKind.choices]
    context = {"form": form, "examples": examples, "trail": [(reverse("gate-list"), gettext("Gates"))]}
    return render(request, "gating/register.html", context, status=400 if form.errors else 200)


@login_required
@require_POST
def gate_retire(request: HttpRequest, item: int) -> HttpResponse:
    definition = gate_to_change(request, item)
    form = RetireForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    try:
        retire_gate(definition=definition, reason=reason, user=user_of(request), actor=actor_for(request=request))
        messages.success(request, gettext("The gate %(name)s is asked no more.") % {"name": definition.name})
    except GateRefused as refused:
        messages.error(request, refused.sentence)
    return redirect("gate-list")


@login_required
@require_GET
def asking_detail(request: HttpRequest, pk: UUID) -> HttpResponse:
    """What a suite reported, or what named people said."""
    row = asking_for(request, pk)
    context = {
        "asking": row,
        "gate": row.definition,
        "how": sentence_of(row.definition.kind, row.definition.body),
        "may_accept": queries.may_accept(row, row.run, user_of(request)),
        "trail": [
            (
                reverse("plan-detail", args=[row.run.plan_id]),
                gettext("Run on %(slug)s") % {"slug": row.run.endpoint.slug},
            )
        ],
    }
    return render(request, "gating/asking.html", context)


@login_required
@require_POST
def asking_act(request: HttpRequest, pk: UUID, verb: str) -> HttpResponse:
    """A named person accepts the version in a wave, or refuses it."""
    row = asking_for(request, pk)
    if verb not in ("accept", "refuse"):
        raise Http404(gettext("A gate has no verb %(verb)s.") % {"verb": verb})
    form = AcceptForm(request.POST)
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    who: dict[str, Any] = {"user": user_of(request), "actor": actor_for(request=request)}
    try:
        accept(asking=row, accepted=verb == "accept", reason=reason, **who)
        messages.success(
            request, gettext("You have accepted it.") if verb == "accept" else gettext("You have refused it.")
        )
    except GateRefused as refused:
        messages.error(request, refused.sentence)
    return redirect("plan-detail", pk=row.run.plan_id)
