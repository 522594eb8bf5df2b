"""Drills: a change to the target of a rollback, on staging or on a spare host, by the same way as the real one.

A drill is a plan of kind drill: preflighted, approved by the policy of its kind, and carried out by the engine. What is
done here is to ask for it, to measure it, and to have it taken back.
"""

import datetime
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils.translation import gettext

from accounts.approvals.queries import NoPolicy
from accounts.models import User
from accounts.permissions import require_on
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.english import in_english
from incidents.practice import timing
from incidents.practice.models import OPEN_DRILLS, Drill, DrillSchedule, DrillState
from incidents.practice.targets import target_of
from incidents.rollback.models import Plan, PlanKind, PlanState, Run, RunState, WatchState
from incidents.rollback.plan import PlanRefused, propose
from incidents.rollback.undo import undo
from registry.actions import RegistryError, place, register_endpoint
from registry.models import Endpoint, Environment, Host, Placement, Version

WORKER = service_actor("practice")
MOST_DAYS = 366
TRY_AGAIN = datetime.timedelta(hours=1)
OVER = [RunState.FAILED, RunState.STOPPED, RunState.COMPENSATED]


class DrillRefused(PlanRefused):
    """The drill was not asked for; nothing was changed. The sentence says what to do."""


def ask_drill(
    *,
    endpoint: Endpoint,
    version: Version,
    user: User,
    actor: Actor,
    reason: str = "To know how long it takes.",
    schedule: DrillSchedule | None = None,
    **options: Any,
) -> Drill:
    """Propose a drill of `version` on an endpoint in staging. `options` are those of incidents.rollback.plan.propose.

    Raises PermissionDenied, NoPolicy, and PlanRefused (codes drill_in_production, drill_open and those of a plan).
    """
    require_on(user, "plan.propose", endpoint)
    _check_place(endpoint)
    if Drill.objects.filter(endpoint=endpoint, state__in=OPEN_DRILLS).exists():
        raise DrillRefused(
            "drill_open",
            gettext("A drill goes on at %(slug)s. Wait for its end, or give its plan up.") % {"slug": endpoint.slug},
        )
    hosts = Placement.objects.filter(endpoint=endpoint, host__drained_at=None).count()
    predicted = timing.predict_for(endpoint, hosts)
    try:
        with transaction.atomic():
            plan = propose(
                kind=PlanKind.DRILL,
                endpoint=endpoint,
                to_version=version,
                reason=reason,
                user=user,
                actor=actor,
                **options,
            )
            return _keep(plan, user, actor, predicted, schedule=schedule)
    except IntegrityError as error:
        raise DrillRefused(
            "drill_open", gettext("A drill of %(slug)s was asked for at the same moment.") % {"slug": endpoint.slug}
        ) from error


def _check_place(endpoint: Endpoint) -> None:
    """A drill is never made on traffic of production, nor on a machine whose memory production needs."""
    if endpoint.environment == Environment.PRODUCTION:
        raise DrillRefused(
            "drill_in_production",
            gettext("%(slug)s answers production. Drill on a staging endpoint of the model, or on a spare host.")
            % {"slug": endpoint.slug},
        )
    addresses = Placement.objects.filter(endpoint=endpoint).values("host__address")
    shared = Placement.objects.filter(endpoint__environment=Environment.PRODUCTION, host__address__in=addresses)
    if (other := shared.select_related("endpoint", "host").first()) is not None:
        raise DrillRefused(
            "drill_in_production",
            gettext("%(name)s serves %(slug)s in production too. Drill on hosts that serve none of it.")
            % {"name": other.host.name, "slug": other.endpoint.slug},
        )


def _keep(
    plan: Plan,
    user: User,
    actor: Actor,
    predicted: timing.Predicted | None,
    *,
    schedule: DrillSchedule | None = None,
    back_of: Drill | None = None,
) -> Drill:
    drill = Drill.objects.create(
        endpoint=plan.endpoint,
        version=plan.to_version,
        plan=plan,
        asked_by=user,
        schedule=schedule,
        back_of=back_of,
        predicted_seconds=predicted and predicted.seconds,
        predicted_low=predicted and predicted.low,
        predicted_high=predicted and predicted.high,
    )
    data = {"back_of": str(back_of.pk)} if back_of else {}
    _put(drill, "practice.drill.ask", actor, data | {"scheduled": schedule is not None})
    return drill


def _put(drill: Drill, action: str, actor: Actor, data: dict[str, Any], *, failed: bool = False) -> None:
    facts = {"drill": str(drill.pk), "plan": str(drill.plan_id), "digest": drill.version.digest}
    record(
        action=action,
        target=Target("endpoint", drill.endpoint.slug),
        actor=actor,
        outcome="failed" if failed else "success",
        reason=drill.reason,
        data=facts | data,
    )


def unfollowed(now: datetime.datetime) -> list[str]:
    """Open drills whose plan, run or watch has come to where the drill has not."""
    over = Q(plan__state=PlanState.VOID) | Q(plan__run__state__in=OVER)
    watched = Q(plan__run__watch__state__in=[WatchState.PASSED, WatchState.FAILED])
    begun = Q(state=DrillState.WAITING, plan__run__isnull=False)
    found = Drill.objects.filter(over | watched | begun, state__in=OPEN_DRILLS)
    return [str(key) for key in found.values_list("pk", flat=True)[:50]]


@transaction.atomic
def follow(drill_id: Any) -> str:
    """Bring a drill to where its run is, and measure it at its end; its state. Safe to be called at any time."""
    drill = (
        Drill.objects.select_for_update(of=("self",))
        .select_related("plan__to_version", "endpoint__model", "version", "asked_by")
        .get(pk=drill_id)
    )
    if drill.state not in OPEN_DRILLS:
        return drill.state
    run = timing.with_course(Run.objects.filter(plan=drill.plan_id)).select_related("watch").first()
    if run is None:
        if drill.plan.state == PlanState.VOID:
            _end(drill, DrillState.GIVEN_UP, drill.plan.void_reason)
        return drill.state
    watch = getattr(run, "watch", None)
    if run.state in OVER:
        _end(
            drill, DrillState.FAILED, run.state_reason or f"The run ended: {in_english(run.get_state_display).lower()}."
        )
    elif watch is not None and watch.state == WatchState.FAILED:
        _end(drill, DrillState.FAILED, watch.state_reason)
    elif watch is not None and watch.state == WatchState.PASSED:
        _measure(drill, run, watch.ended_at)
        _end(drill, DrillState.PASSED, "")
        _take_back(drill, run)
    elif drill.state == DrillState.WAITING:
        drill.state = DrillState.RUNNING
        drill.save(update_fields=["state"])
    return drill.state


def _measure(drill: Drill, run: Run, verified_at: datetime.datetime) -> None:
    course = timing.course_of(run)
    loaded = timing.loaded_for(run.plan, run, drill.version)
    drill.warm, drill.bytes_loaded = loaded.hosts == 0, loaded.bytes
    drill.load_seconds = loaded.seconds if loaded.hosts else None
    if course is not None:
        drill.switched_seconds, drill.checked_seconds = course.switched, course.checked
        drill.verified_seconds = (verified_at - timing.start_of(run)).total_seconds()


def _end(drill: Drill, state: DrillState, reason: str) -> None:
    drill.state, drill.reason, drill.ended_at = state, reason[:500], database_now()
    drill.save()
    names = {DrillState.PASSED: "pass", DrillState.FAILED: "fail", DrillState.GIVEN_UP: "give_up"}
    _put(drill, f"practice.drill.{names[state]}", WORKER, _figures(drill), failed=state != DrillState.PASSED)


def _figures(drill: Drill) -> dict[str, Any]:
    """Whole milliseconds, since a record holds no floats."""
    names = ("predicted_seconds", "switched_seconds", "checked_seconds", "verified_seconds", "load_seconds")
    known = {name: getattr(drill, name) for name in names}
    told = {name.replace("_seconds", "_ms"): round(value * 1000) for name, value in known.items() if value is not None}
    return told | ({"warm": drill.warm, "bytes_loaded": drill.bytes_loaded} if drill.warm is not None else {})


def _take_back(drill: Drill, run: Run) -> None:
    """Propose the way back, so that the next drill begins where this one did. It is a drill as well."""
    if drill.back_of_id is not None or run.plan.from_version_id is None:
        return
    try:
        with transaction.atomic():
            plan = undo(run_id=run.pk, user=drill.asked_by, reason=f"Takes drill {drill.pk} back.", actor=WORKER)
            hosts = len(getattr(run, "timed_steps", ()))
            _keep(plan, drill.asked_by, WORKER, timing.predict_for(drill.endpoint, hosts), back_of=drill)
    except (PlanRefused, NoPolicy, PermissionDenied, IntegrityError) as error:
        drill.reason = f"Not taken back: {error}"[:500]
        drill.save(update_fields=["reason"])


@transaction.atomic
def set_schedule(
    *,
    endpoint: Endpoint,
    every_days: int,
    from_hour: int,
    to_hour: int,
    user: User,
    actor: Actor,
    active: bool = True,
) -> DrillSchedule:
    """Have an endpoint in staging drilled every so many days, beginning within these hours (UTC). Who sets it proposes
    the drills, so others approve them. Raises PermissionDenied, DrillRefused."""
    require_on(user, "plan.propose", endpoint)
    _check_place(endpoint)
    if not 1 <= every_days <= MOST_DAYS:
        raise DrillRefused(
            "bad_schedule", gettext("Say every how many days, from 1 to %(most_days)s.") % {"most_days": MOST_DAYS}
        )
    if not 0 <= from_hour < to_hour <= 24:
        raise DrillRefused(
            "bad_schedule", gettext("Say from which hour to which later one of a day, from 0 to 24 (UTC).")
        )
    values = {"every_days": every_days, "from_hour": from_hour, "to_hour": to_hour, "active": active}
    schedule, _ = DrillSchedule.objects.update_or_create(
        endpoint=endpoint, defaults={**values, "set_by": user, "due_at": database_now(), "said": ""}
    )
    record(action="practice.schedule.set", target=Target("endpoint", endpoint.slug), actor=actor, data=values)
    return schedule


def due_schedules(now: datetime.datetime) -> list[int]:
    """Schedules whose drill is due, at an hour at which it may begin."""
    due = DrillSchedule.objects.filter(active=True, due_at__lte=now, from_hour__lte=now.hour, to_hour__gt=now.hour)
    return list(due.values_list("pk", flat=True)[:50])


def fire(schedule_id: Any) -> Drill | None:
    """Propose the drill that is due. None where another call took it, or where it can't be: why is kept with the
    schedule and, when it is something new, on record; it is tried again in an hour."""
    schedule = DrillSchedule.objects.select_related("endpoint__model", "set_by").get(pk=schedule_id)
    now = database_now()
    due = DrillSchedule.objects.filter(pk=schedule_id, active=True, due_at=schedule.due_at, due_at__lte=now)
    try:
        with transaction.atomic():
            if not due.update(due_at=now + datetime.timedelta(days=schedule.every_days), said=""):
                return None
            return ask_drill(
                endpoint=schedule.endpoint,
                version=_next_target(schedule.endpoint),
                user=schedule.set_by,
                actor=WORKER,
                reason=f"Every {schedule.every_days} days.",
                schedule=schedule,
            )
    except (PlanRefused, NoPolicy, PermissionDenied) as error:
        _skip(schedule, str(error), now)
        return None


def _next_target(endpoint: Endpoint) -> Version:
    """What production would be rolled back to; where the endpoint serves that already, what production serves, so that
    the next drill has a way to go."""
    for production in Endpoint.objects.filter(model=endpoint.model, environment=Environment.PRODUCTION):
        found = target_of(production)
        if found.version is None:
            continue
        serves = Placement.objects.filter(endpoint=endpoint, host__drained_at=None).values_list("desired", flat=True)
        if set(serves) != {found.version.pk}:
            return found.version
        if found.live is not None:
            return found.live
    raise DrillRefused(
        "no_target", gettext("No version is known that %(model)s could be rolled back to.") % {"model": endpoint.model}
    )


@transaction.atomic
def _skip(schedule: DrillSchedule, why: str, now: datetime.datetime) -> None:
    said = why[:500]
    DrillSchedule.objects.filter(pk=schedule.pk).update(due_at=now + TRY_AGAIN, said=said)
    if said != schedule.said:
        record(
            action="practice.drill.skip",
            target=Target("endpoint", schedule.endpoint.slug),
            actor=WORKER,
            outcome="denied",
            reason=said,
        )


@transaction.atomic
def set_up_spare(*, endpoint: Endpoint, host: Host, user: User, actor: Actor) -> Endpoint:
    """An endpoint in staging for drills of `endpoint`'s model on a host that serves nothing; a further host joins the
    one that is there. Raises PermissionDenied, DrillRefused."""
    require_on(user, "registry.write", endpoint)
    if (served := Placement.objects.filter(host__address=host.address).select_related("endpoint").first()) is not None:
        raise DrillRefused(
            "not_spare",
            gettext("%(name)s serves %(slug)s. Choose a host that serves nothing.")
            % {"name": host.name, "slug": served.endpoint.slug},
        )
    slug = f"{endpoint.slug}-drills"[:50]
    found = Endpoint.objects.filter(slug=slug, model=endpoint.model, environment=Environment.STAGING).first()
    try:
        if found is None:
            found = register_endpoint(
                slug=slug,
                name=f"{endpoint.name}, drills",
                model=endpoint.model,
                environment=Environment.STAGING,
                watch_seconds=min(60, endpoint.watch_seconds),
                wave_soak_seconds=0,
                undo_seconds=endpoint.undo_seconds,
                actor=actor,
            )
        place(endpoint=found, host=host, actor=actor)
    except RegistryError as error:
        raise DrillRefused("not_spare", str(error)) from error
    return found
