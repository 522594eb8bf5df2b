"""What the clock must wake on this floor: requests whose time has run out, roles that begin or end, rosters."""

from datetime import datetime

from accounts.approvals import due as approvals
from accounts.approvals.queries import waiting
from accounts.models import ProposalState, RoleProposal, Roster, User
from audit.due import Due


def expired(now: datetime) -> list[str]:
    return [str(pk) for pk in waiting().filter(expires_at__lte=now).values_list("pk", flat=True)[:100]]


def roles_that_change(now: datetime) -> list[str]:
    changing = User.objects.filter(roles_change_at__lte=now).order_by("roles_change_at")
    return [str(pk) for pk in changing.values_list("pk", flat=True)[:100]]


def rosters_to_read(now: datetime) -> list[str]:
    due = Roster.objects.filter(next_read_at__lte=now).order_by("next_read_at")
    return [str(pk) for pk in due.values_list("pk", flat=True)[:100]]


def proposals_to_close(now: datetime) -> list[str]:
    late = RoleProposal.objects.filter(state=ProposalState.OPEN, expires_at__lte=now).order_by("expires_at")
    return [str(pk) for pk in late.values_list("pk", flat=True)[:100]]


SOURCES = [
    *approvals.SOURCES,
    Due(task="accounts.expire_request", queue="intake", ids=expired),
    Due(task="accounts.roles_changed", queue="intake", ids=roles_that_change),
    Due(task="accounts.expire_proposal", queue="intake", ids=proposals_to_close),
    Due(task="accounts.read_roster", queue="intake", ids=rosters_to_read),
]
