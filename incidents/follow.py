"""What happens on the floor below moves the incident: a run starts, its hosts have switched, it is verified."""

from typing import Any

from django.db import transaction

from audit.actions import Target, record, service_actor
from audit.dispatch import send_on_commit
from incidents import actions
from incidents.errors import IncidentError
from incidents.models import OPEN_STATES, Incident, IncidentState
from incidents.rollback.models import Plan, PlanKind, Run, RunState

FOLLOWER = service_actor("incidents")
BEFORE_MITIGATING = (IncidentState.DETECTED, IncidentState.TRIAGED, IncidentState.MONITORING)


def follow_run(*, run_id: Any) -> None:
    """Bring the incident of a run to where the run is. Says nothing twice; a drill or a release without incident is
    no incident's business."""
    run = Run.objects.select_related("plan").get(pk=run_id)
    incident = Incident.objects.filter(ref=run.plan.incident_ref, state__in=OPEN_STATES).first()
    if incident is None or run.plan.kind != PlanKind.ROLLBACK:
        return
    target = _state_for(run, incident)
    if target is not None and target != incident.state:
        try:
            actions.move(incident=incident, to=target, actor=FOLLOWER)
        except IncidentError:
            # Somebody moved it at the same moment; the run's next change, or the clock, brings us back here.
            return
    else:
        touch(incident)


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
    """A plan of the incident was made, preflighted, approved or made void: whoever looks at the incident sees it."""
    plan = Plan.objects.get(pk=plan_id)
    incident = Incident.objects.filter(ref=plan.incident_ref).first()
    if incident is not None:
        touch(incident)


def touch(incident: Incident) -> None:
    """Grow the ETag, so that open pages load what changed below."""
    from django.db.models import F

    Incident.objects.filter(pk=incident.pk).update(version=F("version") + 1)


def record_ranking(*, incident: Incident, ranked: list[dict[str, Any]]) -> None:
    """Put on record which targets were found, so that the choice can be judged later by what was known."""
    with transaction.atomic():
        touch(incident)
        record(
            action="incident.rank_candidates",
            target=Target("incident", incident.ref),
            actor=FOLLOWER,
            incident=incident.ref,
            data={"candidates": ranked},
        )
        send_on_commit("incidents.publish_status", [incident.pk], queue="intake")
