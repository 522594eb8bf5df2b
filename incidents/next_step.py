"""Whose turn is it? The one step that moves an incident on."""

from dataclasses import dataclass
from datetime import datetime

from accounts.models import User
from accounts.permissions import may_on, roles_with
from audit.english import in_english
from incidents.diagnosis import best_candidate
from incidents.models import IncidentState
from incidents.queries import Situation
from incidents.rollback.models import CheckAnswer, PlanState, RunState, WatchState


@dataclass(frozen=True)
class NextStep:
    """`kind` says which form stands beside the sentence: acknowledge, triage, propose, approve, resolve, review, close,
    or "" where there is nothing to press. `why` is set where the reader may not."""

    kind: str
    sentence: str
    permission: str = ""
    why: str = ""
    until: datetime | None = None


def next_step(now: Situation, user: User) -> NextStep:
    """The step for this reader: what to press, or who must."""
    step = _step(now)
    if not step.permission or may_on(user, step.permission, now.incident):
        return step
    who = " or ".join(role.lower() for role in roles_with(step.permission))
    return NextStep("", step.sentence, step.permission, f"This is for the {who}.", step.until)


def _step(now: Situation) -> NextStep:
    state = now.incident.state
    if state == IncidentState.RESOLVED:
        return NextStep("review", "It is over. Write down what was learned.", "incident.respond")
    if state == IncidentState.REVIEWED:
        return NextStep("close", "It is reviewed. Close it when its action items have owners.", "incident.command")
    if state == IncidentState.CLOSED:
        return NextStep("", "It is closed.")
    if now.incident.acknowledged_at is None:
        return NextStep("acknowledge", "Nobody has it yet. Say that you have it.", "incident.respond")
    if now.run is not None:
        return _step_of_run(now)
    if state == IncidentState.DETECTED:
        return NextStep("triage", "Say how bad it is and what you think it is.", "incident.respond")
    return _step_of_plan(now)


def _step_of_run(now: Situation) -> NextStep:
    run, watch = now.run, now.watch
    if run.state == RunState.RUNNING:
        return NextStep("", "The rollback is running. Nothing to do but watch it; anybody allowed may stop it below.")
    if run.state == RunState.COMPENSATING:
        return NextStep("", "The hosts go back to what they served. Watch it below.")
    if run.state == RunState.HALTED:
        return NextStep("", f"The run has halted and waits for you below: {run.state_reason}", "plan.start")
    if run.state != RunState.SWITCHED:
        return NextStep("propose", f"The run ended: {in_english(run.get_state_display).lower()}. Propose another plan.")
    if watch is None:
        return NextStep("", "All hosts have switched. Its verification begins now.")
    if watch.state == WatchState.WATCHING:
        return NextStep("", "All hosts have switched. It is being verified under live traffic.", until=watch.until)
    if watch.state == WatchState.PASSED:
        return NextStep("resolve", "The rollback is verified. Resolve the incident.", "incident.command")
    if watch.state == WatchState.INCONCLUSIVE:
        return NextStep(
            "", "The verification could not decide. Sign it off or judge it failed below.", "incident.command"
        )
    return NextStep("propose", f"The verification failed: {watch.state_reason} Propose another plan.", "plan.propose")


def _step_of_plan(now: Situation) -> NextStep:
    plan = now.plan
    if plan is None:
        best = best_candidate(now.candidates)
        if best is not None:
            return NextStep("propose", f"Propose a plan: {best.to_version} is ranked first.", "plan.propose")
        if not now.candidates:
            return NextStep("", "Versions to go back to are being tried on the incident's own traffic.")
        return NextStep("", "No version can be gone back to; see why below. Choose another option.")
    if plan.state in (PlanState.DRAFT, PlanState.PREFLIGHTED):
        failed = any(check.answer == CheckAnswer.FAIL for check in plan.preflights.all())
        if failed:
            return NextStep("", "The preflight found something wrong. Read it in the plan.", "plan.propose")
        return NextStep("", "Every host is being asked whether the plan can work. Traffic is not touched.")
    if plan.state == PlanState.AWAITING and now.standing is not None:
        return _step_of_approval(now)
    return NextStep("", "The plan starts now.")


def _step_of_approval(now: Situation) -> NextStep:
    standing, total = now.standing, len(now.standing.seats)
    if standing.denied is not None:
        return NextStep("propose", "The plan was denied. Propose another, or talk to who denied it.", "plan.propose")
    if standing.complete:
        return NextStep("approve", "All approvals are there. The plan starts.")
    missing = total - standing.approvals
    more = "one more approval" if missing == 1 else f"{missing} more approvals"
    return NextStep("approve", f"The plan waits for {more} of {total}.", until=standing.expires_at)
