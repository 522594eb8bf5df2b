"""A switched run is watched until it is verified."""

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals.models import ApprovalPolicy
from incidents.rollback import undo, watch
from incidents.rollback.models import Run, RunState, Watch, WatchState
from incidents.rollback.run import RunRefused
from registry import store
from registry.models import Alias
from tests.incidents.rollback.fleet import Fleet, events


def without_traffic_questions(fleet: Fleet) -> None:
    """Outside of production nothing is asked about live traffic, and one commander's approval is enough."""
    fleet.approvers = (fleet.commander,)
    fleet.endpoint.environment = "staging"
    fleet.endpoint.save(update_fields=["environment"])


def test_a_run_that_passes_is_verified(fleet: Fleet) -> None:
    without_traffic_questions(fleet)
    run = fleet.finished()

    assert watch.tick(run.pk)

    found = Watch.objects.get(run=run)
    assert (found.state, found.state_reason) == (WatchState.PASSED, "")
    checks = {(c.name, c.host.name if c.host else ""): c.answer for c in run.checks.filter(stage="watch")}
    assert checks == {(name, host): "pass" for name in ("serving", "golden") for host in ("h1", "h2", "h3")}
    assert len(events("rollback.watch.pass")) == 1
    fleet.bad.refresh_from_db()
    assert fleet.bad.quarantined_at is None


def test_a_verified_rollback_in_production_names_the_champion(fleet: Fleet) -> None:
    run = fleet.finished()
    Watch.objects.filter(run=run).update(patience_until=timezone.now())
    watch.tick(run.pk)
    assert Watch.objects.get(run=run).state == WatchState.INCONCLUSIVE
    fleet.bad.refresh_from_db()
    assert fleet.bad.quarantined_at is None

    watch.sign_off(
        run_id=run.pk, user=fleet.commander, passed=True, reason="Looked.", actor=actor_for(user=fleet.commander)
    )

    fleet.bad.refresh_from_db()
    assert fleet.bad.quarantined_at is None
    assert Alias.objects.get(model=fleet.model, name=Alias.CHAMPION).version_id == fleet.good.pk
    assert Watch.objects.get(run=run).signed_off_by == fleet.commander


def test_a_watch_without_enough_traffic_waits_before_it_asks_a_person(fleet: Fleet) -> None:
    run = fleet.finished()

    watch.tick(run.pk)

    found = Watch.objects.get(run=run)
    assert found.state == WatchState.WATCHING
    assert run.checks.get(stage="watch", name="accuracy").answer == "inconclusive"
    assert watch.tick(run.pk) is False


def test_wrong_golden_outputs_under_traffic_fail_the_verification(fleet: Fleet) -> None:
    without_traffic_questions(fleet)
    run = fleet.finished()
    process = fleet.processes[1]
    process.switch("2", fleet.bad.digest, 9, fleet.slug)
    process.unload("1", fleet.slug)
    blob = process.blob((bytes(fleet.good.manifest), {}), "weights")
    before = blob.read_bytes()
    Watch.objects.filter(run=run).update(patience_until=timezone.now())
    try:
        watch.tick(run.pk)
    finally:
        blob.write_bytes(before)

    found = Watch.objects.get(run=run)
    assert found.state == WatchState.INCONCLUSIVE
    assert "h2" in found.state_reason


def test_the_policys_sign_off_is_asked_of_a_person(fleet: Fleet) -> None:
    without_traffic_questions(fleet)
    run = fleet.finished()
    ApprovalPolicy.objects.filter(pk=run.plan.request.policy_id).update(sign_off_required=True)

    watch.tick(run.pk)

    assert Watch.objects.get(run=run).state == WatchState.INCONCLUSIVE
    with pytest.raises(PermissionDenied):
        watch.sign_off(
            run_id=run.pk, user=fleet.viewer, passed=True, reason="Fine.", actor=actor_for(user=fleet.viewer)
        )
    watch.sign_off(
        run_id=run.pk, user=fleet.commander, passed=False, reason="No.", actor=actor_for(user=fleet.commander)
    )
    assert Watch.objects.get(run=run).state == WatchState.FAILED
    with pytest.raises(RunRefused):
        watch.sign_off(
            run_id=run.pk, user=fleet.commander, passed=True, reason="Yes.", actor=actor_for(user=fleet.commander)
        )


def test_the_old_version_leaves_the_hosts_when_the_undo_window_closes(fleet: Fleet) -> None:
    run = fleet.finished()
    assert undo.close_window(run.pk) is False
    assert fleet.processes[0].view(fleet.slug)["versions"]["2"]["state"] == "ready"
    Run.objects.filter(pk=run.pk).update(undo_due_at=timezone.now())

    assert undo.close_window(run.pk)

    states = [process.view(fleet.slug)["versions"]["2"]["state"] for process in fleet.processes]
    assert states == ["staged"] * 3
    assert fleet.serving() == [fleet.good.digest] * 3
    assert undo.close_window(run.pk) is False


def test_a_watch_whose_questions_can_not_be_asked_asks_a_person_in_the_end(fleet: Fleet) -> None:
    without_traffic_questions(fleet)
    run = fleet.finished()
    golden = store.path(fleet.good.golden_id)
    golden.write_bytes(b"damaged")

    watch.tick(run.pk)
    assert Watch.objects.get(run=run).state == WatchState.WATCHING
    Watch.objects.filter(run=run).update(patience_until=timezone.now(), due_at=timezone.now())
    watch.tick(run.pk)

    found = Watch.objects.get(run=run)
    assert found.state == WatchState.INCONCLUSIVE
    assert "ArtifactDamaged" in found.state_reason


def test_the_old_version_stays_warm_while_another_run_is_active(fleet: Fleet) -> None:
    run = fleet.finished()
    other = fleet.started(fleet.bad, kind="release")
    Run.objects.filter(pk=run.pk).update(undo_due_at=timezone.now())

    assert undo.close_window(run.pk) is False

    run.refresh_from_db()
    assert run.undo_due_at is not None
    assert run.undo_due_at > timezone.now()
    assert events("rollback.unload.intent") == []
    assert other.state == RunState.RUNNING
