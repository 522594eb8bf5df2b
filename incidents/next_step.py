"""Whose turn is it? The one step that moves an incident on."""

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from accounts.permissions import may_on, roles_with
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
    return NextStep("", step.sentence, step.permission, _("This is for the %(who)s.") % {"who": who}, step.until)


def _step(now: Situation) -> NextStep:
    state = now.incident.state
    if state == IncidentState.RESOLVED:
        return NextStep("review", _("It is over. Write down what was learned."), "incident.respond")
    if state == IncidentState.REVIEWED:
        return NextStep("close", _("It is reviewed. Close it when its action items have owners."), "incident.command")
    if state == IncidentState.CLOSED:
        return NextStep("", _("It is closed."))
    if now.incident.acknowledged_at is None:
        return NextStep("acknowledge", _("Nobody has it yet. Say that you have it."), "incident.respond")
    if now.run is not None:
        return _step_of_run(now)
    if state == IncidentState.DETECTED:
        return NextStep("triage", _("Say how bad it is and what you think it is."), "incident.respond")
    return _step_of_plan(now)


def _step_of_run(now: Situation) -> NextStep:
    run, watch = now.run, now.watch
    if run.state == RunState.RUNNING:
        return NextStep(
            "", _("The rollback is running. Nothing to do but watch it; anybody allowed may stop it below.")
        )
    if run.state == RunState.COMPENSATING:
        return NextStep("", _("The hosts go back to what they served. Watch it below."))
    if run.state == RunState.HALTED:
        return NextStep(
            "",
            _("The run has halted and waits for you below: %(state_reason)s") % {"state_reason": run.state_reason},
            "plan.start",
        )
    if run.state != RunState.SWITCHED:
        return NextStep(
            "propose",
            _("The run ended: %(state)s. Propose another plan.") % {"state": run.get_state_display().lower()},
        )
    if watch is None:
        return NextStep("", _("All hosts have switched. Its verification begins now."))
    if watch.state == WatchState.WATCHING:
        return NextStep("", _("All hosts have switched. It is being verified under live traffic."), until=watch.until)
    if watch.state == WatchState.PASSED:
        return NextStep("resolve", _("The rollback is verified. Resolve the incident."), "incident.command")
    if watch.state == WatchState.INCONCLUSIVE:
        return NextStep(
            "", _("The verification could not decide. Sign it off or judge it failed below."), "incident.command"
        )
    return NextStep(
        "propose",
        _("The verification failed: %(state_reason)s Propose another plan.") % {"state_reason": watch.state_reason},
        "plan.propose",
    )


def _step_of_plan(now: Situation) -> NextStep:
    plan = now.plan
    if plan is None:
        best = best_candidate(now.candidates)
        if best is not None:
            return NextStep(
                "propose",
                _("Propose a plan: %(to_version)s is ranked first.") % {"to_version": best.to_version},
                "plan.propose",
            )
        if not now.candidates:
            return NextStep("", _("Versions to go back to are being tried on the incident's own traffic."))
        return NextStep("", _("No version can be gone back to; see why below. Choose another option."))
    if plan.state in (PlanState.DRAFT, PlanState.PREFLIGHTED):
        failed = any(check.answer == CheckAnswer.FAIL for check in plan.preflights.all())
        if failed:
            return NextStep("", _("The preflight found something wrong. Read it in the plan."), "plan.propose")
        return NextStep("", _("Every host is being asked whether the plan can work. Traffic is not touched."))
    if plan.state == PlanState.AWAITING and now.standing is not None:
        return _step_of_approval(now)
    return NextStep("", _("The plan starts now."))


def _step_of_approval(now: Situation) -> NextStep:
    standing, total = now.standing, len(now.standing.seats)
    if standing.denied is not None:
        return NextStep("propose", _("The plan was denied. Propose another, or talk to who denied it."), "plan.propose")
    if standing.complete:
        return NextStep("approve", _("All approvals are there. The plan starts."))
    missing = total - standing.approvals
    more = ngettext(
        "The plan waits for %(more)s more approval of %(total)s.",
        "The plan waits for %(more)s more approvals of %(total)s.",
        missing,
    )
    return NextStep(
        "approve",
        more % {"more": _("one") if missing == 1 else missing, "total": total},
        until=standing.expires_at,
    )
