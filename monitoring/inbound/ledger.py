"""Writing the ledger of arrivals; whoever takes, refuses or decides tells it here, in the same transaction."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F
from django.db.models.functions import Greatest, Now

from monitoring.inbound.models import FIRED, WEIGHT, Arrival, ArrivalAlert, Decision
from monitoring.inbound.taking import Decided
from monitoring.models import Alert, AlertState, Delivery

STRANGER = "unknown"
"""The sender of what was refused under a name that is nobody's."""


@dataclass(frozen=True)
class _Settled:
    """What came of a delivery and of each of its alerts."""

    delivery: Delivery
    decision: Decision
    why: str
    found: list[Decided]


def arrived(
    *, delivery: Delivery, created: bool, stored_ms: int | None = None, received_at: datetime | None = None
) -> Arrival:
    """Enter a delivery that was taken. One that came before is a duplicate, and its alerts were seen once more."""
    spooled: dict[str, Any] = {"spooled": True, "received_at": received_at} if received_at else {}
    arrival = Arrival(
        source=delivery.source,
        sender=delivery.sender,
        delivery=delivery,
        sha256=delivery.sha256,
        size=delivery.size,
        stored_ms=stored_ms,
        **spooled,
    )
    if not created:
        arrival.decision, arrival.why, arrival.decided_at = Decision.DUPLICATE, "The same message came before.", Now()
    arrival.save(force_insert=True)
    if not created:
        again = Alert.objects.filter(arrivals__arrival__delivery=delivery, state=AlertState.FIRING)
        Alert.objects.filter(pk__in=again.values("pk")).update(last_seen_at=Greatest(F("last_seen_at"), Now()))
    return arrival


def refused(*, source: str, sender: str, sha256: str, size: int, why: str, delivery: Delivery | None = None) -> None:
    """Enter what was not taken. `why` is a sentence."""
    Arrival.objects.create(
        source=source,
        sender=sender[:40],
        delivery=delivery,
        sha256=sha256,
        size=size,
        decision=Decision.REFUSED,
        why=why[:500],
        decided_at=Now(),
    )


def decided(delivery: Delivery, found: Iterable[Decided], why: str = "") -> None:
    """Enter what came of each alert of a delivery, with the first of its arrivals."""
    _settle_each([_settled(delivery, list(found), why)])


def decided_each(told: Iterable[tuple[Delivery, list[Decided]]]) -> None:
    """`decided` for several deliveries."""
    _settle_each([_settled(delivery, found) for delivery, found in told])


def _settled(delivery: Delivery, found: list[Decided], why: str = "") -> _Settled:
    reached = {one.decision for one in found}
    decision = next((one for one in WEIGHT if one in reached), Decision.UNREADABLE if why else Decision.EMPTY)
    held_back = next((one.why for one in found if one.decision == decision and one.why), "")
    return _Settled(delivery, decision, why or held_back, found)


def unreadable(delivery: Delivery, why: str) -> None:
    """Enter that nothing of a delivery could be read."""
    _settle_each([_Settled(delivery, Decision.UNREADABLE, why, [])])


def synthetic(delivery: Delivery) -> None:
    """Enter that a delivery was Lastgood's own."""
    _settle_each([_Settled(delivery, Decision.SYNTHETIC, "", [])])


def asked_again(delivery: Delivery) -> None:
    """A person has a delivery read once more: it waits again."""
    Arrival.objects.filter(delivery=delivery, decision__in=[Decision.UNREADABLE, *WEIGHT]).exclude(
        decision=Decision.DUPLICATE, alerts=None
    ).update(decision=Decision.WAITING, why="", decided_at=None)


def _settle_each(settled: Sequence[_Settled]) -> None:
    waiting = Arrival.objects.filter(delivery__in=[one.delivery for one in settled], decision=Decision.WAITING)
    # The first of each delivery is the last of them here.
    first = dict(waiting.order_by("-pk").values_list("delivery_id", "pk"))
    alike: dict[tuple[Decision, str], list[int]] = {}
    for one in settled:
        if one.delivery.pk in first:
            alike.setdefault((one.decision, one.why[:500]), []).append(first[one.delivery.pk])
    for (decision, why), arrivals in alike.items():
        Arrival.objects.filter(pk__in=arrivals).update(decision=decision, why=why, decided_at=Now())
    ArrivalAlert.objects.bulk_create(
        ArrivalAlert(
            arrival_id=first[one.delivery.pk], alert=found.alert, fingerprint=found.fingerprint, decision=found.decision
        )
        for one in settled
        if one.delivery.pk in first
        for found in one.found
    )


def taken_by_incident(*, alerts: Sequence[int], incident_ref: str, opened: bool) -> None:
    """Enter the incident of alerts that came from outside: one opened the incident, or they joined it."""
    _turn(alerts, Decision.NEW if opened else Decision.JOINED, incident_ref=incident_ref)


def held(*, alert_id: int, why: str) -> None:
    """Enter that an alert that came from outside opens no incident yet. `why` is a sentence."""
    _turn([alert_id], Decision.HELD, why=why)


def _turn(alerts: Sequence[int], decision: Decision, why: str = "", incident_ref: str = "") -> None:
    """Another decision on alerts that began to fire, and what their arrivals are called then."""
    rows = ArrivalAlert.objects.filter(alert_id__in=alerts, decision__in=FIRED)
    arrivals = list(rows.order_by().values_list("arrival_id", flat=True).distinct())
    if not arrivals:
        return
    rows.update(incident_ref=incident_ref, decision=decision)
    reached: dict[int, set[str]] = {}
    for arrival, one in ArrivalAlert.objects.filter(arrival__in=arrivals).values_list("arrival_id", "decision"):
        reached.setdefault(arrival, set()).add(one)
    for known in Arrival.objects.filter(pk__in=arrivals, decision__in=[*FIRED, Decision.JOINED]):
        now = next(one for one in WEIGHT if one in reached[known.pk])
        if now != known.decision or why:
            said = why[:500] or ("" if known.decision in (Decision.HELD, Decision.SUPPRESSED) else known.why)
            Arrival.objects.filter(pk=known.pk).update(decision=now, why=said)
