"""What follows from an approval request that was decided, expired or objected to."""

from typing import Any

from django.core.exceptions import ObjectDoesNotExist

from accounts.approvals import automatic
from accounts.approvals.actions import LIVE, expire, reopen
from accounts.approvals.break_glass import stands
from accounts.approvals.models import ApprovalRequest, RequestState
from accounts.approvals.queries import objections
from audit.actions import service_actor
from audit.clock import database_now
from audit.english import in_english
from incidents.rollback.models import Plan, PlanState, Run, RunState
from incidents.rollback.moved import moved
from incidents.rollback.plan import void
from incidents.rollback.run import StartRefused, halt, start
from incidents.rollback.state import LostRace

WORKER = service_actor("rollback")
OBJECTED = "An approver denied it or took an approval back while it ran."


def request_decided(request_id: Any) -> None:
    """Start the plan whose last seat was filled; void the one that was denied, or whose fleet is no longer the one that
    it names; halt the run that is objected to."""
    request = ApprovalRequest.objects.get(pk=request_id)
    plans = Plan.objects.filter(request=request).exclude(kind="converge")
    plan = plans.select_related("endpoint", "to_version").first()
    if plan is None:
        return
    if plan.state == PlanState.AWAITING and request.state in LIVE and (differences := moved(plan)):
        reason = f"The fleet changed since the plan was made: {'; '.join(differences)}."
        void(plan_id=plan.id, reason=reason, moved=differences, actor=WORKER)
    elif plan.state == PlanState.AWAITING and _may_start(plan, request):
        _start(plan)
    elif request.state in (RequestState.DENIED, RequestState.EXPIRED, RequestState.WITHDRAWN):
        void(
            plan_id=plan.id,
            reason=f"Its approval request was {in_english(request.get_state_display).lower()}.",
            actor=WORKER,
        )
    elif request.state == RequestState.CONSUMED and objections(request).exists():
        _halt(plan)


def _may_start(plan: Plan, request: ApprovalRequest) -> bool:
    approved = request.state == RequestState.APPROVED and plan.start_on_approval
    return approved or stands(request) is not None or automatic.stands(request) is not None


def expire_plan(plan_id: Any) -> None:
    """Void a plan whose own time, or that of its approval request, has run out, and close the request."""
    plan = Plan.objects.select_related("request").get(pk=plan_id)
    if plan.request is not None and expire(request_id=plan.request_id, actor=WORKER):
        return
    if plan.expires_at <= database_now():
        void(plan_id=plan_id, reason="Its time ran out before it was started.", actor=WORKER)


def _start(plan: Plan) -> None:
    """A refusal is on record; another worker, or a person, may have been quicker."""
    try:
        start(plan_id=plan.id, user=None, actor=WORKER)
    except StartRefused as refused:
        if refused.code in ("fleet_changed", "hash_mismatch", "quarantined", "expired"):
            void(plan_id=plan.id, reason=refused.sentence, actor=WORKER)
        elif refused.code == "not_enough":
            reopen(request_id=plan.request_id, actor=WORKER)


def _halt(plan: Plan) -> None:
    try:
        run = Run.objects.select_related("plan").get(plan=plan, state=RunState.RUNNING)
    except ObjectDoesNotExist:
        return
    try:
        halt(run=run, code="objection", sentence=OBJECTED, actor=WORKER)
    except LostRace:
        request_decided(plan.request_id)
