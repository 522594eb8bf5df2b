"""What a run that is over has left its hosts with, by the approval that was used up for it."""

from incidents.rollback.models import HostStep, PlanKind, Run, RunState, StepState
from registry.models import Host, Version


def left_with(run: Run, host: Host) -> Version | None:
    """What the run's approval covers on a host now that the run is over: its target, what it has gone back to, after a
    stop what the host had by then. None where a stopped rollback did not come to the host: nobody approved that the
    incident's version be brought back, so a person has to say."""
    plan = run.plan
    if run.state == RunState.COMPENSATED:
        return plan.from_version
    if run.state != RunState.STOPPED:
        return plan.to_version
    step = HostStep.objects.filter(run=run, host=host).first()
    if step is not None and has_switched(step):
        return plan.to_version
    return None if plan.kind == PlanKind.ROLLBACK else plan.from_version


def has_switched(step: HostStep) -> bool:
    """The host was read back to have switched, and was not brought back."""
    return StepState.SWITCHED in step.marks and StepState.RESTORED not in step.marks
