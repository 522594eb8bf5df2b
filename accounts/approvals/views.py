"""Pages of approvals: what waits, one request with what it is about, and the decision on it."""

from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_GET, require_http_methods

from accounts.actions import actor_for
from accounts.approvals import evidence
from accounts.approvals.actions import EXCLUDED, Refused, decide
from accounts.approvals.break_glass import may_break
from accounts.approvals.forms import DecisionForm, DenialForm
from accounts.approvals.models import ApprovalEvidence, ApprovalRequest, Decision, RequestState
from accounts.approvals.queries import Candidate, Standing, is_excluded, roles_on, standing, waiting, who_may_fill
from accounts.approvals.subjects import Subject, subject_of
from accounts.models import Role, User
from accounts.permissions import require
from accounts.step_up import last_authentication

Able = dict[str, list[Candidate]]
CHANGED = ("hash_mismatch", "evidence_unknown", "subject_moved")


def get_request_for(request: HttpRequest, pk: str) -> ApprovalRequest:
    """Lookup and permission in one: an approval request for a person who may see it."""
    require(request, "view")
    return get_object_or_404(ApprovalRequest.objects.select_related("policy", "proposer", "break_glass__by"), pk=pk)


@login_required
@require_GET
def approval_list(request: HttpRequest) -> HttpResponse:
    require(request, "view")
    live = list(waiting().select_related("policy", "proposer"))
    mine = [entry for entry in live if _can_fill(entry, request.user)]
    past = ApprovalRequest.objects.exclude(pk__in=[entry.pk for entry in live]).select_related("proposer")
    context = {
        "sentence": _list_sentence(len(mine), len(live)),
        "tone": "warn" if mine else "quiet",
        "mine": mine,
        "others": [entry for entry in live if entry not in mine],
        "past": past.order_by("-opened_at")[:50],
    }
    return render(request, "accounts/approval_list.html", context)


def _list_sentence(mine: int, live: int) -> str:
    if mine:
        return ngettext("%(n)s request waits for your approval.", "%(n)s requests wait for your approval.", mine) % {
            "n": mine
        }
    if live:
        return ngettext(
            "Nothing waits for you; %(n)s request waits for others.",
            "Nothing waits for you; %(n)s requests wait for others.",
            live,
        ) % {"n": live}
    return gettext("Nothing waits for an approval.")


def _can_fill(entry: ApprovalRequest, user: User) -> bool:
    if is_excluded(entry, user) or not roles_on(entry, user):
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
    now, subject = standing(entry), subject_of(entry)
    digest, shown = evidence.show(entry, request.user, subject)
    latest = next((decision for decision in reversed(now.decisions) if decision.by_id == request.user.pk), None)
    able = who_may_fill(entry, now.open, now.decisions)
    is_live = entry.state in ("open", "approved") and entry.expires_at > timezone.now()
    has_approved = latest is not None and latest.decision == Decision.APPROVE
    holds_role = bool(roles_on(entry, request.user))
    may_approve = is_live and holds_role and not has_approved and not is_excluded(entry, request.user)
    may_approve = may_approve and not now.complete and not subject.moved
    return {
        "entry": entry,
        "subject": subject,
        "shown": shown,
        "sentence": _sentence(entry, now, subject),
        "tone": "warn" if subject.moved else entry.state,
        "trail": _trail(entry),
        "card": _card(entry, now, able),
        "is_live": is_live,
        "holds_role": holds_role,
        "has_approved": has_approved,
        "may_approve": may_approve,
        "glass": getattr(entry, "break_glass", None),
        "may_break": is_live and not now.complete and not subject.moved and may_break(entry, request.user),
        "objectable": subject.going and holds_role and entry.state == RequestState.CONSUMED,
        "why": "" if may_approve else _why_not(entry, request.user, now, subject, is_live, has_approved, able),
        "deny_form": DenialForm(auto_id="deny_%s"),
        **{
            f"{decision}_fields": {"decision": decision, "subject_hash": entry.subject_hash, "evidence": digest}
            for decision in ("approve", "revoke", "deny")
        },
        "decisions": now.decisions,
    }


@login_required
@require_GET
def approval_evidence(request: HttpRequest, pk: str, digest: str) -> HttpResponse:
    """What an approver was shown, as it was."""
    entry = get_request_for(request, pk)
    try:
        shown = evidence.shown(entry, digest)
    except ApprovalEvidence.DoesNotExist as gone:
        erased = "erased" in str(gone)
        raise Http404(str(gone) if erased else gettext("Nobody was shown evidence of that digest here.")) from None
    row = ApprovalEvidence.objects.get(digest=digest)
    makers = [str(decision.by) for decision in entry.decisions.filter(evidence=digest).select_related("by")]
    told = (
        gettext("%(makers)s decided on it.") % {"makers": " and ".join(dict.fromkeys(makers))}
        if makers
        else gettext("Nobody decided on it.")
    )
    context = {
        "entry": entry,
        "shown": shown,
        "shown_at": row.shown_at,
        "digest": digest,
        "sentence": gettext("This is what was shown for “%(title)s”. %(told)s")
        % {"title": shown["title"], "told": told},
        "trail": [*_trail(entry), (reverse("approval-detail", args=[entry.pk]), entry.title)],
    }
    return render(request, "accounts/approval_evidence.html", context)


def _sentence(entry: ApprovalRequest, now: Standing, subject: Subject) -> str:
    title = subject.title
    if entry.state in ("open", "approved"):
        if subject.moved:
            return gettext("%(title)s: it is no longer what was put to its approvers, so it can't be approved.") % {
                "title": title
            }
        missing = len(now.open)
        if missing:
            return ngettext(
                "%(title)s: %(n)s more approval is needed.", "%(title)s: %(n)s more approvals are needed.", missing
            ) % {"n": missing, "title": title}
        return gettext("%(title)s: approved by everybody who must.") % {"title": title}
    return f"{title}: {entry.get_state_display().lower()}."


def _trail(entry: ApprovalRequest) -> list[tuple[str, str]]:
    trail = [(reverse("approval-list"), gettext("Approvals"))]
    return [*trail, (f"/incidents/{entry.incident_ref}/", entry.incident_ref)] if entry.incident_ref else trail


def _card(entry: ApprovalRequest, now: Standing, able: Able) -> dict[str, object]:
    """What parts/approval_card.html shows."""
    seats = [
        {
            "role": seat.role or "approver",
            "person": seat.by,
            "at": seat.decision.decided_at if seat.decision else None,
            "decision": "approve",
            "who_may": [] if seat.by else [str(user) for user in able[seat.role]],
        }
        for seat in now.seats
    ]
    factors = ", ".join(f"{factor['count']} {Role(factor['role']).label.lower()}" for factor in entry.policy.factors)
    people = ngettext("%(n)s person", "%(n)s distinct people", entry.policy.required) % {"n": entry.policy.required}
    return {
        "state": entry.state,
        "policy": gettext("%(people)s who did not propose it: %(factors)s.") % {"people": people, "factors": factors},
        "seats": seats,
        "proposer": str(entry.proposer),
        "expires_at": entry.expires_at if entry.state in ("open", "approved") else None,
        "hash": entry.subject_hash,
        "note": gettext("Denied by %(by)s: %(reason)s") % {"by": now.denied.by, "reason": now.denied.reason}
        if now.denied
        else "",
    }


def _why_not(
    entry: ApprovalRequest,
    user: User,
    now: Standing,
    subject: Subject,
    is_live: bool,
    has_approved: bool,
    able: Able,
) -> str:
    """Why this reader has nothing to approve, and who has."""
    if not is_live:
        return gettext("This request is closed.")
    if subject.moved:
        return gettext("It has to be proposed again.")
    if has_approved:
        return gettext("You have approved it.")
    if now.complete:
        return gettext("It has all the approvals that it needs.")
    others = " or ".join(dict.fromkeys(str(person) for role in now.open for person in able[role]))
    if entry.proposer_id == user.pk:
        return gettext("You proposed this, so you can't approve it. %(what)s can.") % {
            "what": others or gettext("Nobody yet")
        }
    if is_excluded(entry, user):
        return gettext("%(excluded)s %(what)s can.") % {
            "excluded": EXCLUDED[entry.excluded[user.pseudonym]],
            "what": others or gettext("Nobody yet"),
        }
    return gettext("You hold no role that approves this. %(what)s can.") % {"what": others or gettext("Nobody yet")}


def _decide(request: HttpRequest, entry: ApprovalRequest) -> HttpResponse:
    form = DecisionForm(request.POST)
    if not form.is_valid():
        messages.error(
            request, gettext("Nothing was decided: the form did not say what was read. Read the plan and try again.")
        )
        return redirect("approval-detail", pk=entry.pk)
    method, auth_time = last_authentication(request) or ("session", None)
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
            # allauth keeps the post, asks for the proof, and then hands the post in again.
            raise ReauthenticationRequired from refused
        messages.error(request, refused.sentence)
        if refused.code in CHANGED:
            return render(request, "accounts/approval_detail.html", _approval_context(request, entry), status=409)
        return redirect("approval-detail", pk=entry.pk)
    said = {
        "approve": gettext("You approved it."),
        "deny": gettext("You denied it."),
        "revoke": gettext("You took your approval back."),
    }
    messages.success(request, said[row.decision])
    return redirect("approval-detail", pk=entry.pk)
