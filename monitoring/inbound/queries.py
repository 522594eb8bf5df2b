"""Reading the ledger of arrivals."""

from dataclasses import dataclass

from django.db.models import Count, Prefetch, QuerySet

from monitoring.inbound.models import Arrival, ArrivalAlert, Decision

MOST_ALERTS = 50
"""Alerts of one arrival that its row tells."""


@dataclass(frozen=True)
class Filters:
    """What of the ledger is wanted; an empty field wants all."""

    sender: str = ""
    source: str = ""
    decision: str = ""


def arrivals(filters: Filters) -> QuerySet[Arrival]:
    """The arrivals that match, newest first, with their delivery and what came of their alerts."""
    found = Arrival.objects.all()
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


def senders() -> list[str]:
    """The names of all that have sent anything."""
    return list(Arrival.objects.order_by("sender").values_list("sender", flat=True).distinct())


def not_read() -> int:
    """How many arrivals of alerts wait to be read, or could not be."""
    return Arrival.objects.filter(decision__in=[Decision.WAITING, Decision.UNREADABLE]).count()
