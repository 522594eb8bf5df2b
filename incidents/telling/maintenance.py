"""Maintenance: planned by a person, announced, and then reminded of, started and ended by the clock. While one is under
way its components are under maintenance, and alerts about what stands behind them are expected."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from incidents import status
from incidents.errors import IncidentError
from incidents.models import ComponentState, StatusComponent, StatusPage, WindowStatus
from incidents.status_impacts import as_told, shown
from incidents.telling.models import Maintenance
from registry.models import Endpoint

CLOCK = service_actor("maintenance")
REMIND_BEFORE = timedelta(hours=1)
LONGEST = timedelta(days=14)


@transaction.atomic
def plan(
    *,
    page: StatusPage,
    title: str,
    text: str,
    components: Sequence[StatusComponent],
    starts_at: datetime,
    ends_at: datetime,
    by: User | None,
    actor: Actor,
) -> Maintenance:
    """Announce work on components of a page. Raises IncidentError for a time that is over or has no length, and for
    components of other pages."""
    now = database_now()
    if ends_at <= starts_at or ends_at <= now or ends_at - starts_at > LONGEST:
        raise IncidentError(gettext("Name an end after the beginning, in the future, and at most 14 days after it."))
    theirs = {one.pk for one in shown(page) if not one.is_group}
    if not components or any(one.pk not in theirs for one in components):
        raise IncidentError(gettext("Name the components of this page that are worked on."))
    remind = starts_at - REMIND_BEFORE
    window = Maintenance.objects.create(
        page=page, title=title.strip(), text=text.strip(), starts_at=starts_at, ends_at=ends_at, by=by,
        remind_at=remind if remind > now + REMIND_BEFORE else None,
    )  # fmt: skip
    window.components.set(components)
    record(
        action="status.plan_maintenance",
        target=Target("maintenance", str(window.pk)),
        actor=actor,
        data={
            "page": page.slug,
            "components": [one.name for one in components],
            "starts_at": starts_at.isoformat(),
            "ends_at": ends_at.isoformat(),
        },
        reason=title.strip(),
    )
    _tell(window, WindowStatus.SCHEDULED, f"{window.title}, {_when(window)}. {window.text}", actor, by)
    return window


@transaction.atomic
def cancel(*, maintenance: Maintenance, by: User | None, actor: Actor, reason: str) -> None:
    """Call it off, or end it before its time. Raises IncidentError where it is over, or without a reason."""
    if not reason.strip():
        raise IncidentError(gettext("Say in a sentence why it is called off. Its readers are told."))
    going_on = maintenance.state == WindowStatus.IN_PROGRESS
    to = WindowStatus.COMPLETED if going_on else WindowStatus.CANCELLED
    _move(maintenance, maintenance.state, to, ended_at=Now())
    record(
        action="status.end_maintenance" if going_on else "status.cancel_maintenance",
        target=Target("maintenance", str(maintenance.pk)),
        actor=actor,
        data={"page": maintenance.page.slug, "state": str(to)},
        reason=reason.strip(),
    )
    words = "has ended" if going_on else "is called off"
    _tell(maintenance, to, f"{maintenance.title} {words}. {reason.strip()}", actor, by)


@transaction.atomic
def wake(*, maintenance_id: int) -> str:
    """Do what the clock says is due of a maintenance: remind, start or end. Returns what was done, "" for nothing."""
    window = Maintenance.objects.select_for_update(of=("self",)).select_related("page").get(pk=maintenance_id)
    now = database_now()
    if window.state == WindowStatus.IN_PROGRESS and window.ends_at <= now:
        return _turn(window, WindowStatus.COMPLETED, "has ended", ended_at=Now())
    if window.state == WindowStatus.SCHEDULED and window.ends_at <= now:
        return _turn(window, WindowStatus.CANCELLED, "did not begin in its time", ended_at=Now())
    if window.state == WindowStatus.SCHEDULED and window.starts_at <= now:
        return _turn(window, WindowStatus.IN_PROGRESS, "has begun", started_at=Now(), remind_at=None)
    if window.state == WindowStatus.SCHEDULED and window.remind_at is not None and window.remind_at <= now:
        Maintenance.objects.filter(pk=window.pk).update(remind_at=None)
        words = f"{window.title} begins soon, {_when(window)}. {window.text}"
        _tell(window, WindowStatus.SCHEDULED, words, CLOCK, None)
        return "reminded"
    return ""


def _turn(window: Maintenance, to: str, words: str, **fields: Any) -> str:
    _move(window, window.state, to, **fields)
    until = f" It lasts until {window.ends_at:%H:%M} UTC." if to == WindowStatus.IN_PROGRESS else ""
    record(
        action="status.turn_maintenance",
        target=Target("maintenance", str(window.pk)),
        actor=CLOCK,
        data={"page": window.page.slug, "state": str(to)},
    )
    _tell(window, to, f"{window.title} {words}.{until}", CLOCK, None)
    return str(to)


def _move(window: Maintenance, old: str, to: str, **fields: Any) -> None:
    going = (WindowStatus.SCHEDULED, WindowStatus.IN_PROGRESS)
    if old not in going or not Maintenance.objects.filter(pk=window.pk, state=old).update(state=to, **fields):
        raise IncidentError(gettext("This maintenance is over, or somebody changed it since you opened it."))
    window.state = to


def _tell(window: Maintenance, to: str, text: str, actor: Actor, by: User | None) -> None:
    status.changed(window.page)
    told = ComponentState.MAINTENANCE if to == WindowStatus.IN_PROGRESS else ComponentState.OPERATIONAL
    affected = as_told(window.components.filter(retired_at=None), told, "")
    status.tell(
        page=window.page, maintenance=window, status=to, component_state=told, text=text, by=by, actor=actor,
        affected=affected,
    )  # fmt: skip


def _when(window: Maintenance) -> str:
    end = "%H:%M" if window.starts_at.date() == window.ends_at.date() else "%Y-%m-%d %H:%M"
    return f"from {window.starts_at:%Y-%m-%d %H:%M} to {window.ends_at.strftime(end)} UTC"


def maintenance_of(endpoint: Endpoint) -> Maintenance | None:
    """The maintenance under way in which an alert about the endpoint is expected: on the endpoint, or on its model."""
    meant = Q(components__endpoint=endpoint) | Q(components__model=endpoint.model_id)
    return Maintenance.objects.filter(meant, state=WindowStatus.IN_PROGRESS).order_by("-ends_at").first()


def due_maintenances(now: datetime) -> list[int]:
    """Those that the clock must remind of, start or end."""
    waiting = Q(state=WindowStatus.SCHEDULED) & (Q(starts_at__lte=now) | Q(remind_at__lte=now))
    ending = Q(state=WindowStatus.IN_PROGRESS, ends_at__lte=now)
    return list(Maintenance.objects.filter(waiting | ending).values_list("pk", flat=True)[:50])
