"""A plan that one person started without its approvals runs once, and the verifier asks for the break-glass instead."""

import json

from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals.break_glass import break_glass
from accounts.approvals.evidence import show
from audit.models import AuditEvent
from audit.verify import Meaning, act_of
from incidents.rollback import decided, due
from incidents.rollback.models import PlanState, Run
from tests.incidents.rollback.fleet import Fleet, events


def test_breaking_glass_starts_the_plan_and_the_record_of_it_verifies(fleet: Fleet) -> None:
    plan = fleet.awaiting(start_on_approval=False)
    assert plan.request is not None
    assert due.approved(timezone.now()) == []
    break_glass(
        request_id=plan.request_id,
        user=fleet.commander,
        subject_hash=plan.plan_hash,
        evidence=show(plan.request, fleet.commander)[0],
        reason="Loans are refused wrongly, and nobody else answers.",
        auth_time=timezone.now(),
        actor=actor_for(user=fleet.commander),
    )
    assert due.approved(timezone.now()) == [plan.request_id]

    decided.request_decided(plan.request_id)
    decided.request_decided(plan.request_id)

    run = Run.objects.get()
    plan.refresh_from_db()
    assert (plan.state, plan.request.state, run.started_by) == (PlanState.STARTED, "consumed", fleet.commander)
    [start] = events("rollback.run.start")
    assert (start["data"]["break_glass"], start["data"]["approvals"]) == (True, [])
    assert events("approval.consume") == []
    leaves = [json.loads(bytes(row.canon)) for row in AuditEvent.objects.order_by("pk")]
    meaning = Meaning(act_of(index, leaf) for index, leaf in enumerate(leaves))
    assert list(meaning.problems()) == []
    assert any("is not reviewed yet" in fact for fact in meaning.facts)
    without = [leaf for leaf in leaves if leaf["action"] != "approval.break_glass"]
    assert list(Meaning(act_of(index, leaf) for index, leaf in enumerate(without)).problems())
