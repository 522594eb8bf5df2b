"""What the clock must wake here: whatever a lost message, a dead worker or the passing of time left waiting."""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, Q

from accounts.approvals.actions import LIVE
from accounts.approvals.models import BreakGlass, RequestState
from audit.due import Due
from incidents.rollback.drifted import unsettled
from incidents.rollback.lease import MOVING, is_free
from incidents.rollback.models import ACTIVE_RUN_STATES, Plan, PlanState, Run, RunState, Watch, WatchState
from incidents.rollback.moved import moved
from incidents.rollback.trials import due_trials, leftovers
from registry.models import FreezeWindow

AT_ONCE = 200
MESSAGE_LOST = timedelta(seconds=2)


def runs(now: datetime) -> list[object]:
    """Runs that can be moved: their time has come and nobody holds the lease, or nobody who lives."""
    due = Run.objects.filter(is_free(now), state__in=MOVING, due_at__lte=now)
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def preflights(now: datetime) -> list[object]:
    """Drafts whose preflight is owed and was not answered within the time that a message needs."""
    due = Plan.objects.filter(state=PlanState.DRAFT, preflight_due_at__lte=now - MESSAGE_LOST)
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def approved(now: datetime) -> list[object]:
    """Requests whose decision reached no worker: approved but not started, ended but not voided. One that could only be
    refused now, because its endpoint is frozen or busy, waits: each refusal is an event in the log."""
    busy = Run.objects.filter(endpoint=OuterRef("endpoint"), state__in=ACTIVE_RUN_STATES)
    frozen = FreezeWindow.objects.in_force(now).filter(endpoint=OuterRef("endpoint"))
    may_start = ~Exists(frozen)
    broken = BreakGlass.objects.filter(used_at=None, expires_at__gt=now)
    ended = [RequestState.DENIED, RequestState.EXPIRED, RequestState.WITHDRAWN]
    due = Plan.objects.filter(state=PlanState.AWAITING).filter(
        Q(may_start, ~Exists(busy), request__state=RequestState.APPROVED, start_on_approval=True)
        | Q(may_start, ~Exists(busy), request__state__in=LIVE, request__break_glass__in=broken)
        | Q(may_start, ~Exists(busy), request__state__in=LIVE, request__automatic_leave__used_at=None)
        & Q(request__automatic_leave__isnull=False)
        | Q(request__state__in=ended)
    )
    return list(due.values_list("request_id", flat=True)[:AT_ONCE])


def moved_plans(now: datetime) -> list[object]:
    """Requests for plans that no longer fit the fleet: what was approved of them counts no more."""
    waiting = Plan.objects.filter(state=PlanState.AWAITING, request__state__in=LIVE)
    waiting = waiting.select_related("endpoint", "to_version").order_by("created_at")[:AT_ONCE]
    return [plan.request_id for plan in waiting if moved(plan)]


def expired(now: datetime) -> list[object]:
    """Plans whose time to be started has run out."""
    waiting = [PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING]
    due = Plan.objects.filter(Q(expires_at__lte=now) | Q(request__expires_at__lte=now), state__in=waiting)
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


def watches(now: datetime) -> list[object]:
    due = Watch.objects.filter(state=WatchState.WATCHING, due_at__lte=now)
    return list(due.values_list("run_id", flat=True)[:AT_ONCE])


def undo_windows(now: datetime) -> list[object]:
    due = Run.objects.filter(state=RunState.SWITCHED, undo_due_at__lte=now)
    return list(due.values_list("pk", flat=True)[:AT_ONCE])


SOURCES = [
    Due(task="rollback.advance", queue="rollback", ids=runs),
    Due(task="rollback.preflight", queue="rollback", ids=preflights),
    Due(task="rollback.request_decided", queue="rollback", ids=approved),
    Due(task="rollback.request_decided", queue="rollback", ids=moved_plans),
    Due(task="rollback.expire", queue="rollback", ids=expired),
    Due(task="rollback.watch", queue="rollback", ids=watches),
    Due(task="rollback.drifted", queue="rollback", ids=unsettled),
    Due(task="rollback.close_undo", queue="rollback", ids=undo_windows),
    Due(task="rollback.try", queue="compute", ids=due_trials),
    Due(task="rollback.take_out", queue="rollback", ids=leftovers),
]
