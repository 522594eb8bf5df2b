"""The undo window of a run: within it a person has it undone by one click, for the version that was left is still warm,
or warm again where the engine drops it at the switch (incidents.rollback.kept). At its end that version may leave the
hosts' memory, and is quarantined if the run was a verified rollback."""

import datetime
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.queries import NoPolicy
from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from incidents.rollback import fleet
from incidents.rollback.alone import once_alone
from incidents.rollback.lease import lease_length
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    ASIDE_KINDS,
    HostStep,
    Plan,
    PlanKind,
    PlanState,
    Run,
    RunState,
    StepState,
    Watch,
    WatchState,
)
from incidents.rollback.plan import PlanRefused, propose
from incidents.rollback.state import LostRace, change
from registry.actions import quarantine
from registry.models import Endpoint, Placement, Version
from registry.serving.base import ServingError

WORKER = service_actor("rollback")
LATER = datetime.timedelta(minutes=1)
CLAIM_LEASES = 4
UNDONE_BY: dict[str, PlanKind] = {
    PlanKind.ROLLBACK: PlanKind.RELEASE,
    PlanKind.RELEASE: PlanKind.ROLLBACK,
    PlanKind.DRILL: PlanKind.DRILL,
}
"""Kind of a run -> kind of the plan that undoes it, whose policy says who approves. To undo a rollback is to release
again what it left, so it goes back by itself where that fails."""
OPEN_PLANS = (PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING)


class UndoRefused(PlanRefused):
    """The run can't be undone by a click; nothing was proposed. The sentence says what to do instead."""


def undo(*, run_id: Any, user: User, reason: str, actor: Actor) -> Plan:
    """Propose to bring the hosts of a switched run back to the version that they left, which is still warm there.

    The plan is one like any other: preflighted, approved by the policy of its kind, started by its last approval.
    Raises PermissionDenied, UndoRefused (codes reason_needed, not_switched, window_closed, moved_on, undone, no_policy)
    and PlanRefused as `propose` does.
    """
    related = ("plan__from_version", "plan__to_version", "endpoint__model")
    run = Run.objects.select_related(*related).get(pk=run_id)
    require(user, "plan.propose", model=run.endpoint.model.slug, team=run.endpoint.model.team)
    if not reason.strip():
        raise UndoRefused("reason_needed", gettext("Say in a sentence why; it goes on record."))
    if refused := why_not_undone(run):
        raise refused
    assert run.plan.from_version is not None
    try:
        return propose(
            kind=UNDONE_BY[run.plan.kind],
            endpoint=run.endpoint,
            to_version=run.plan.from_version,
            reason=f"Undoes run {run.pk}. {reason}",
            user=user,
            actor=actor,
            incident_ref=run.plan.incident_ref,
        )
    except NoPolicy as error:
        raise UndoRefused("no_policy", str(error)) from error


def why_not_undone(run: Run) -> UndoRefused | None:
    """What speaks against undoing a run by a click now. None when nothing does."""
    origin = run.plan.from_version
    if run.state != RunState.SWITCHED or origin is None or run.plan.kind not in UNDONE_BY:
        return UndoRefused(
            "not_switched", gettext("Only a run that has switched its hosts from another version can be undone.")
        )
    if run.undo_due_at is None or run.undo_due_at <= database_now():
        return UndoRefused(
            "window_closed",
            gettext("The undo window has closed, so version %(origin)s need not be warm. Propose a plan to go there.")
            % {"origin": origin.number},
        )
    later = Run.objects.filter(endpoint=run.endpoint, started_at__gt=run.started_at)
    if later.exclude(plan__kind__in=ASIDE_KINDS).exists():
        return UndoRefused("moved_on", gettext("Another run has changed these hosts since. Look at that one."))
    waiting = Plan.objects.filter(endpoint=run.endpoint, to_version=origin, state__in=OPEN_PLANS)
    if waiting.filter(created_at__gt=run.started_at).exists():
        return UndoRefused(
            "undone",
            gettext("A plan back to version %(origin)s waits for its approvals already.") % {"origin": origin.number},
        )
    return None


def quarantine_what_was_left(run_id: Any, actor: Actor) -> bool:
    """Quarantine the version that a verified rollback in production left, once its undo window has closed. True when
    this call did it.

    Called from both ends, the watch's and the window's, by whoever holds the run's row: the later one finds the other.
    """
    run = Run.objects.select_related("plan__from_version", "endpoint").get(pk=run_id)
    origin = run.plan.from_version
    verified = Watch.objects.filter(run=run, state=WatchState.PASSED).exists()
    if origin is None or run.undo_due_at is not None or not verified or origin.quarantined_at is not None:
        return False
    if run.plan.kind != PlanKind.ROLLBACK or run.endpoint.environment != "production":
        return False
    if Placement.objects.filter(endpoint=run.endpoint, desired=origin).exists():
        return False
    why = f"Rolled back from on {run.endpoint.slug}"
    why += f" in {run.plan.incident_ref}." if run.plan.incident_ref else "."
    return quarantine(version=origin, reason=why, actor=actor)


def close_window(run_id: Any) -> bool:
    """Unload the old version from the run's hosts, where nothing wants it any more. True when this call did it.

    While another run of the endpoint is active, it waits. Claimed by compare-and-set for some leases, after which
    another worker goes on where this one died; a host that can't be reached keeps the version in memory, which costs
    memory and nothing else.
    """
    if not _claimed(run_id):
        return False
    run = Run.objects.select_related("plan__from_version", "endpoint__model").get(pk=run_id)
    origin = run.plan.from_version
    kept = origin is None or origin.pk == run.endpoint.fallback_id
    wanted = kept or Placement.objects.filter(endpoint=run.endpoint, desired=origin).exists()
    if origin is not None:
        for step in run.steps.filter(state=StepState.DONE).select_related("host"):
            with suppress(LostRace):  # another worker took over meanwhile
                if not _unload(run, step, origin, wanted=wanted):
                    Run.objects.filter(pk=run_id).update(undo_due_at=Now() + LATER)
                    return False
    with transaction.atomic():
        Run.objects.filter(pk=run_id).update(undo_due_at=None, version=F("version") + 1)
        quarantine_what_was_left(run_id, WORKER)
    return not wanted


def _claimed(run_id: Any) -> bool:
    """Under the lock that a run's start takes: no run of the endpoint is active, and none becomes so meanwhile."""
    with transaction.atomic():
        due = Run.objects.filter(pk=run_id, undo_due_at__lte=Now())
        if _is_busy(Run.objects.values_list("endpoint_id", flat=True).get(pk=run_id)):
            due.update(undo_due_at=Now() + LATER)
            return False
        return bool(due.update(undo_due_at=Now() + CLAIM_LEASES * lease_length()))


def _is_busy(endpoint_id: int) -> bool:
    """Lock the endpoint, so that no run starts before the caller's transaction ends. True while one is active."""
    Endpoint.objects.select_for_update().get(pk=endpoint_id)
    return Run.objects.filter(endpoint=endpoint_id, state__in=ACTIVE_RUN_STATES).exists()


def _unload(run: Run, step: HostStep, origin: Version, *, wanted: bool) -> bool:
    """Intent, call, outcome; where an earlier worker died in between, the outcome is what is read back. False when a
    run has been started meanwhile, which may need the version where it is."""
    outcome, reason = "success", ""
    try:
        remote = fleet.reach(step.host, run.endpoint)
        loaded = fleet.is_loaded(remote.look(), origin, read_back=False)
        if loaded and not wanted:
            with once_alone(remote, "unload"):
                with transaction.atomic():
                    if _is_busy(run.endpoint_id):
                        return False
                    _put(run, step, origin, "unload", "rollback.unload.intent", "intent", "")
                remote.unload(origin)
        elif step.intent != "unload":
            return True
        elif loaded:
            outcome, reason = "failed", "It is wanted again, so it stays in memory."
    except ServingError as error:
        if wanted and step.intent != "unload":
            return True
        outcome, reason = "failed", str(error)
    _put(run, step, origin, "", "rollback.unload.outcome", outcome, reason)
    return True


def _put(run: Run, step: HostStep, origin: Version, intent: str, action: str, outcome: str, reason: str) -> None:
    with transaction.atomic():
        change(step, intent=intent)
        record(
            action=action,
            target=Target("host", step.host.name),
            actor=WORKER,
            incident=run.plan.incident_ref,
            outcome=outcome,
            reason=reason,
            data={"run": str(run.id), "host": step.host.name, "step": "unload", "version": origin.digest},
        )
