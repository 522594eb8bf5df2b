"""A host that serves something else, answers wrongly, is out of service or shares its requests, without our doing: that
is told as an alert.

What a run does to its hosts is our doing, so its hosts are left out until it has ended and they were observed since;
what a person holds or drained is known to that person. A hold that a program has set, on a host that failed in a run or
was changed while nobody looked, keeps the host from being converged, and nobody from being told.
"""

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet

from audit.clock import database_now
from incidents.rollback.models import ACTIVE_RUN_STATES, HostStep, PlanKind
from monitoring import alerts
from monitoring.models import Alert
from registry.models import Health, Placement

DRIFTED = (Health.WRONG_VERSION, Health.WRONG_OUTPUT)
AT_ONCE = 100
HELD_BY_RUN = "It failed in a run: "
CHANGED_UNSEEN = "It was changed while Lastgood was not looking: "
"""How the reason of a hold begins that a program has set."""


def unsettled(now: datetime) -> list[object]:
    """Placements that have drifted and are not told of, and those told of that have not, or no longer."""
    wrong = set(_drifted(now).values_list("pk", flat=True)[:AT_ONCE])
    told = {alert.annotations["placement"] for alert in alerts.observed()}
    return list(wrong ^ told)


def settle(placement_id: Any) -> Alert | None:
    """Fire the placement's alert or end it, as things stand, and say nothing twice. None when nothing was changed."""
    placement = Placement.objects.select_related("endpoint", "host", "desired").filter(pk=placement_id).first()
    if placement is None:
        return None
    if _drifted(database_now()).filter(pk=placement_id).exists():
        return alerts.fire_observed(
            endpoint=placement.endpoint,
            placement=placement.pk,
            host=placement.host.name,
            summary=_sentence(placement),
            started_at=placement.observed_at or database_now(),
        )
    if placement.health == Health.SERVING and placement.desired is not None and "left" not in placement.observation:
        why = f"{placement.host.name} serves version {placement.desired.number} as it should."
    elif placement.health in DRIFTED or "left" in placement.observation:
        why = f"{placement.host.name} is in a person's or a run's hands."
    else:
        # Away is not well: what it served last is what is known of it.
        return None
    return alerts.end_observed(placement=placement.pk, why=why)


def _drifted(now: datetime) -> QuerySet[Placement]:
    moving = HostStep.objects.filter(
        run__endpoint=OuterRef("endpoint"), host=OuterRef("host"), run__state__in=ACTIVE_RUN_STATES
    ).exclude(run__plan__kind=PlanKind.CONVERGE)
    since = HostStep.objects.filter(
        run__endpoint=OuterRef("endpoint"), host=OuterRef("host"), run__ended_at__gte=OuterRef("observed_at")
    )
    by_program = Q(host__held_reason__startswith=HELD_BY_RUN) | Q(host__held_reason__startswith=CHANGED_UNSEEN)
    held = Q(host__held_until__gt=now) & ~by_program
    left = Q(observation__has_key="left", health__in=(Health.SERVING, Health.NOT_READY))
    return Placement.objects.filter(
        Q(health__in=DRIFTED) | left,
        ~Exists(moving),
        ~Exists(since),
        ~held,
        host__drained_at=None,
        desired__isnull=False,
    )


def _sentence(placement: Placement) -> str:
    said = f"{placement.host.name} is not as it was left: {placement.health_reason}"
    if "unseen_since" in placement.observation or placement.host.held_reason.startswith(CHANGED_UNSEEN):
        said += " It changed while Lastgood was not looking; "
        said += (
            "to keep it, register its files as a version and release that, and to undo it, choose Converge again."
            if is_foreign(placement)
            else "what was done by hand is recorded on the page of readiness."
        )
    return said


def is_foreign(placement: Placement) -> bool:
    """Whether the host serves what is no version of ours, by the name that its driver gives it."""
    return bool(placement.observed_version) and not placement.observed_version.isdecimal()
