"""What the clock must wake here: comparisons whose message was lost, or whose worker is gone."""

from collections.abc import Iterable
from datetime import datetime

from monitoring.comparing.models import UNFINISHED, ExactComparison

AT_ONCE = 20


def comparisons(now: datetime) -> Iterable[object]:
    """Comparisons that wait for a worker, or whose worker says nothing any more; oldest first."""
    due = ExactComparison.objects.filter(state__in=UNFINISHED, due_at__lte=now)
    return list(due.order_by("due_at").values_list("pk", flat=True)[:AT_ONCE])
