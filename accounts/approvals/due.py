"""What the clock must wake of acts and of break-glass."""

from datetime import datetime

from accounts.approvals.break_glass import past_limits
from accounts.approvals.keeping import due_evidence
from accounts.approvals.models import ACT_KINDS, ApprovalRequest, GlassNotice, RequestState
from audit.due import Due

AT_ONCE = 100


def approved_acts(now: datetime) -> list[str]:
    """Acts whose last approval reached no worker."""
    due = ApprovalRequest.objects.filter(state=RequestState.APPROVED, subject_kind__in=ACT_KINDS, expires_at__gt=now)
    return [str(pk) for pk in due.values_list("pk", flat=True)[:AT_ONCE]]


def notices_to_send(now: datetime) -> list[str]:
    """E-mails about a broken glass that were not taken by the mail server yet."""
    due = GlassNotice.objects.filter(sent_at=None, next_try_at__lte=now).order_by("next_try_at")
    return [str(pk) for pk in due.values_list("pk", flat=True)[:AT_ONCE]]


SOURCES = [
    Due(task="accounts.act_decided", queue="intake", ids=approved_acts),
    Due(task="accounts.tell_glass", queue="intake", ids=notices_to_send),
    Due(task="accounts.break_glass_limits", queue="intake", ids=past_limits),
    Due(task="accounts.prune_evidence", queue="intake", ids=due_evidence),
]
