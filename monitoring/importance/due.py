"""What the clock must wake here: versions that nobody took up, and importances whose next turn has come."""

from datetime import datetime

from django.db.models import Exists, OuterRef, Q

from audit.due import Due
from monitoring.due import each_minute
from monitoring.importance.models import Importance, ImportanceState
from registry.models import Health, Placement, Version

AT_ONCE = 50


def versions(now: datetime) -> list[int]:
    """Versions with a holdout set that are not taken up: the message was lost, or the set came later."""
    found = Version.objects.filter(holdout__isnull=False, importance=None).order_by("pk")
    return list(found.values_list("pk", flat=True)[:AT_ONCE])


def turns(now: datetime) -> list[int]:
    """Importances that wait for their next turn or whose worker is gone, and those that waited for a host and have
    one."""
    served = Placement.objects.filter(observed_digest=OuterRef("version__digest"), health=Health.SERVING)
    served = served.filter(observed_at__gt=OuterRef("due_at"))
    waiting = Q(state=ImportanceState.WAITING) | Q(Exists(served), state=ImportanceState.NOWHERE)
    due = Importance.objects.filter(waiting, due_at__lte=now).order_by("due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [
    Due(task="importance.begin", queue="compute", ids=each_minute(versions)),
    Due(task="importance.measure", queue="compute", ids=turns),
]
