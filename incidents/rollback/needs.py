"""What plans, runs, undo windows and trials need: none of it is removed from the artifact store."""

from django.db.models import Q

from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    OPEN_TRIALS,
    Plan,
    PlanState,
    Run,
    Trial,
    TrialLoad,
    WatchState,
)
from registry.snapshots.needs import Needs

OPEN_PLANS = [PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING]


def add_needs(found: Needs) -> None:
    """Adds the versions of open plans, of runs under way, watched or to be undone, and of trials."""
    for plan in Plan.objects.filter(state__in=OPEN_PLANS):
        _add(found, plan, "an open plan")
    busy = Q(state__in=ACTIVE_RUN_STATES) | Q(undo_due_at__isnull=False) | Q(watch__state=WatchState.WATCHING)
    for run in Run.objects.filter(busy | Q(watch__state=WatchState.INCONCLUSIVE)).select_related("plan"):
        _add(found, run.plan, "a run under way, watched, or to be undone")
    for trial in Trial.objects.filter(state__in=OPEN_TRIALS).select_related("endpoint"):
        found.model(trial.endpoint.model_id, "a trial under way")
    for key in TrialLoad.objects.filter(left_at=None).values_list("version", flat=True):
        found.version(key, "a trial has it in a host's memory")


def _add(found: Needs, plan: Plan, why: str) -> None:
    for key in (plan.from_version_id, plan.to_version_id):
        found.version(key, f"{why} names it")
