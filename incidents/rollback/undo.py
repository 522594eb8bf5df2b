"""The end of the undo window: the version that was left may leave the hosts' memory."""

import datetime
from contextlib import suppress
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from incidents.rollback import fleet
from incidents.rollback.lease import lease_length
from incidents.rollback.models import ACTIVE_RUN_STATES, HostStep, Run, StepState
from incidents.rollback.state import LostRace, change
from registry.models import Placement, Version
from registry.serving.base import ServingError

WORKER = service_actor("rollback")
LATER = datetime.timedelta(minutes=1)
CLAIM_LEASES = 4


def close_window(run_id: Any) -> bool:
    """Unload the old version from the run's hosts, where nothing wants it any more. True when this call did it.

    While another run of the endpoint is active, it waits. Claimed by compare-and-set for some leases, after which
    another worker goes on where this one died; a host that can't be reached keeps the version in memory, which costs
    memory and nothing else.
    """
    due = Run.objects.filter(pk=run_id, undo_due_at__lte=Now())
    endpoint = Run.objects.values("endpoint").filter(pk=run_id)
    if Run.objects.filter(endpoint__in=endpoint, state__in=ACTIVE_RUN_STATES).exists():
        due.update(undo_due_at=Now() + LATER)
        return False
    if not due.update(undo_due_at=Now() + CLAIM_LEASES * lease_length()):
        return False
    run = Run.objects.select_related("plan__from_version", "endpoint__model").get(pk=run_id)
    origin = run.plan.from_version
    wanted = origin is None or Placement.objects.filter(endpoint=run.endpoint, desired=origin).exists()
    if origin is not None:
        for step in run.steps.filter(state=StepState.DONE).select_related("host"):
            with suppress(LostRace):  # another worker took over meanwhile
                _unload(run, step, origin, wanted=wanted)
    Run.objects.filter(pk=run_id).update(undo_due_at=None, version=F("version") + 1)
    return not wanted


def _unload(run: Run, step: HostStep, origin: Version, *, wanted: bool) -> None:
    """Intent, call, outcome; where an earlier worker died in between, the outcome is what is read back."""
    outcome, reason = "success", ""
    try:
        remote = fleet.reach(step.host, run.endpoint)
        loaded = fleet.is_loaded(remote.look(), origin, read_back=False)
        if loaded and not wanted:
            _put(run, step, origin, "unload", "rollback.unload.intent", "intent", "")
            remote.unload(origin)
        elif step.intent != "unload":
            return
        elif loaded:
            outcome, reason = "failed", "It is wanted again, so it stays in memory."
    except ServingError as error:
        if wanted and step.intent != "unload":
            return
        outcome, reason = "failed", str(error)
    _put(run, step, origin, "", "rollback.unload.outcome", outcome, reason)


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
