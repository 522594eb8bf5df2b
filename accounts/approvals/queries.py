"""Where an approval request stands."""

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils.translation import gettext

from accounts import oncall
from accounts.approvals.models import (
    ANYWHERE,
    ApprovalDecision,
    ApprovalPolicy,
    ApprovalRequest,
    Decision,
    RequestState,
)
from accounts.approvals.policy import FILL_ANY, seat, seats_of
from accounts.holdings import Holding, holdings
from accounts.models import User
from accounts.permissions import roles_for
from audit.models import AuditEvent
from audit.queries import record_of

EDITOR_REST = datetime.timedelta(hours=24)


class NoPolicy(LookupError):
    """No active policy covers the act; an administrator must add one before it can be approved."""


@dataclass(frozen=True)
class Seat:
    role: str
    by: User | None
    decision: ApprovalDecision | None


@dataclass(frozen=True)
class Standing:
    """Seats filled and open; `complete` when every seat is filled and nobody has denied."""

    seats: list[Seat]
    denied: ApprovalDecision | None
    expires_at: datetime.datetime
    decisions: list[ApprovalDecision]
    """All of them, oldest first, each with its maker."""

    @property
    def filled(self) -> list[Seat]:
        return [seat for seat in self.seats if seat.by is not None]

    @property
    def open(self) -> list[str]:
        return [seat.role for seat in self.seats if seat.by is None]

    @property
    def approvals(self) -> int:
        return len(self.filled)

    @property
    def complete(self) -> bool:
        return self.denied is None and not self.open


def policy_for(*, subject_kind: str, risk_tier: str, environment: str) -> ApprovalPolicy:
    """The active policy for the act: the one for exactly this tier and environment, else the most exact that covers
    them with "any". Raises NoPolicy."""
    covering = ApprovalPolicy.objects.filter(
        subject_kind=subject_kind,
        risk_tier__in=[risk_tier, ANYWHERE],
        environment__in=[environment, ANYWHERE],
        active=True,
    )
    inexact = {policy: (policy.risk_tier == ANYWHERE, policy.environment == ANYWHERE) for policy in covering}
    found = min(inexact, key=lambda policy: inexact[policy], default=None)
    if found is None:
        raise NoPolicy(
            gettext(
                "No approval policy covers a %(subject_kind)s of a %(risk_tier)s-risk model in %(environment)s. Ask "
                "an administrator to add one."
            )
            % {"subject_kind": subject_kind, "risk_tier": risk_tier, "environment": environment}
        )
    return found


def holdings_on(request: ApprovalRequest, users: Iterable[User | int]) -> list[Holding]:
    """By what the users could fill seats of this request now: roles that hold for its model, own ones before loans.

    What was lent by somebody who may not approve it fills none: who proposes does not choose who agrees.
    """
    held = _covering(request, holdings(users))
    return sorted(
        (row for row in held if eligible_roles(request, frozenset([row.role]))),
        key=lambda row: (row.lender_id is not None, row.role),
    )


def _covering(request: ApprovalRequest, held: list[Holding]) -> list[Holding]:
    barred = _barred(request)
    covering = (row for row in held if row.covers(model=request.model, team=request.team))
    return [row for row in covering if row.lender_id is None or row.lender_id not in barred]


def _barred(request: ApprovalRequest) -> set[int]:
    """Who may not approve it, and therefore lends nobody a seat."""
    others = User.objects.filter(pseudonym__in=request.excluded) if request.excluded else User.objects.none()
    return {request.proposer_id, *others.values_list("pk", flat=True)}


def roles_on(request: ApprovalRequest, user: User) -> frozenset[str]:
    """Those of the user's roles that can fill a seat of this request now."""
    roles = roles_for(user, model=request.model, team=request.team, not_lent_by=_barred(request))
    return eligible_roles(request, roles)


def eligible_roles(request: ApprovalRequest, roles: frozenset[str]) -> frozenset[str]:
    """Those of a person's roles that can fill a seat of this request; any role that may approve fills an open seat."""
    named = {str(factor["role"]) for factor in request.policy.factors}
    return frozenset(role for role in roles if role in named or role in FILL_ANY)


def is_excluded(request: ApprovalRequest, user: User) -> bool:
    """Whether the person proposed it, wrote what it replaces, or changed its policy shortly before."""
    return user.pk == request.proposer_id or user.pseudonym in request.excluded


def recent_editors(policy: ApprovalPolicy, before: datetime.datetime) -> list[User]:
    """Who put a version of the policy into force, or took one out of it, within the 24 hours before the moment."""
    since = before - EDITOR_REST
    versions = ApprovalPolicy.objects.filter(name=policy.name, created_at__gt=since)
    editors = [row.edited_by for row in versions.select_related("edited_by") if row.edited_by is not None]
    ends = AuditEvent.objects.filter(action="policy.retire", target_id=policy.name, occurred_at__gt=since)
    retired_by = {str(record_of(event)["data"].get("edited_by")) for event in ends}
    return editors + (list(User.objects.filter(pseudonym__in=retired_by)) if retired_by else [])


def may_stop(policy: ApprovalPolicy | None, roles: Iterable[str]) -> bool:
    """Whether one of the roles may stop what runs under the policy; where it names none, every role may."""
    return policy is None or not policy.stop_roles or not set(policy.stop_roles).isdisjoint(roles)


def approving_now(request: ApprovalRequest) -> dict[int, ApprovalDecision]:
    """The approval of each person whose latest decision is one, by the person's key."""
    return _approving(request.decisions.order_by("decided_at", "id"))


def _approving(decisions: Iterable[ApprovalDecision]) -> dict[int, ApprovalDecision]:
    latest = {decision.by_id: decision for decision in decisions}
    return {by: decision for by, decision in latest.items() if decision.decision == Decision.APPROVE}


def standing(request: ApprovalRequest) -> Standing:
    """Count each person's latest decision, with the roles held both when it was made and now."""
    decisions = list(request.decisions.select_related("by").order_by("decided_at", "id"))
    denied = next((decision for decision in decisions if decision.decision == Decision.DENY), None)
    approving = _approving(decisions)
    held: dict[str, set[str]] = {}
    for row in holdings_on(request, approving) if approving else []:
        # A role that came after the decision was not there when it went into the log, so it fills no seat.
        entry = approving[row.user_id]
        if row.since <= entry.decided_at and not is_excluded(request, entry.by):
            held.setdefault(str(row.user_id), set()).add(row.role)
    people = {str(by): frozenset(held[str(by)]) for by in approving if str(by) in held}
    by_person = {str(by): entry for by, entry in approving.items()}
    seating = seat(seats_of(request.policy.required, request.policy.factors), people)
    seats = [
        Seat(role, by_person[person].by if person else None, by_person[person] if person else None)
        for role, person in zip(seating.seats, seating.by_seat, strict=True)
    ]
    return Standing(seats, denied, request.expires_at, decisions)


@dataclass(frozen=True)
class Candidate:
    """A person who could fill a seat now: whether on call for the model's team, and whether by a role on loan only."""

    person: User
    on_call: bool
    lent: bool

    def __str__(self) -> str:
        notes = [
            note for note, holds in ((gettext("on call"), self.on_call), (gettext("standing in"), self.lent)) if holds
        ]
        return f"{self.person} ({', '.join(notes)})" if notes else str(self.person)


def who_may(request: ApprovalRequest, role: str) -> list[Candidate]:
    """People who could fill a seat of `role` ("" for any approver) now, for this model, by a role of their own or a
    loan, those on call first: not the proposer or another who is excluded, not one who approves already."""
    return who_may_fill(request, [role], request.decisions.order_by("decided_at", "id"))[role]


def who_may_fill(
    request: ApprovalRequest, roles: Iterable[str], decisions: Iterable[ApprovalDecision]
) -> dict[str, list[Candidate]]:
    """The same for several seats at once, from decisions that were read already."""
    wanted = {role: {role} if role else set(FILL_ANY) for role in roles}
    if not wanted:
        return {}
    covering = _covering(request, holdings(roles=sorted(set().union(*wanted.values()))))
    able = {row.user_id for row in covering}
    people = list(
        User.objects.filter(pk__in=able - _approving(decisions).keys() - {request.proposer_id})
        .exclude(pseudonym__in=request.excluded)
        .order_by("first_name", "username")
    )
    called = {person.pk for person in oncall.now(request.team)} if people and request.team else set()
    found = {}
    for role, names in wanted.items():
        held = [row for row in covering if row.role in names]
        holders, own = {row.user_id for row in held}, {row.user_id for row in held if row.lender_id is None}
        candidates = [Candidate(one, one.pk in called, one.pk not in own) for one in people if one.pk in holders]
        found[role] = sorted(candidates, key=lambda candidate: not candidate.on_call)
    return found


def objections(request: ApprovalRequest) -> QuerySet[ApprovalDecision]:
    """Denials and revocations made after the approvals were used: they stop later waves."""
    if request.consumed_at is None:
        return ApprovalDecision.objects.none()
    return request.decisions.filter(
        decision__in=[Decision.DENY, Decision.REVOKE], decided_at__gt=request.consumed_at
    ).select_related("by")


def waiting() -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(state__in=[RequestState.OPEN, RequestState.APPROVED]).order_by("expires_at")
