"""Pages: the approver's, and a person's own tokens."""

import datetime
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.actions import AccountError, actor_for, issue_token, revoke_token
from accounts.approvals.actions import Refused, decide
from accounts.approvals.models import ApprovalRequest, Decision
from accounts.approvals.queries import eligible_roles, standing, waiting, who_may
from accounts.approvals.subjects import subject_of
from accounts.forms import DecisionForm, TokenForm
from accounts.models import ApiToken, User
from accounts.permissions import require, user_roles
from accounts.step_up import last_authentication


def get_request_for(request: HttpRequest, pk: str) -> ApprovalRequest:
    """Lookup and permission in one: an approval request for a person who may see it."""
    require(request, "view")
    return get_object_or_404(ApprovalRequest.objects.select_related("policy", "proposer"), pk=pk)


@login_required
@require_GET
def approval_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    live = list(waiting().select_related("policy", "proposer"))
    mine = [entry for entry in live if _can_fill(entry, request.user)]
    past = ApprovalRequest.objects.exclude(pk__in=[entry.pk for entry in live]).select_related("proposer")
    context = {
        "mine": mine,
        "others": [entry for entry in live if entry not in mine],
        "past": past.order_by("-opened_at")[:50],
    }
    return render(request, "accounts/approval_list.html", context)


def _can_fill(entry: ApprovalRequest, user: User) -> bool:
    if entry.proposer_id == user.pk or not eligible_roles(entry, user_roles(user)):
        return False
    return not any(seat.by and seat.by.pk == user.pk for seat in standing(entry).seats)


@login_required
@require_http_methods(["GET", "POST"])
def approval_detail(request: HttpRequest, pk: str) -> HttpResponse:
    entry = get_request_for(request, pk)
    if request.method == "POST":
        return _decide(request, entry)
    return render(request, "accounts/approval_detail.html", _approval_context(request, entry))


def _approval_context(request: HttpRequest, entry: ApprovalRequest) -> dict[str, object]:
    now = standing(entry)
    latest = entry.decisions.filter(by=request.user).order_by("-decided_at").first()
    seats = [
        {
            "role": seat.role,
            "by": seat.by,
            "decision": seat.decision,
            "may": [] if seat.by else who_may(entry, seat.role),
        }
        for seat in now.seats
    ]
    return {
        "entry": entry,
        "standing": now,
        "seats": seats,
        "subject": subject_of(entry),
        "is_live": entry.state in ("open", "approved") and entry.expires_at > timezone.now(),
        "is_proposer": entry.proposer_id == request.user.pk,
        "holds_role": bool(eligible_roles(entry, user_roles(request.user))),
        "has_approved": latest is not None and latest.decision == Decision.APPROVE,
        "decisions": entry.decisions.select_related("by"),
    }


def _decide(request: HttpRequest, entry: ApprovalRequest) -> HttpResponse:
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Nothing was decided: the form did not say what was read. Read the plan and try again.")
        return redirect("approval-detail", pk=entry.pk)
    proof = last_authentication(request)
    method, auth_time = proof or ("session", None)
    try:
        row = decide(
            request_id=entry.pk,
            user=request.user,
            auth_method=method,
            auth_time=auth_time,
            actor=actor_for(request=request),
            **form.cleaned_data,
        )
    except Refused as refused:
        if refused.code == "step_up_needed":
            query = urlencode({"next": reverse("approval-detail", args=[entry.pk])})
            messages.warning(request, refused.sentence)
            return redirect(f"{reverse('account_reauthenticate')}?{query}")
        messages.error(request, refused.sentence)
        return redirect("approval-detail", pk=entry.pk)
    said = {"approve": "You approved it.", "deny": "You denied it.", "revoke": "You took your approval back."}
    messages.success(request, said[row.decision])
    return redirect("approval-detail", pk=entry.pk)


@login_required
@require_http_methods(["GET", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    form = TokenForm(request.POST or None, owner=request.user)
    secret = ""
    if request.method == "POST" and form.is_valid():
        try:
            _, secret = issue_token(
                owner=request.user,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_at=timezone.now() + datetime.timedelta(days=form.cleaned_data["days"]),
                actor=actor_for(request=request),
            )
            form = TokenForm(owner=request.user)
        except AccountError as error:
            form.add_error(None, str(error))
    tokens = ApiToken.objects.filter(owner=request.user).order_by("-created_at")
    return render(request, "accounts/token_list.html", {"form": form, "tokens": tokens, "secret": secret})


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: str) -> HttpResponse:
    token = get_object_or_404(ApiToken, pk=pk, owner=request.user)
    try:
        revoke_token(token=token, actor=actor_for(request=request))
        messages.success(request, f"The token {token.name} no longer works.")
    except AccountError as error:
        messages.error(request, str(error))
    return redirect("token-list")
