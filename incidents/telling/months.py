"""Finished months are frozen as they were published, once."""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from audit.clock import database_now
from incidents.models import StatusComponent
from incidents.status_history import finished_months, midnight, month_of, month_tally
from incidents.status_render import Picture
from incidents.telling.models import Month

DAY = timedelta(days=1)


def freeze(*, component_id: int) -> int:
    """Keep what counts of each finished month of the component that was not kept yet; returns how many were."""
    component = StatusComponent.objects.select_related("page").get(pk=component_id)
    history = Picture(component.page).histories.get(component_id, [])
    wanted = finished_months(born=component.created_at, now=database_now())
    kept = set(component.months.values_list("first", flat=True))
    rows = [
        Month(component=component, first=first, known=counted.known, lost=counted.lost)
        for first in wanted
        if first not in kept
        for counted in [month_tally(history, first)]
    ]
    # Whoever comes second changes nothing of what was published.
    Month.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def unfrozen(now: datetime) -> list[int]:
    """Components that were there in the month that ended last, which is not kept for them."""
    begun = midnight(month_of(now))
    last = Month.objects.filter(component=OuterRef("pk"), first__gte=month_of(midnight(month_of(now)) - DAY))
    found = StatusComponent.objects.filter(~Exists(last), is_group=False, retired_at=None, created_at__lt=begun)
    return list(found.values_list("pk", flat=True)[:50])
