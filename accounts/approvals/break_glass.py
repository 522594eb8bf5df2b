"""Break-glass: one person starts one plan without its approvals, in front of everybody, and answers for it afterwards.

It holds for 15 minutes. A person who took no part owes a review within 24 hours; after 72 hours without it nobody can
break glass any more.
"""

import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals import subjects
from accounts.approvals.actions import LIVE, NOT_SHOWN, Refused
from accounts.approvals.evidence import was_shown
from accounts.approvals.models import (
    ACT_KINDS,
    ApprovalPolicy,
    ApprovalRequest,
    BreakGlass,
    RequestState,
    SubjectKind,
    Verdict,
)
from accounts.approvals.notices import write as write_notices
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.approvals.queries import NoPolicy, policy_for, standing
from accounts.holdings import Holding
from accounts.models import User
from accounts.permissions import forget_roles, held_by, may, permissions_of, roles_for
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit

REVIEW_DUE = datetime.timedelta(hours=24)
REVIEW_LIMIT = datetime.timedelta(hours=72)
LOCK = 0x91A55
MOST_UNREVIEWED = 2
"""Uses of one person that may wait for their reviews at a time."""


def owed() -> QuerySet[BreakGlass]:
    """Uses that are not reviewed yet, oldest first: what every page shows."""
    rows = BreakGlass.objects.filter(reviewed_at=None).select_related("request", "by")
    return rows.order_by("broken_at")


def policy_of(request: ApprovalRequest) -> ApprovalPolicy | None:
    """Who may break glass for what the request is about; None where nobody may."""
    if request.subject_kind in ACT_KINDS:
        return None
    tier, environment = request.risk_tier or request.policy.risk_tier, request.environment or request.policy.environment
    try:
        return policy_for(subject_kind=SubjectKind.BREAK_GLASS, risk_tier=tier, environment=environment)
    except NoPolicy:
        return None


def may_break(request: ApprovalRequest, user: User) -> bool:
    """Whether the person holds a role that breaks glass here, now."""
    policy = policy_of(request)
    return policy is not None and _holding(request, policy, user) is not None


def _holding(request: ApprovalRequest, policy: ApprovalPolicy, user: User) -> Holding | None:
    named = {str(factor["role"]) for factor in policy.factors}
    held = (row for row in held_by(user) if row.role in named and row.covers(model=request.model, team=request.team))
    return next(held, None) if may(user, "break_glass") else None


def break_glass(
    *,
    request_id: Any,
    user: User,
    subject_hash: str,
    evidence: str,
    reason: str,
    auth_time: datetime.datetime | None,
    actor: Actor,
) -> BreakGlass:
    """Let one plan start without its approvals, for 15 minutes at most, and tell everybody.

    Raises Refused with code not_breakable, not_a_role, hash_mismatch, evidence_unknown, not_open, expired,
    already_broken, subject_moved, reason_needed, locked, review_owed or step_up_needed; that is on record.
    """
    try:
        with transaction.atomic():
            lock_glass()
            forget_roles(user)
            request = (
                ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
            )
            policy, role = _check(request, user, subject_hash, evidence, reason)
            proved_at = _check_person(user, policy, auth_time)
            return _break(request, policy, role, user, reason, proved_at, actor)
    except Refused as refused:
        request = ApprovalRequest.objects.get(pk=request_id)
        data = {"request": str(request.id), "subject_hash": request.subject_hash, "refused": refused.code}
        record(
            action="approval.break_glass",
            target=_target(request),
            actor=actor,
            incident=request.incident_ref,
            outcome="denied",
            data=data,
        )
        raise


def lock_glass() -> None:
    """Breaking, reviewing and changing policies wait for one another until the caller's transaction ends, so that no
    limit is read while it moves."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])


def _check(
    request: ApprovalRequest, user: User, subject_hash: str, evidence: str, reason: str
) -> tuple[ApprovalPolicy, str]:
    """The policy and the role that allow it. Raises Refused."""
    policy = policy_of(request)
    if policy is None:
        raise Refused("not_breakable", gettext("No policy lets anybody break glass here. It needs its approvals."))
    held = _holding(request, policy, user)
    if held is None:
        roles = " or ".join(str(factor["role"]) for factor in policy.factors)
        raise Refused(
            "not_a_role",
            gettext("You may not break glass here. Ask a person with the role %(roles)s.") % {"roles": roles},
        )
    if subject_hash != request.subject_hash:
        raise Refused(
            "hash_mismatch", gettext("The plan changed since you opened this page. Read it again, then decide.")
        )
    if BreakGlass.objects.filter(request=request).exists():
        raise Refused("already_broken", gettext("The glass was broken for this plan before. It holds once."))
    if request.state not in LIVE:
        raise Refused(
            "not_open", gettext("This request is closed: %(state)s.") % {"state": request.get_state_display().lower()}
        )
    if request.expires_at <= database_now():
        raise Refused("expired", gettext("This request has expired. Ask for the plan to be proposed again."))
    if not was_shown(request, evidence, user):
        raise Refused("evidence_unknown", NOT_SHOWN)
    if moved := subjects.moved(request):
        raise Refused(
            "subject_moved",
            gettext("What it is about has changed: %(names)s. It must be proposed again.")
            % {"names": "; ".join(moved)},
        )
    if not reason.strip():
        raise Refused("reason_needed", gettext("Say in a sentence why it can't wait; everybody reads it."))
    return policy, held.role


def _check_person(user: User, policy: ApprovalPolicy, auth_time: datetime.datetime | None) -> datetime.datetime:
    """The moment of the proof of identity. Raises Refused where reviews are missing, or the proof is too old."""
    now, waiting = database_now(), list(owed())
    locking = next((glass for glass in waiting if glass.review_limit <= now), None)
    if locking is not None:
        raise Refused(
            "locked",
            gettext(
                "Nobody can break glass: what %(by)s did on %(broken_at)s UTC (“%(title)s”) was not reviewed within "
                "72 hours. Somebody who took no part must review it."
            )
            % {"by": locking.by, "broken_at": f"{locking.broken_at:%Y-%m-%d at %H:%M}", "title": locking.request.title},
        )
    own = [glass for glass in waiting if glass.by_id == user.pk]
    if len(own) >= MOST_UNREVIEWED or any(glass.review_due <= now for glass in own):
        raise Refused(
            "review_owed",
            gettext(
                "You broke glass on %(broken_at)s UTC and it is not reviewed yet. Ask somebody who took no part to "
                "review it, or another person to break glass."
            )
            % {"broken_at": f"{own[0].broken_at:%Y-%m-%d at %H:%M}"},
        )
    fresh = datetime.timedelta(seconds=policy.step_up_seconds)
    if auth_time is None or now - auth_time > fresh:
        raise Refused(
            "step_up_needed", gettext("Confirm your password first: this needs a sign-in of the last minutes.")
        )
    return auth_time


def _break(
    request: ApprovalRequest,
    policy: ApprovalPolicy,
    role: str,
    user: User,
    reason: str,
    proved_at: datetime.datetime,
    actor: Actor,
) -> BreakGlass:
    now = database_now()
    glass = BreakGlass.objects.create(
        request=request,
        policy=policy,
        by=user,
        role=role,
        reason=reason,
        broken_at=now,
        expires_at=now + datetime.timedelta(seconds=policy.expires_seconds),
        review_due=now + REVIEW_DUE,
        review_limit=now + REVIEW_LIMIT,
    )
    if not ApprovalRequest.objects.filter(pk=request.pk, version=request.version).update(version=F("version") + 1):
        raise Refused("not_open", gettext("Somebody decided at the same moment. Load the page again."))
    record(
        action="approval.break_glass",
        target=_target(request),
        actor=actor,
        incident=request.incident_ref,
        reason=reason,
        data={
            "request": str(request.id),
            "subject_hash": request.subject_hash,
            "policy": policy_facts(policy),
            "policy_hash": policy_hash(policy),
            "by": user.pseudonym,
            "role": role,
            "model": request.model,
            "team": request.team,
            "auth_time": proved_at.isoformat(),
            "expires_at": glass.expires_at.isoformat(),
            "review_due": glass.review_due.isoformat(),
            "review_limit": glass.review_limit.isoformat(),
        },
    )
    write_notices(glass)
    send_on_commit("rollback.request_decided", [str(request.id)], queue="rollback")
    return glass


def stands(request: ApprovalRequest) -> BreakGlass | None:
    """The glass under which the request's plan may start now, if it was broken, is not used, and still holds."""
    if request.state not in LIVE:
        return None
    return BreakGlass.objects.filter(request=request, used_at=None, expires_at__gt=Now()).select_related("by").first()


def is_needed(request: ApprovalRequest) -> bool:
    """Whether the glass is what the plan would start under: it stands, and the approvals are not complete."""
    return stands(request) is not None and not standing(request).complete


def use(*, request_id: Any, subject_hash: str) -> BreakGlass:
    """Use the broken glass up, once, inside the transaction that starts the plan. Raises Refused.

    Checks again under the row's lock: hash, time, and that the person may still break glass.
    """
    with transaction.atomic():
        request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
        glass = stands(request)
        if glass is None:
            raise Refused("not_open", gettext("The glass was used, or its 15 minutes are over."))
        if subject_hash != request.subject_hash:
            raise Refused("hash_mismatch", gettext("The glass was broken for another plan than the one to be started."))
        if _holding(request, glass.policy, User.objects.get(pk=glass.by_id)) is None:
            raise Refused("not_enough", gettext("%(by)s may not break glass any more.") % {"by": glass.by})
        live = ApprovalRequest.objects.filter(pk=request.pk, version=request.version, state__in=LIVE)
        used = BreakGlass.objects.filter(pk=glass.pk, used_at=None, expires_at__gt=Now()).update(used_at=Now())
        moved = live.update(state=RequestState.CONSUMED, consumed_at=Now(), version=F("version") + 1)
        if not used or not moved:
            raise Refused(
                "not_open", gettext("The glass was used, or ran out, at this very moment. Load the page again.")
            )
        return glass


def participants(request: ApprovalRequest) -> frozenset[str]:
    """The pseudonyms of those who had a hand in it, and therefore do not review it."""
    glass = BreakGlass.objects.filter(request=request).select_related("by").first()
    people = {request.proposer.pseudonym, *request.excluded, *subjects.participants(request)}
    people |= set(request.decisions.values_list("by__pseudonym", flat=True))
    return frozenset(people | ({glass.by.pseudonym} if glass else set()))


def review(*, request_id: Any, user: User, verdict: str, reason: str, actor: Actor) -> BreakGlass:
    """A verdict of somebody who took no part and may approve. Raises Refused with code not_broken, took_part,
    not_a_role, unknown_verdict, reason_needed or reviewed; that is on record."""
    request = ApprovalRequest.objects.select_related("policy", "proposer").get(pk=request_id)
    took_part = participants(request)
    data: dict[str, Any] = {"request": str(request.id), "by": user.pseudonym, "participants": sorted(took_part)}
    try:
        with transaction.atomic():
            lock_glass()
            _check_review(request, user, took_part, verdict, reason)
            reviewed = BreakGlass.objects.filter(request=request, reviewed_at=None).update(
                verdict=verdict, review_reason=reason, reviewed_by=user, reviewed_at=Now()
            )
            if not reviewed:
                raise Refused(
                    "reviewed", gettext("No review is owed here: there was no break-glass, or it was reviewed.")
                )
            record(
                action="approval.break_glass.review",
                target=_target(request),
                actor=actor,
                incident=request.incident_ref,
                reason=reason,
                data=data | {"verdict": verdict},
            )
    except Refused as refused:
        record(
            action="approval.break_glass.review",
            target=_target(request),
            actor=actor,
            incident=request.incident_ref,
            outcome="denied",
            data=data | {"refused": refused.code},
        )
        raise
    return BreakGlass.objects.get(request=request)


def may_review(request: ApprovalRequest, user: User) -> bool:
    """Whether the person holds a role that approves here; that they took no part is asked beside it."""
    return "approve" in permissions_of(roles_for(user, model=request.model, team=request.team))


def _check_review(request: ApprovalRequest, user: User, took_part: frozenset[str], verdict: str, reason: str) -> None:
    if user.pseudonym in took_part:
        raise Refused(
            "took_part", gettext("You had a hand in it, so you can't review it. Somebody who took no part must.")
        )
    if not may_review(request, user):
        raise Refused(
            "not_a_role", gettext("You hold no role that approves. Ask a commander, an approver or an administrator.")
        )
    if verdict not in Verdict.values:
        raise Refused("unknown_verdict", gettext("Say whether it was justified or not."))
    if not reason.strip():
        raise Refused("reason_needed", gettext("Say in a sentence why; it goes on record."))


def past_limits(now: datetime.datetime) -> list[str]:
    """Uses whose review has just become overdue, or has just locked the glass for everybody."""
    late = Q(review_due__lte=now, overdue_at=None) | Q(review_limit__lte=now, locked_at=None)
    return [str(pk) for pk in BreakGlass.objects.filter(late, reviewed_at=None).values_list("pk", flat=True)[:100]]


@transaction.atomic
def mark_limits(*, glass_id: Any, actor: Actor) -> list[str]:
    """Put on record that a review is overdue, or that its lack locks the glass, each once. The actions recorded."""
    glass = BreakGlass.objects.select_related("request").get(pk=glass_id)
    done = []
    for action, mark, limit in (
        ("approval.break_glass.overdue", "overdue_at", "review_due"),
        ("approval.break_glass.lock", "locked_at", "review_limit"),
    ):
        row = BreakGlass.objects.filter(pk=glass.pk, reviewed_at=None, **{mark: None, f"{limit}__lte": Now()})
        if row.update(**{mark: Now()}):
            data = {"request": str(glass.request_id), "due": getattr(glass, limit).isoformat()}
            record(
                action=action,
                target=_target(glass.request),
                actor=actor,
                incident=glass.request.incident_ref,
                outcome="failed",
                data=data,
            )
            done.append(action)
    return done


def _target(request: ApprovalRequest) -> Target:
    return Target("approval_request", str(request.id))
