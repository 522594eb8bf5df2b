"""What the clock must wake here."""

from datetime import datetime, timedelta

from django.db.models import Q

from audit.due import Due
from incidents.models import Incident, IncidentState

UNDECIDED = [IncidentState.DETECTED, IncidentState.TRIAGED]
"""States in which what is found can still change what is done."""
SOON = timedelta(minutes=2)
LONGEST = timedelta(days=30)


def waiting(now: datetime) -> list[int]:
    """Incidents whose labels are to be counted: examined ones that nobody has begun to mitigate."""
    due = Q(label_wait__look_at__lte=now) | Q(label_wait=None, detected_at__lte=now - SOON)
    found = Incident.objects.filter(due, state__in=UNDECIDED, detected_at__gt=now - LONGEST, evidence__kind="quality")
    return list(found.order_by("pk").values_list("pk", flat=True).distinct()[:20])


SOURCES = [Due(task="diagnosing.look_again", queue="compute", ids=waiting)]
