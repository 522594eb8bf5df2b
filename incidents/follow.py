"""What happens on the floor below moves the incident: a run starts, its hosts have switched, it is verified."""

from typing import Any

from django.db.models import QuerySet

from audit.actions import service_actor
from incidents import actions
from incidents.errors import IncidentError
from incidents.models import OPEN_STATES, Incident, IncidentState
from incidents.rollback.models import PlanKind, Run, RunState

FOLLOWER = service_actor("incidents")
BEFORE_MITIGATING = (IncidentState.DETECTED, IncidentState.TRIAGED, IncidentState.MONITORING)


def follow_run(*, run_id: Any) -> None:
    """Bring the incident of a run to where the run is. Says nothing twice; a drill or a release without incident is
    no incident's business, and a run after which another was started says nothing any more."""
    run = Run.objects.select_related("plan").get(pk=run_id)
    incident = Incident.objects.filter(ref=run.plan.incident_ref, state__in=OPEN_STATES).first()
    if incident is None or run.plan.kind != PlanKind.ROLLBACK:
        return
    if rollbacks_of(incident.ref).filter(started_at__gt=run.started_at).exists():
        return
    target = _state_for(run, incident)
    if target is None or target == incident.state:
        return
    try:
        actions.move(incident=incident, to=target, actor=FOLLOWER)
    except IncidentError:
        # Somebody moved it at the same moment; the run's next change, or the clock, brings us back here.
        return


def rollbacks_of(ref: Any) -> QuerySet[Run]:
    """The rollbacks of the incident of that reference."""
    return Run.objects.filter(plan__incident_ref=ref, plan__kind=PlanKind.ROLLBACK)


def _state_for(run: Run, incident: Incident) -> str | None:
    if run.state in (RunState.RUNNING, RunState.HALTED, RunState.COMPENSATING):
        return IncidentState.MITIGATING if incident.state in BEFORE_MITIGATING else None
    if run.state == RunState.SWITCHED:
        watch = getattr(run, "watch", None)
        if watch is not None and watch.state == "failed":
            return IncidentState.MITIGATING
        return IncidentState.MONITORING
    return None


def follow_plan(*, plan_id: Any) -> None:
    """A plan that has started is followed through its run; what happens to it before is on the page through the log."""
    run = Run.objects.filter(plan_id=plan_id).first()
    if run is not None:
        follow_run(run_id=run.pk)
