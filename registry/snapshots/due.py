"""What the clock must wake here: endpoints whose last snapshot is old, and snapshots whose files were not read yet."""

import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef

from audit.due import Due
from registry.models import Endpoint, Placement
from registry.snapshots.models import Snapshot
from registry.snapshots.retention import due_sweeps

AT_ONCE = 200


def endpoints(now: datetime.datetime) -> list[int]:
    if not settings.LASTGOOD_SNAPSHOT_HOURS:
        return []
    since = now - datetime.timedelta(hours=settings.LASTGOOD_SNAPSHOT_HOURS)
    lately = Snapshot.objects.filter(endpoint=OuterRef("pk"), taken_at__gt=since)
    hosts = Placement.objects.filter(endpoint=OuterRef("pk"))
    return list(Endpoint.objects.filter(~Exists(lately), Exists(hosts)).values_list("pk", flat=True)[:AT_ONCE])


def unverified(now: datetime.datetime) -> list[int]:
    due = Snapshot.objects.filter(verified_at=None, verify_due_at__lte=now).order_by("verify_due_at")
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [
    Due(task="snapshots.take", queue="intake", ids=endpoints),
    Due(task="snapshots.verify", queue="compute", ids=unverified),
    Due(task="snapshots.sweep", queue="compute", ids=due_sweeps),
]
