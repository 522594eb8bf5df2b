"""Starting checks everything again in one transaction; a refusal is on record and touches nothing."""

import datetime
import threading
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.utils import timezone

from accounts.actions import actor_for, end_role
from incidents.rollback import decided, due
from incidents.rollback.models import Plan, PlanState, Run
from incidents.rollback.run import StartRefused, start
from registry.actions import freeze, quarantine
from registry.models import Endpoint, Host, Placement
from registry.snapshots.models import Reason, Snapshot
from tests.incidents.rollback.fleet import SETUP, Fleet, events


def try_start(fleet: Fleet, plan: Plan) -> str:
    with pytest.raises(StartRefused) as refused:
        start(plan_id=plan.pk, user=fleet.commander, actor=actor_for(user=fleet.commander))
    return refused.value.code


def nothing_happened(fleet: Fleet) -> bool:
    fleet.endpoint.refresh_from_db()
    return not Run.objects.exists() and fleet.serving() == [fleet.bad.digest] * 3 and fleet.defaults_set() == [1, 1, 1]


def test_the_last_approval_starts_the_plan_under_a_new_fence(fleet: Fleet) -> None:
    run = fleet.started()

    run.plan.refresh_from_db()
    assert (run.fence, run.plan.state, run.plan.request.state) == (2, PlanState.STARTED, "consumed")
    [event] = events("rollback.run.start")
    assert event["data"]["plan_hash"] == run.plan.plan_hash
    assert (event["data"]["required"], len(event["data"]["approvals"])) == (2, 2)
    assert event["data"]["hosts"] == ["h1", "h2", "h3"]


def test_a_run_starts_with_a_snapshot_of_what_was_before_it(fleet: Fleet) -> None:
    run = fleet.started()

    [snapshot] = Snapshot.objects.all()
    assert (snapshot.reason, snapshot.change_ref) == (Reason.BEFORE_CHANGE, str(run.plan_id))
    assert snapshot.content["default"] == {"number": fleet.bad.number, "digest": fleet.bad.digest}
    assert [event["data"]["change"] for event in events("snapshot.take")] == [str(run.plan_id)]


def test_abuse_8_without_enough_approvals_nothing_starts(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan, fleet.approver)
    decided.request_decided(plan.request_id)

    assert try_start(fleet, plan) == "not_enough"
    assert nothing_happened(fleet)
    assert not Snapshot.objects.exists()
    assert [e["data"]["refused"] for e in events("rollback.run.start", outcome="denied")] == ["not_enough"]


def test_abuse_6_a_plan_that_was_changed_after_its_approval_does_not_start(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    Plan.objects.filter(pk=plan.pk).update(document=bytes(plan.document).replace(b'"h3"', b'"h4"'))

    assert try_start(fleet, plan) == "hash_mismatch"
    assert nothing_happened(fleet)


@pytest.mark.parametrize("case", ["frozen", "quarantined", "fleet_changed", "other_digest", "expired", "role_lost"])
def test_what_changed_since_the_approval_stops_the_start(fleet: Fleet, case: str) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    if case == "frozen":
        until = timezone.now() + datetime.timedelta(hours=1)
        freeze(endpoint=fleet.endpoint, until=until, reason="Migration.", actor=SETUP)
    elif case == "quarantined":
        quarantine(version=fleet.good, reason="Found wrong.", actor=SETUP)
    elif case == "fleet_changed":
        Host.objects.filter(name="h2").update(address="http://127.0.0.1:9")
    elif case == "other_digest":
        Placement.objects.filter(host__name="h2").update(
            observed_digest="0" * 64, health="wrong_version", observed_at=timezone.now()
        )
    elif case == "expired":
        Plan.objects.filter(pk=plan.pk).update(expires_at=timezone.now())
    else:
        end_role(user=fleet.approver, role="approver", actor=SETUP)

    code = try_start(fleet, plan)

    assert code == {"other_digest": "fleet_changed", "role_lost": "not_enough"}.get(case, case)
    assert not Run.objects.exists()
    assert fleet.serving() == [fleet.bad.digest] * 3
    plan.request.refresh_from_db()
    assert plan.request.state != "consumed"


def test_a_request_whose_approver_lost_the_role_asks_again_instead_of_being_refused_for_ever(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    end_role(user=fleet.approver, role="approver", actor=SETUP)
    assert due.approved(timezone.now()) == [plan.request_id]

    decided.request_decided(plan.request_id)

    plan.refresh_from_db()
    assert (plan.state, plan.request.state) == (PlanState.AWAITING, "open")
    assert due.approved(timezone.now()) == []
    assert events("approval.reopen")[0]["data"]["open"] == ["approver"]
    assert nothing_happened(fleet)


def test_an_approved_plan_of_a_frozen_endpoint_waits_without_being_refused_again_and_again(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    until = timezone.now() + datetime.timedelta(hours=1)
    freeze(endpoint=fleet.endpoint, until=until, reason="Migration.", actor=SETUP)

    assert due.approved(timezone.now()) == []
    assert due.approved(until + datetime.timedelta(seconds=1)) == [plan.request_id]


def test_a_revoked_approval_no_longer_counts(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    fleet.decide(plan, fleet.approver, "revoke")

    assert try_start(fleet, plan) == "not_enough"
    assert nothing_happened(fleet)


def test_a_denied_plan_is_void(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.decide(plan, fleet.approver, "deny", "Not on a Friday.")
    decided.request_decided(plan.request_id)

    plan.refresh_from_db()
    assert plan.state == PlanState.VOID
    assert try_start(fleet, plan) == "not_awaiting"
    assert nothing_happened(fleet)


def test_one_may_not_start_without_the_permission(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)

    with pytest.raises(PermissionDenied):
        start(plan_id=plan.pk, user=fleet.responder, actor=actor_for(user=fleet.responder))
    assert nothing_happened(fleet)


def in_parallel(calls: list[Callable[[], object]]) -> list[object]:
    """Run all at once, each with a database connection of its own; what each returned or raised."""
    results: list[object] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(index: int) -> None:
        try:
            barrier.wait()
            results[index] = calls[index]()
        except Exception as error:
            results[index] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[index]) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_of_eight_starts_at_once_one_wins(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    fleet.approve(plan)
    actor = actor_for(user=fleet.commander)

    results = in_parallel([lambda: start(plan_id=plan.pk, user=None, actor=actor)] * 8)

    codes = sorted(result.code if isinstance(result, StartRefused) else "started" for result in results)
    assert codes == ["already_started"] * 7 + ["started"]
    assert Run.objects.count() == 1
    assert Endpoint.objects.get(pk=fleet.endpoint.pk).fence == 2


def test_a_second_plan_waits_until_the_first_run_has_ended(fleet: Fleet) -> None:
    second = fleet.awaiting()
    fleet.approve(second)
    fleet.started()

    assert try_start(fleet, second) == "active_run"
    assert Run.objects.count() == 1
