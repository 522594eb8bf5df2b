"""The end of the undo window: the version that was left may leave the hosts' memory."""

import datetime
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from incidents.rollback import fleet
from incidents.rollback.models import ACTIVE_RUN_STATES, Run, StepState
from registry.models import Placement
from registry.serving.base import ServingError

WORKER = service_actor("rollback")
LATER = datetime.timedelta(minutes=1)


def close_window(run_id: Any) -> bool:
    """Unload the old version from the run's hosts, where nothing wants it any more. True when this call did it.

    While another run of the endpoint is active, it waits. The window is closed by compare-and-set before any host is
    called; a host that can't be reached keeps the version in memory, which costs memory and nothing else.
    """
    due = Run.objects.filter(pk=run_id, undo_due_at__lte=Now())
    endpoint = Run.objects.values("endpoint").filter(pk=run_id)
    if Run.objects.filter(endpoint__in=endpoint, state__in=ACTIVE_RUN_STATES).exists():
        due.update(undo_due_at=Now() + LATER)
        return False
    closed = due.update(undo_due_at=None, version=F("version") + 1)
    if not closed:
        return False
    run = Run.objects.select_related("plan__from_version", "endpoint__model").get(pk=run_id)
    origin = run.plan.from_version
    wanted = Placement.objects.filter(endpoint=run.endpoint, desired=origin).exists()
    if origin is None or wanted:
        return False
    for step in run.steps.filter(state=StepState.DONE).select_related("host"):
        data = {"run": str(run.id), "host": step.host.name, "step": "unload", "version": origin.digest}
        target = Target("host", step.host.name)
        try:
            remote = fleet.reach(step.host, run.endpoint)
            if not fleet.is_loaded(remote.look(), origin, read_back=False):
                continue
            record(
                action="rollback.unload.intent",
                target=target,
                actor=WORKER,
                incident=run.plan.incident_ref,
                outcome="intent",
                data=data,
            )
            remote.unload(origin)
        except ServingError as error:
            outcome, reason = "failed", str(error)
        else:
            outcome, reason = "success", ""
        record(
            action="rollback.unload.outcome",
            target=target,
            actor=WORKER,
            incident=run.plan.incident_ref,
            outcome=outcome,
            reason=reason,
            data=data,
        )
    return True
