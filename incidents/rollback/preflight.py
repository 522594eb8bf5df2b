"""Preflight: everything that can be found out before traffic is touched, on every host; then the plan is submitted."""

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.actions import open_request
from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import NoPolicy, policy_for
from audit.actions import Actor, Target, record, service_actor
from audit.dispatch import send_on_commit
from audit.locks import held
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import (
    STEERING_KINDS,
    CheckAnswer,
    Plan,
    PlanKind,
    PlanState,
    Preflight,
)
from incidents.rollback.plan import PlanRefused, announce, facts, read, void
from incidents.rollback.questions import Found, ask_everything
from incidents.rollback.state import move
from incidents.rollback.terms import steering_title

WORKER = service_actor("rollback")
MAX_ATTEMPTS = 3
LOCK_SPACE = 7301
FAIL = CheckAnswer.FAIL


def run(plan_id: Any) -> bool:
    """Answer every question about a draft plan and, when none fails, ask for the approvals.

    True when this call answered. One worker at a time, by an advisory lock that dies with its holder; the clock asks
    again where it died, three times at most.
    """
    with held(LOCK_SPACE, int(str(plan_id).replace("-", "")[:7], 16)) as alone:
        if not alone:
            return False
        plan = (
            Plan.objects.select_related("endpoint__model", "from_version", "to_version", "proposer")
            .filter(pk=plan_id, state=PlanState.DRAFT, preflight_due_at__isnull=False)
            .first()
        )
        if plan is None:
            return False
        if plan.preflight_attempts >= MAX_ATTEMPTS:
            _give_up(plan)
            return False
        Plan.objects.filter(pk=plan.pk).update(preflight_attempts=F("preflight_attempts") + 1)
        found = ask_everything(plan, read(plan))
        _answer(plan, found)
    return True


def _give_up(plan: Plan) -> None:
    void(plan_id=plan.id, reason="The preflight did not come to an end in three attempts.", actor=WORKER)


def _answer(plan: Plan, found: list[Found]) -> None:
    """Store the answers and, when none fails, put the plan to its approvers."""
    failed = [answer for answer in found if answer.answer == FAIL]
    with transaction.atomic():
        Preflight.objects.filter(plan=plan).delete()
        Preflight.objects.bulk_create(
            Preflight(
                plan=plan,
                host=answer.host,
                name=answer.name,
                question=answer.question[:300],
                answer=answer.answer,
                observed=answer.observed[:300],
                expected=answer.expected[:300],
            )
            for answer in found
        )
        plan.refresh_from_db()
        Plan.objects.filter(pk=plan.pk, state=PlanState.DRAFT).update(preflight_due_at=None, version=F("version") + 1)
        record(
            action="rollback.preflight.answer",
            target=Target("plan", str(plan.id)),
            actor=WORKER,
            incident=plan.incident_ref,
            outcome="failed" if failed else "success",
            data=facts(plan)
            | {"asked": len(found), "failed": [f"{a.name}:{a.host.name if a.host else ''}" for a in failed]},
        )
        announce(plan)
        if not failed and plan.state == PlanState.DRAFT:
            _submit(plan)


def _submit(plan: Plan) -> None:
    """With the answers or not at all: a worker that died in between would leave a plan that nobody is asked about."""
    try:
        submit(plan_id=plan.id, actor=WORKER)
    except (PlanRefused, NoPolicy) as error:
        void(plan_id=plan.id, reason=str(error), actor=WORKER)


def submit(*, plan_id: Any, actor: Actor) -> Plan:
    """Ask for the approvals of a plan whose preflight has passed. Raises PlanRefused."""
    with transaction.atomic():
        plan = (
            Plan.objects.select_for_update(of=("self",))
            .select_related("endpoint__model", "from_version", "to_version", "proposer", "author")
            .get(pk=plan_id)
        )
        if plan.state != PlanState.DRAFT:
            raise PlanRefused(
                "not_draft",
                gettext("The plan can't be submitted: %(state)s.") % {"state": plan.get_state_display().lower()},
            )
        answers = set(plan.preflights.values_list("answer", flat=True))
        if not answers or FAIL in answers or plan.preflight_due_at is not None:
            raise PlanRefused("preflight", gettext("The preflight has not passed. Its answers say what to mend."))
        document = read(plan)
        policy = policy_for(
            subject_kind=plan.kind, risk_tier=plan.endpoint.model.risk_tier, environment=plan.endpoint.environment
        )
        if policy_hash(policy) != document.policy_hash:
            raise PlanRefused("policy_changed", gettext("The approval policy changed since. Propose the plan again."))
        assert plan.proposer is not None
        move(plan, PlanState.PREFLIGHTED)
        request = open_request(
            policy=policy,
            subject_kind=plan.kind,
            subject_ref=str(plan.id),
            subject_hash=plan.plan_hash,
            title=title(plan),
            incident_ref=plan.incident_ref,
            proposer=plan.proposer,
            author=plan.author,
            model=plan.endpoint.model.slug,
            team=plan.endpoint.model.team,
            risk_tier=plan.endpoint.model.risk_tier,
            environment=plan.endpoint.environment,
            actor=actor,
        )
        move(plan, PlanState.AWAITING, request=request)
        announce(plan)
    return plan


def title(plan: Plan) -> str:
    """The plan in a line, for lists and for the approver's page."""
    document = PlanDocument.read(bytes(plan.document))
    if plan.kind in STEERING_KINDS:
        return steering_title(plan.endpoint, document)
    verb = {"rollback": "Roll back", "release": "Release on", "drill": "Drill on"}.get(plan.kind, plan.kind)
    if plan.kind == PlanKind.ROLLBACK and document.outcome != "roll_back":
        verb = {"roll_forward": "Roll forward", "fallback": "Fall back on"}.get(document.outcome, verb)
    before = f" from version {plan.from_version.number}" if plan.from_version else ""
    return f"{verb} {plan.endpoint.slug}{before} to version {plan.to_version.number}"


def again(*, plan_id: Any, actor: Actor) -> Plan:
    """Order the preflight of a draft plan anew (a host is back, a freeze is lifted). Raises PlanRefused."""
    with transaction.atomic():
        plan = Plan.objects.select_related("endpoint", "from_version", "to_version").get(pk=plan_id)
        ordered = Plan.objects.filter(pk=plan_id, state=PlanState.DRAFT).update(
            preflight_due_at=Now(), preflight_attempts=0, version=F("version") + 1
        )
        if not ordered:
            raise PlanRefused(
                "not_draft",
                gettext("Only a draft is preflighted; this is %(state)s.")
                % {"state": plan.get_state_display().lower()},
            )
        record(
            action="rollback.preflight.order",
            target=Target("plan", str(plan.id)),
            actor=actor,
            incident=plan.incident_ref,
            data=facts(plan),
        )
        send_on_commit("rollback.preflight", [str(plan.id)], queue="rollback")
    return plan
