"""What the clock must wake of acts and of break-glass."""

from datetime import datetime

from accounts.approvals.break_glass import past_limits
from accounts.approvals.models import ACT_KINDS, ApprovalRequest, RequestState
from audit.due import Due

AT_ONCE = 100


def approved_acts(now: datetime) -> list[str]:
    """Acts whose last approval reached no worker."""
    due = ApprovalRequest.objects.filter(state=RequestState.APPROVED, subject_kind__in=ACT_KINDS, expires_at__gt=now)
    return [str(pk) for pk in due.values_list("pk", flat=True)[:AT_ONCE]]


SOURCES = [
    Due(task="accounts.act_decided", queue="intake", ids=approved_acts),
    Due(task="accounts.break_glass_limits", queue="intake", ids=past_limits),
]
