"""Reading the ledger of arrivals."""

from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import Count, Prefetch, QuerySet

from audit.clock import database_now
from monitoring.inbound.formats import READERS
from monitoring.inbound.models import Arrival, ArrivalAlert, Decision
from monitoring.models import Delivery, DeliveryState
from monitoring.webhooks import SYNTHETIC

LATE = timedelta(seconds=10)
MOST_ALERTS = 50
"""Alerts of one arrival that its row tells."""


@dataclass(frozen=True)
class Filters:
    """What of the ledger is wanted; an empty field wants all."""

    sender: str = ""
    source: str = ""
    decision: str = ""


def arrivals(filters: Filters) -> QuerySet[Arrival]:
    """The arrivals that match, newest first, with their delivery and what came of their alerts. Lastgood's own are told
    where they are asked for."""
    found = Arrival.objects.all()
    if not filters.sender and not filters.decision:
        found = found.exclude(sender=SYNTHETIC)
    for name in ("sender", "source", "decision"):
        if value := getattr(filters, name):
            found = found.filter(**{name: value})
    alerts = ArrivalAlert.objects.select_related("alert").order_by("pk")
    return (
        found.select_related("delivery")
        .defer("delivery__body")
        .annotate(held=Count("alerts"))
        .prefetch_related(Prefetch("alerts", alerts[:MOST_ALERTS], to_attr="told"))
        .order_by("-received_at", "-id")
    )


SENDERS = """
    WITH RECURSIVE named AS (
        (SELECT sender FROM monitoring_arrival ORDER BY sender LIMIT 1)
        UNION ALL
        SELECT (SELECT a.sender FROM monitoring_arrival AS a WHERE a.sender > named.sender ORDER BY a.sender LIMIT 1)
        FROM named WHERE named.sender IS NOT NULL
    )
    SELECT sender FROM named WHERE sender IS NOT NULL
"""
"""A step in the index for each name; DISTINCT would read every row."""


def senders() -> list[str]:
    """The names of all that have sent anything."""
    with connection.cursor() as cursor:
        cursor.execute(SENDERS)
        return [name for (name,) in cursor.fetchall()]


def not_readable() -> int:
    """How many deliveries of alerts could not be read, or not whole, and are kept."""
    kept = Delivery.objects.filter(state=DeliveryState.UNPARSEABLE, body__isnull=False)
    return kept.filter(source__in=READERS).count()


def overdue() -> int:
    """How many arrivals have waited to be read for longer than LATE."""
    return Arrival.objects.filter(decision=Decision.WAITING, received_at__lt=database_now() - LATE).count()
