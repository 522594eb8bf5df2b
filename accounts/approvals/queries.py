"""Where an approval request stands."""

import datetime
from dataclasses import dataclass

from django.db.models import Q, QuerySet

from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest, Decision, RequestState
from accounts.approvals.policy import seat, seats_of
from accounts.models import RoleGrant, User
from accounts.permissions import PERMISSIONS


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
    """The one active policy for the act. Raises NoPolicy."""
    try:
        return ApprovalPolicy.objects.get(
            subject_kind=subject_kind, risk_tier=risk_tier, environment=environment, active=True
        )
    except ApprovalPolicy.DoesNotExist:
        raise NoPolicy(
            f"No approval policy covers a {subject_kind} of a {risk_tier}-risk model in {environment}. "
            "Ask an administrator to add one."
        ) from None


def roles_now(users: list[User]) -> dict[int, frozenset[str]]:
    """The roles that each user holds now, by primary key; none for one who was deactivated."""
    held: dict[int, set[str]] = {user.pk: set() for user in users}
    for user_id, role in RoleGrant.objects.filter(user__in=users, until=None, user__is_active=True).values_list(
        "user_id", "role"
    ):
        held[user_id].add(role)
    return {pk: frozenset(roles) for pk, roles in held.items()}


def eligible_roles(request: ApprovalRequest, roles: frozenset[str]) -> frozenset[str]:
    """Those of a person's roles that can fill a seat of this request; any role that may approve fills an open seat."""
    wanted = {str(factor["role"]) for factor in request.policy.factors}
    approving = {str(role) for role, permissions in PERMISSIONS.items() if "approve" in permissions}
    return frozenset(role for role in roles if role in wanted or role in approving)


def standing(request: ApprovalRequest) -> Standing:
    """Count each person's latest decision, with the roles held both when it was made and now."""
    latest: dict[int, ApprovalDecision] = {}
    denied: ApprovalDecision | None = None
    for decision in request.decisions.select_related("by").order_by("decided_at", "id"):
        latest[decision.by_id] = decision
        if decision.decision == Decision.DENY and denied is None:
            denied = decision
    approving = [entry for entry in latest.values() if entry.decision == Decision.APPROVE]
    people = {
        str(by): roles
        for by, held in _roles_since(approving).items()
        if (roles := eligible_roles(request, held)) and by != request.proposer_id
    }
    by_person = {str(entry.by_id): entry for entry in approving}
    seating = seat(seats_of(request.policy.required, request.policy.factors), people)
    seats = [
        Seat(role, by_person[person].by if person else None, by_person[person] if person else None)
        for role, person in zip(seating.seats, seating.by_seat, strict=True)
    ]
    return Standing(seats, denied, request.expires_at)


def _roles_since(decisions: list[ApprovalDecision]) -> dict[int, frozenset[str]]:
    """The roles that each decision's author has held without a break since it was made: a role that came later was not
    there when the decision went into the log, so it can't fill a seat."""
    made = {decision.by_id: decision.decided_at for decision in decisions}
    held: dict[int, set[str]] = {by: set() for by in made}
    grants = RoleGrant.objects.filter(user__in=made, until=None, user__is_active=True)
    for user_id, role, since in grants.values_list("user_id", "role", "since"):
        if since <= made[user_id]:
            held[user_id].add(role)
    return {by: frozenset(roles) for by, roles in held.items()}


def who_may(request: ApprovalRequest, role: str) -> list[User]:
    """People who could fill a seat of `role` ("" for any approver): not the proposer, not one who approves now."""
    roles = [role] if role else [r for r, permissions in PERMISSIONS.items() if "approve" in permissions]
    latest = {decision.by_id: decision.decision for decision in request.decisions.order_by("decided_at", "id")}
    decided = [by for by, decision in latest.items() if decision == Decision.APPROVE]
    return list(
        User.objects.filter(is_active=True)
        .filter(Q(role_grants__role__in=roles) & Q(role_grants__until=None))
        .exclude(pk=request.proposer_id)
        .exclude(pk__in=decided)
        .distinct()
        .order_by("first_name", "username")
    )


def objections(request: ApprovalRequest) -> QuerySet[ApprovalDecision]:
    """Denials and revocations made after the approvals were used: they stop later waves."""
    if request.consumed_at is None:
        return ApprovalDecision.objects.none()
    return request.decisions.filter(
        decision__in=[Decision.DENY, Decision.REVOKE], decided_at__gt=request.consumed_at
    ).select_related("by")


def waiting() -> QuerySet[ApprovalRequest]:
    return ApprovalRequest.objects.filter(state__in=[RequestState.OPEN, RequestState.APPROVED]).order_by("expires_at")
