"""What the clock must wake on this floor: approval requests whose time has run out."""

from datetime import datetime

from accounts.approvals.queries import waiting
from audit.due import Due


def expired(now: datetime) -> list[str]:
    return [str(pk) for pk in waiting().filter(expires_at__lte=now).values_list("pk", flat=True)[:100]]


SOURCES = [Due(task="accounts.expire_request", queue="intake", ids=expired)]
