"""The page of approval policies: who must agree to what, and the wish that a policy be retired."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_POST

from accounts.actions import actor_for
from accounts.approvals.acts import ActRefused
from accounts.approvals.forms import RetireForm
from accounts.approvals.models import ApprovalPolicy, SubjectKind
from accounts.approvals.policies import PolicyError, ask_to_retire
from accounts.models import Role
from accounts.permissions import may, require

SHOWN_PAST = 50


@login_required
@require_GET
def policy_list(request: HttpRequest) -> HttpResponse:
    """Everybody may read who must agree; administrators may ask for a policy to be retired."""
    require(request, "view")
    in_force = ApprovalPolicy.objects.filter(active=True).order_by("subject_kind", "risk_tier", "environment")
    rows = [_row(policy) for policy in in_force]
    may_retire, wanted = may(request.user, "admin"), request.GET.get("retire", "")
    chosen = [row["policy"] for row in rows if may_retire and row["retirable"] and str(row["policy"].pk) == wanted]
    context = {
        "sentence": ngettext("%(n)s policy is in force.", "%(n)s policies are in force.", len(rows)) % {"n": len(rows)},
        "trail": [(reverse("approval-list"), gettext("Approvals"))],
        "rows": rows,
        "past": ApprovalPolicy.objects.filter(active=False).order_by("-created_at")[:SHOWN_PAST],
        "may_retire": may_retire,
        "chosen": chosen[0] if chosen else None,
        "retire_form": RetireForm(auto_id="retire_%s"),
    }
    return render(request, "accounts/policies.html", context)


def _row(policy: ApprovalPolicy) -> dict[str, Any]:
    named = [f"{factor['count']} {Role(factor['role']).label.lower()}" for factor in policy.factors]
    people = ngettext("%(n)s person", "%(n)s people", policy.required) % {"n": policy.required}
    return {
        "policy": policy,
        "who": f"{people}: {', '.join(named)}" if named else people,
        "retirable": policy.subject_kind != SubjectKind.POLICY_CHANGE,
    }


@login_required
@require_POST
def policy_retire(request: HttpRequest, pk: int) -> HttpResponse:
    require(request, "admin")
    policy = get_object_or_404(ApprovalPolicy, pk=pk)
    form = RetireForm(request.POST)
    if not form.is_valid():
        messages.error(request, gettext("Nothing was changed: say in a sentence why nobody need agree by it any more."))
        return redirect("policy-list")
    try:
        act = ask_to_retire(
            policy=policy, user=request.user, actor=actor_for(request=request), reason=form.cleaned_data["reason"]
        )
    except (PolicyError, ActRefused) as refused:
        messages.error(request, str(refused))
        return redirect("policy-list")
    if act is None:
        messages.success(request, gettext("The policy %(policy)s is retired.") % {"policy": policy})
        return redirect("policy-list")
    messages.success(
        request, gettext("It waits for its approvals. Until they are there, %(policy)s counts.") % {"policy": policy}
    )
    return redirect("approval-detail", pk=act.request_id)
