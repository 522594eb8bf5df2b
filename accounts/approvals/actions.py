"""The verbs of approval: open, decide, consume, withdraw, expire."""

import datetime
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.approvals import subjects
from accounts.approvals.evidence import was_shown
from accounts.approvals.models import (
    ACT_KINDS,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovalRequest,
    Decision,
    RequestState,
)
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.approvals.queries import approving_now, holdings_on, is_excluded, recent_editors, standing
from accounts.holdings import Holding
from accounts.models import User
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit

LENT = _("The same role has approved already, through the person to whom or by whom it was lent.")
LIVE = [RequestState.OPEN, RequestState.APPROVED]
NOT_SHOWN = _("You were not shown what your answer names, or too long ago. Read the page again.")
EXCLUDED = {
    "editor": _("You changed this policy within the last 24 hours, so you can't approve under it. Others must."),
    "author": _("You wrote the plan that this one replaces, so you can't approve it. Others must."),
}


class Refused(Exception):
    """A decision or a use that is not allowed. `code` is for programs, the message is a sentence for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@transaction.atomic
def open_request(
    *,
    policy: ApprovalPolicy,
    subject_kind: str,
    subject_ref: str,
    subject_hash: str,
    title: str,
    incident_ref: str,
    proposer: User,
    actor: Actor,
    model: str = "",
    team: str = "",
    author: User | None = None,
    risk_tier: str = "",
    environment: str = "",
) -> ApprovalRequest:
    """Put a hash to the approvers. It expires after the policy's `expires_seconds`, by the database's clock.

    `model` (a slug) and `team` say whose roles count. `risk_tier` and `environment` are those of what is to be done,
    which its policy may cover by "any". `author` wrote what this replaces and may not approve it, no more than the
    proposer, and whoever changed the policy within the last 24 hours.
    """
    now = database_now()
    expires_at = now + datetime.timedelta(seconds=policy.expires_seconds)
    excluded = {user.pseudonym: "editor" for user in recent_editors(policy, now)}
    if author is not None and author != proposer:
        excluded[author.pseudonym] = "author"
    request = ApprovalRequest.objects.create(
        policy=policy,
        policy_hash=policy_hash(policy),
        subject_kind=subject_kind,
        subject_ref=subject_ref,
        subject_hash=subject_hash,
        title=title,
        incident_ref=incident_ref,
        model=model,
        team=team,
        risk_tier=risk_tier,
        environment=environment,
        proposer=proposer,
        excluded=excluded,
        expires_at=expires_at,
    )
    record(
        action="approval.open",
        target=Target("approval_request", str(request.id)),
        actor=actor,
        incident=incident_ref,
        data={
            "request": str(request.id),
            "subject_kind": subject_kind,
            "subject_hash": subject_hash,
            "policy": policy_facts(policy),
            "policy_hash": request.policy_hash,
            "proposer": proposer.pseudonym,
            "excluded": excluded,
            "model": model,
            "team": team,
            "expires_at": expires_at.isoformat(),
        }
        | ({"act_kind": subject_kind} if subject_kind in ACT_KINDS else {}),
    )
    return request


def decide(
    *,
    request_id: Any,
    user: User,
    decision: str,
    subject_hash: str,
    reason: str,
    auth_method: str,
    auth_time: datetime.datetime | None,
    actor: Actor,
    evidence: str = "",
) -> ApprovalDecision:
    """Approve, deny or revoke, bound to the hash that the person saw and to the evidence that was shown with it.

    `evidence` is the digest of a snapshot of this request; an approval needs one.
    Raises Refused with code own_proposal, excluded, hash_mismatch, evidence_unknown, subject_moved, not_a_role, lent,
    step_up_needed, reason_needed, already_decided, expired, not_open or nothing_to_revoke. A refusal is on record and
    changes nothing else.
    """
    said = Said(user, decision, subject_hash, evidence, reason, auth_method, auth_time, actor)
    try:
        with transaction.atomic():
            return _decide(request_id, said)
    except Refused as refused:
        request = ApprovalRequest.objects.get(pk=request_id)
        if refused.code == "subject_moved":
            _notify(request)
        record(
            action="approval.decide",
            target=Target("approval_request", str(request.id)),
            actor=actor,
            incident=request.incident_ref,
            outcome="denied",
            data={
                "request": str(request.id),
                "decision": decision if decision in Decision.values else "unknown",
                "subject_hash": request.subject_hash,
                "refused": refused.code,
            },
        )
        raise


@dataclass(frozen=True)
class Said:
    """What somebody said about a request, before it is checked."""

    user: User
    decision: str
    subject_hash: str
    evidence: str
    reason: str
    auth_method: str
    auth_time: datetime.datetime | None
    actor: Actor


def _decide(request_id: Any, said: Said) -> ApprovalDecision:
    request = (
        ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy", "proposer").get(pk=request_id)
    )
    held = holdings_on(request, [said.user])
    proved_at = _check(request, said, held)
    seated_before = {seat.decision.id for seat in standing(request).filled if seat.decision}
    row = ApprovalDecision.objects.create(
        request=request,
        by=said.user,
        decision=said.decision,
        subject_hash=said.subject_hash,
        evidence=said.evidence,
        reason=said.reason,
        auth_method=said.auth_method,
        auth_time=proved_at,
    )
    now = standing(request)
    if said.decision == Decision.APPROVE:
        mine = next((seat for seat in now.filled if seat.decision and seat.decision.id == row.id), None)
        if mine is None or len(now.filled) <= len(seated_before):
            raise Refused("not_a_role", _no_seat(now.open))
        row.role = mine.role
        by = next((entry for entry in _unspent(request, held) if mine.role in ("", entry.role)), None)
        if by is None:
            raise Refused("lent", LENT)
        row.grant = str(by.ref)
        ApprovalDecision.objects.filter(pk=row.pk).update(role=row.role, grant=row.grant)
    record(
        action="approval.decide",
        target=Target("approval_request", str(request.id)),
        actor=said.actor,
        incident=request.incident_ref,
        reason=said.reason,
        data={
            "request": str(request.id),
            "decision_id": str(row.id),
            "subject_hash": said.subject_hash,
            "decision": said.decision,
            "role": row.role,
            "roles": sorted({entry.role for entry in held}),
            "grant": row.grant,
            "evidence": said.evidence,
            "auth_method": said.auth_method,
            "auth_time": proved_at.isoformat(),
        },
    )
    _settle(request, said.decision, complete=now.complete)
    return row


def _no_seat(open_roles: list[str]) -> str:
    if not open_roles:
        return gettext("It has all the approvals that it needs. Nothing was changed.")
    wanted = " and ".join(role or "approver" for role in open_roles)
    return gettext("The seats that you could fill are taken. Still needed: %(wanted)s.") % {"wanted": wanted}


def _check(request: ApprovalRequest, said: Said, held: list[Holding]) -> datetime.datetime:
    """The moment of the proof of identity. Raises Refused."""
    approves = said.decision == Decision.APPROVE
    if said.decision not in Decision.values:
        raise Refused(
            "not_open",
            gettext("There is no decision %(decision)r. Choose approve, deny or revoke.")
            % {"decision": said.decision[:20]},
        )
    if not held:
        raise Refused(
            "not_a_role", gettext("You hold no role that decides here. Ask an incident commander or an approver.")
        )
    if approves and said.user.pk == request.proposer_id:
        raise Refused("own_proposal", gettext("You proposed this, so you can't approve it. Others must."))
    if approves and is_excluded(request, said.user):
        raise Refused("excluded", EXCLUDED[request.excluded[said.user.pseudonym]])
    if said.subject_hash != request.subject_hash:
        raise Refused(
            "hash_mismatch", gettext("The plan changed since you opened this page. Read it again, then decide.")
        )
    _check_open(request, approves=approves)
    latest = request.decisions.filter(by=said.user).order_by("-decided_at", "-id").first()
    has_approved = latest is not None and latest.decision == Decision.APPROVE
    if approves and has_approved:
        raise Refused("already_decided", gettext("You have approved this already."))
    if said.decision == Decision.REVOKE and not has_approved:
        raise Refused("nothing_to_revoke", gettext("You have no approval here to take back."))
    if said.decision == Decision.DENY and not said.reason.strip():
        raise Refused("reason_needed", gettext("Say in a sentence why you deny it; the others need to know."))
    # An objection needs no fresh page: whoever left it open must be able to stop what runs.
    if (approves or said.evidence) and not was_shown(request, said.evidence, said.user, lately=approves):
        raise Refused("evidence_unknown", NOT_SHOWN)
    if not approves:
        return said.auth_time or database_now()
    _check_loans(request, held)
    if moved := subjects.moved(request):
        raise Refused(
            "subject_moved",
            gettext("What it is about has changed: %(names)s. It must be proposed again.")
            % {"names": "; ".join(moved)},
        )
    fresh = datetime.timedelta(seconds=request.policy.step_up_seconds)
    if said.auth_time is None or database_now() - said.auth_time > fresh:
        raise Refused(
            "step_up_needed", gettext("Confirm your password first: approving needs a sign-in of the last minutes.")
        )
    return said.auth_time


def _check_open(request: ApprovalRequest, *, approves: bool) -> None:
    live = LIVE if approves else [*LIVE, RequestState.CONSUMED]
    if request.state not in live:
        raise Refused(
            "not_open",
            gettext("This request is closed: %(state)s. Nothing was changed.")
            % {"state": request.get_state_display().lower()},
        )
    if request.state != RequestState.CONSUMED and request.expires_at <= database_now():
        raise Refused("expired", gettext("This request has expired. Ask for it to be proposed again."))


def _check_loans(request: ApprovalRequest, held: list[Holding]) -> None:
    """A lent role approves once: by its owner, or by one of those who borrowed it."""
    approving = approving_now(request)
    lent = any(row.lender_id == held[0].user_id for row in holdings_on(request, approving)) if approving else False
    if lent or not _unspent(request, held):
        raise Refused("lent", LENT)


def _unspent(request: ApprovalRequest, held: list[Holding]) -> list[Holding]:
    """Of what a person holds: own roles, and loans whose lender has neither approved nor is stood in for already."""
    approving = approving_now(request)
    theirs = holdings_on(request, approving) if approving else []
    used = {row.lender_id for row in theirs if row.lender_id and str(row.ref) == approving[row.user_id].grant}
    return [row for row in held if row.lender_id is None or row.lender_id not in used | approving.keys()]


def _settle(request: ApprovalRequest, decision: str, *, complete: bool) -> None:
    """Move the request to where its decisions put it, and wake the floor above when it is approved."""
    if request.state == RequestState.CONSUMED:
        _notify(request)
        return
    if decision == Decision.DENY:
        state = RequestState.DENIED
    else:
        state = RequestState.APPROVED if complete else RequestState.OPEN
    moved = ApprovalRequest.objects.filter(pk=request.pk, state=request.state, version=request.version).update(
        state=state, version=F("version") + 1
    )
    if moved != 1:
        raise Refused("not_open", gettext("Somebody decided at the same moment. Load the page again."))
    _notify(request)


def _notify(request: ApprovalRequest) -> None:
    if request.subject_kind in ACT_KINDS:
        send_on_commit("accounts.act_decided", [str(request.id)], queue="intake")
    else:
        send_on_commit("rollback.request_decided", [str(request.id)], queue="rollback")


def consume(*, request_id: Any, subject_hash: str, actor: Actor) -> list[ApprovalDecision]:
    """Use up a complete approval for the hash, once. Call it inside the transaction that starts what was approved.

    Checks again under the row's lock: hash, state, expiry, every seat filled by a person who holds the role now.
    Raises Refused with code hash_mismatch, not_open, expired or not_enough.
    """
    with transaction.atomic():
        request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
        if subject_hash != request.subject_hash:
            raise Refused("hash_mismatch", gettext("The approvals are for another plan than the one to be started."))
        if request.state not in LIVE:
            raise Refused(
                "not_open",
                gettext("The approval can't be used: %(state)s.") % {"state": request.get_state_display().lower()},
            )
        if request.expires_at <= database_now():
            raise Refused("expired", gettext("The approvals have expired. Propose the plan again."))
        if policy_hash(request.policy) != request.policy_hash:
            raise Refused("hash_mismatch", gettext("The approval policy was changed since. Propose the plan again."))
        now = standing(request)
        if not now.complete:
            missing = ", ".join(role or "approver" for role in now.open) or "a denial stands"
            raise Refused(
                "not_enough",
                gettext("There are not enough approvals: still needed: %(missing)s.") % {"missing": missing},
            )
        live = ApprovalRequest.objects.filter(pk=request.pk, version=request.version, state__in=LIVE)
        moved = live.filter(expires_at__gt=Now()).update(
            state=RequestState.CONSUMED, consumed_at=Now(), version=F("version") + 1
        )
        if moved != 1:
            raise Refused(
                "not_open", gettext("The approvals were used, or ran out, at this very moment. Load the page again.")
            )
        record(
            action="approval.consume",
            target=Target("approval_request", str(request.id)),
            actor=actor,
            incident=request.incident_ref,
            data={
                "request": str(request.id),
                "subject_hash": subject_hash,
                "policy": policy_facts(request.policy),
                "policy_hash": request.policy_hash,
                "seats": [
                    {"decision": str(seat.decision.id), "by": seat.by.pseudonym, "role": seat.role}
                    for seat in now.filled
                    if seat.by and seat.decision
                ],
            },
        )
        return [seat.decision for seat in now.filled if seat.decision]


@transaction.atomic
def reopen(*, request_id: Any, actor: Actor) -> bool:
    """Ask again for a request that was approved by people of whom one no longer holds the role. False when it stands
    complete, or is not approved."""
    request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
    if request.state != RequestState.APPROVED or standing(request).complete:
        return False
    approved = ApprovalRequest.objects.filter(pk=request.pk, state=RequestState.APPROVED, version=request.version)
    if not approved.update(state=RequestState.OPEN, version=F("version") + 1):
        return False
    record(
        action="approval.reopen",
        target=Target("approval_request", str(request.id)),
        actor=actor,
        incident=request.incident_ref,
        data={"request": str(request.id), "subject_hash": request.subject_hash, "open": standing(request).open},
    )
    return True


def withdraw(*, request_id: Any, reason: str, actor: Actor) -> bool:
    """Close a request whose plan was replaced or given up. False when it was closed before."""
    return _close(request_id, RequestState.WITHDRAWN, "approval.withdraw", reason, actor)


def expire(*, request_id: Any, actor: Actor) -> bool:
    """Close a request whose time has run out. False when it was closed before, or still has time."""
    if not ApprovalRequest.objects.filter(pk=request_id, expires_at__lte=Now()).exists():
        return False
    return _close(request_id, RequestState.EXPIRED, "approval.expire", "", actor)


@transaction.atomic
def _close(request_id: Any, state: str, action: str, reason: str, actor: Actor) -> bool:
    closed = ApprovalRequest.objects.filter(pk=request_id, state__in=LIVE).update(state=state, version=F("version") + 1)
    if not closed:
        return False
    request = ApprovalRequest.objects.get(pk=request_id)
    record(
        action=action,
        target=Target("approval_request", str(request.id)),
        actor=actor,
        incident=request.incident_ref,
        reason=reason,
        data={"request": str(request.id), "subject_hash": request.subject_hash},
    )
    _notify(request)
    return True
