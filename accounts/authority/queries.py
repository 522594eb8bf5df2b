"""Reads about roles: who has which, what waits for a second administrator, what is lent."""

from collections import defaultdict

from django.db.models import Prefetch, Q, QuerySet
from django.db.models.functions import Now

from accounts.authority.models import Delegation, ProposalState, RoleGrant, RoleProposal
from accounts.models import User


def people() -> QuerySet[User]:
    """Everybody with `live_grants`, the grants that have not ended, whether they count yet or not."""
    live = Prefetch(
        "role_grants", queryset=RoleGrant.objects.filter(until=None).order_by("role", "pk"), to_attr="live_grants"
    )
    return User.objects.prefetch_related(live).order_by("-is_active", "first_name", "username")


def open_proposals() -> QuerySet[RoleProposal]:
    waiting = RoleProposal.objects.filter(state=ProposalState.OPEN, expires_at__gt=Now())
    return waiting.select_related("user", "proposer").order_by("proposed_at")


def loans() -> QuerySet[Delegation]:
    """Loans that are under way or to come, of grants that stand."""
    standing = Delegation.objects.filter(ended_at=None, ends__gt=Now(), grant__until=None)
    return standing.select_related("lender", "borrower", "grant").order_by("starts")


def loans_of(user: User) -> QuerySet[Delegation]:
    return loans().filter(Q(lender=user) | Q(borrower=user))


def borrowed_roles() -> dict[int, list[Delegation]]:
    """Loans under way or to come, by the borrower's primary key."""
    found: dict[int, list[Delegation]] = defaultdict(list)
    for loan in loans():
        found[loan.borrower_id].append(loan)
    return dict(found)
