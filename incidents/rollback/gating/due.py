"""What the clock must wake here: suites that nobody runs, because a message or a worker was lost."""

from datetime import datetime, timedelta

from django.db.models import Q

from audit.due import Due
from incidents.rollback.gating.models import ASKED, Asking, AskingState, GateKind

AT_ONCE = 50
MESSAGE_LOST = timedelta(seconds=2)


def suites(now: datetime) -> list[object]:
    """Suites of runs that still want them, which wait too long or whose worker has given no sign of life."""
    waits = Q(state=AskingState.WAITING, asked_at__lte=now - MESSAGE_LOST)
    lost = Q(state=AskingState.RUNNING, lease_until__lte=now)
    wanted = Asking.objects.filter(waits | lost, ASKED, definition__kind=GateKind.SUITE)
    return list(wanted.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [Due(task="gating.run_suite", queue="suites", ids=suites)]
