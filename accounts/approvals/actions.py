"""The verbs of approval: open, decide, consume, withdraw, expire."""

import datetime
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest, Decision, RequestState
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.approvals.queries import eligible_roles, roles_now, standing
from accounts.models import User
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit

LIVE = [RequestState.OPEN, RequestState.APPROVED]


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
) -> ApprovalRequest:
    """Put a hash to the approvers. It expires after the policy's `expires_seconds`, by the database's clock."""
    expires_at = database_now() + datetime.timedelta(seconds=policy.expires_seconds)
    request = ApprovalRequest.objects.create(
        policy=policy,
        policy_hash=policy_hash(policy),
        subject_kind=subject_kind,
        subject_ref=subject_ref,
        subject_hash=subject_hash,
        title=title,
        incident_ref=incident_ref,
        proposer=proposer,
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
            "expires_at": expires_at.isoformat(),
        },
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
) -> ApprovalDecision:
    """Approve, deny or revoke, bound to the hash that the person saw.

    Raises Refused with code own_proposal, hash_mismatch, not_a_role, step_up_needed, reason_needed, already_decided,
    expired, not_open or nothing_to_revoke. A refusal is on record and changes nothing else.
    """
    try:
        with transaction.atomic():
            return _decide(request_id, user, decision, subject_hash, reason, auth_method, auth_time, actor)
    except Refused as refused:
        request = ApprovalRequest.objects.get(pk=request_id)
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


def _decide(
    request_id: Any,
    user: User,
    decision: str,
    subject_hash: str,
    reason: str,
    auth_method: str,
    auth_time: datetime.datetime | None,
    actor: Actor,
) -> ApprovalDecision:
    request = (
        ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy", "proposer").get(pk=request_id)
    )
    roles = eligible_roles(request, roles_now([user])[user.pk])
    proved_at = _check(request, user, decision, subject_hash, reason, roles, auth_time)
    seated_before = {seat.decision.id for seat in standing(request).filled if seat.decision}
    row = ApprovalDecision.objects.create(
        request=request,
        by=user,
        decision=decision,
        subject_hash=subject_hash,
        reason=reason,
        auth_method=auth_method,
        auth_time=proved_at,
    )
    now = standing(request)
    if decision == Decision.APPROVE:
        mine = next((seat for seat in now.filled if seat.decision and seat.decision.id == row.id), None)
        if mine is None or len(now.filled) <= len(seated_before):
            raise Refused("not_a_role", _no_seat(now.open))
        ApprovalDecision.objects.filter(pk=row.pk).update(role=mine.role)
        row.role = mine.role
    record(
        action="approval.decide",
        target=Target("approval_request", str(request.id)),
        actor=actor,
        incident=request.incident_ref,
        reason=reason,
        data={
            "request": str(request.id),
            "decision_id": str(row.id),
            "subject_hash": subject_hash,
            "decision": decision,
            "role": row.role,
            "roles": sorted(roles),
            "auth_method": auth_method,
            "auth_time": proved_at.isoformat(),
        },
    )
    _settle(request, decision, complete=now.complete)
    return row


def _no_seat(open_roles: list[str]) -> str:
    if not open_roles:
        return "It has all the approvals that it needs. Nothing was changed."
    wanted = " and ".join(role or "approver" for role in open_roles)
    return f"The seats that you could fill are taken. Still needed: {wanted}."


def _check(
    request: ApprovalRequest,
    user: User,
    decision: str,
    subject_hash: str,
    reason: str,
    roles: frozenset[str],
    auth_time: datetime.datetime | None,
) -> datetime.datetime:
    if decision not in Decision.values:
        raise Refused("not_open", f"There is no decision {decision[:20]!r}. Choose approve, deny or revoke.")
    if not roles:
        raise Refused("not_a_role", "You hold no role that decides here. Ask an incident commander or an approver.")
    if decision == Decision.APPROVE and user.pk == request.proposer_id:
        raise Refused("own_proposal", "You proposed this plan, so you can't approve it. Others must.")
    if subject_hash != request.subject_hash:
        raise Refused("hash_mismatch", "The plan changed since you opened this page. Read it again, then decide.")
    live = LIVE if decision == Decision.APPROVE else [*LIVE, RequestState.CONSUMED]
    if request.state not in live:
        raise Refused(
            "not_open", f"This request is closed: {request.get_state_display().lower()}. Nothing was changed."
        )
    if request.state != RequestState.CONSUMED and request.expires_at <= database_now():
        raise Refused("expired", "This request has expired. Ask for the plan to be proposed again.")
    latest = request.decisions.filter(by=user).order_by("-decided_at", "-id").first()
    if decision == Decision.APPROVE and latest and latest.decision == Decision.APPROVE:
        raise Refused("already_decided", "You have approved this plan already.")
    if decision == Decision.REVOKE and (latest is None or latest.decision != Decision.APPROVE):
        raise Refused("nothing_to_revoke", "You have no approval here to take back.")
    if decision == Decision.DENY and not reason.strip():
        raise Refused("reason_needed", "Say in a sentence why you deny it; the others need to know.")
    fresh = datetime.timedelta(seconds=request.policy.step_up_seconds)
    if decision != Decision.APPROVE:
        return auth_time or timezone.now()
    if auth_time is None or timezone.now() - auth_time > fresh:
        raise Refused("step_up_needed", "Confirm your password first: approving needs a sign-in of the last minutes.")
    return auth_time


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
        raise Refused("not_open", "Somebody decided at the same moment. Load the page again.")
    _notify(request)


def _notify(request: ApprovalRequest) -> None:
    send_on_commit("rollback.request_decided", [str(request.id)], queue="rollback")


def consume(*, request_id: Any, subject_hash: str, actor: Actor) -> list[ApprovalDecision]:
    """Use up a complete approval for the hash, once. Call it inside the transaction that starts what was approved.

    Checks again under the row's lock: hash, state, expiry, every seat filled by a person who holds the role now.
    Raises Refused with code hash_mismatch, not_open, expired or not_enough.
    """
    with transaction.atomic():
        request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
        if subject_hash != request.subject_hash:
            raise Refused("hash_mismatch", "The approvals are for another plan than the one to be started.")
        if request.state not in LIVE:
            raise Refused("not_open", f"The approval can't be used: {request.get_state_display().lower()}.")
        if request.expires_at <= database_now():
            raise Refused("expired", "The approvals have expired. Propose the plan again.")
        if policy_hash(request.policy) != request.policy_hash:
            raise Refused("hash_mismatch", "The approval policy was changed since. Propose the plan again.")
        now = standing(request)
        if not now.complete:
            missing = ", ".join(role or "approver" for role in now.open) or "a denial stands"
            raise Refused("not_enough", f"There are not enough approvals: still needed: {missing}.")
        live = ApprovalRequest.objects.filter(pk=request.pk, version=request.version, state__in=LIVE)
        moved = live.filter(expires_at__gt=Now()).update(
            state=RequestState.CONSUMED, consumed_at=Now(), version=F("version") + 1
        )
        if moved != 1:
            raise Refused("not_open", "The approvals were used, or ran out, at this very moment. Load the page again.")
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
    ApprovalRequest.objects.filter(pk=request.pk).update(state=RequestState.OPEN, version=F("version") + 1)
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
