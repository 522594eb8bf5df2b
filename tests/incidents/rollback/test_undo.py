"""A run is undone by one click while what it left is warm; a verified rollback's is quarantined when that has ended."""

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance, decided, preflight, undo, watch
from incidents.rollback.models import Plan, PlanKind, PlanState, Run, RunState, Watch, WatchState
from incidents.rollback.undo import UndoRefused
from registry.models import Version
from tests.incidents.rollback.fleet import Fleet, events


@pytest.fixture
def switched(fleet: Fleet) -> tuple[Fleet, Run]:
    """A rollback has switched all hosts; its window is open for an hour."""
    return fleet, fleet.finished()


def click(fleet: Fleet, run: Run, reason: str = "It was the data.", **who: Any) -> Plan:
    person = who.get("user", fleet.responder)
    return undo.undo(run_id=run.pk, user=person, reason=reason, actor=actor_for(user=person))


def verify(fleet: Fleet, run: Run) -> None:
    Watch.objects.filter(run=run).update(state=WatchState.INCONCLUSIVE)
    person = fleet.commander
    watch.sign_off(run_id=run.pk, user=person, passed=True, reason="Looked.", actor=actor_for(user=person))


def close(run: Run) -> bool:
    Run.objects.filter(pk=run.pk).update(undo_due_at=timezone.now())
    return undo.close_window(run.pk)


def is_quarantined(version: Version) -> bool:
    version.refresh_from_db()
    return version.quarantined_at is not None


def test_one_click_proposes_the_way_back_and_its_last_approval_carries_it_out(fleet: Fleet) -> None:
    """Outside of production, where nothing is asked about live traffic."""
    fleet.approvers = (fleet.commander,)
    fleet.endpoint.environment = "staging"
    fleet.endpoint.save(update_fields=["environment"])
    run = fleet.finished()
    verify(fleet, run)

    plan = click(fleet, run)

    assert (plan.kind, plan.from_version, plan.to_version) == (PlanKind.RELEASE, fleet.good, fleet.bad)
    assert fleet.serving() == [fleet.good.digest] * 3
    assert preflight.run(plan.pk)
    plan.refresh_from_db()
    assert plan.state == PlanState.AWAITING, list(plan.preflights.filter(answer="fail").values_list("observed"))
    fleet.approve(plan)
    decided.request_decided(plan.request_id)
    back = Run.objects.get(plan=plan)
    advance.advance(back.pk)
    back.refresh_from_db()
    assert back.state == RunState.SWITCHED
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert {event["data"]["step"] for event in events("rollback.step.intent")} == {"switch"}


def test_after_another_run_it_can_not_be_undone_and_what_that_went_back_to_stays(switched: tuple[Fleet, Run]) -> None:
    fleet, run = switched
    verify(fleet, run)
    assert fleet.finished(fleet.bad, kind="release").state == RunState.SWITCHED

    with pytest.raises(UndoRefused) as refused:
        click(fleet, run)
    assert refused.value.code == "moved_on"
    assert not close(run)

    assert not is_quarantined(fleet.bad)
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_what_can_not_be_undone_by_a_click_proposes_nothing(switched: tuple[Fleet, Run]) -> None:
    fleet, run = switched

    def refusal(reason: str = "Please.", **fields: Any) -> str:
        before = Run.objects.filter(pk=run.pk).values(*fields).get() if fields else {}
        Run.objects.filter(pk=run.pk).update(**fields or {"state": run.state})
        with pytest.raises(UndoRefused) as refused:
            click(fleet, run, reason)
        Run.objects.filter(pk=run.pk).update(**before or {"state": run.state})
        return refused.value.code

    assert refusal(reason=" ") == "reason_needed"
    assert refusal(state=RunState.STOPPED) == "not_switched"
    assert refusal(undo_due_at=timezone.now()) == "window_closed"
    with pytest.raises(PermissionDenied):
        click(fleet, run, user=fleet.viewer)
    assert Plan.objects.count() == 1
    click(fleet, run)
    assert refusal() == "undone"
    assert Plan.objects.count() == 2


def test_what_a_verified_rollback_left_is_quarantined_when_its_undo_window_closes(switched: tuple[Fleet, Run]) -> None:
    fleet, run = switched
    verify(fleet, run)
    assert not is_quarantined(fleet.bad)

    assert close(run)

    assert is_quarantined(fleet.bad)
    assert fleet.processes[0].view(fleet.slug)["versions"]["2"]["state"] == "staged"


def test_a_window_that_closes_first_leaves_the_quarantine_to_the_verification(switched: tuple[Fleet, Run]) -> None:
    fleet, run = switched
    Watch.objects.filter(run=run).update(state=WatchState.FAILED)
    assert close(run)
    assert not is_quarantined(fleet.bad)

    verify(fleet, run)

    assert is_quarantined(fleet.bad)


def test_nothing_is_unloaded_once_another_run_has_started(switched: tuple[Fleet, Run]) -> None:
    fleet, run = switched
    fleet.started(fleet.bad, kind="release")

    assert not close(run)

    run.refresh_from_db()
    assert run.undo_due_at is not None
    assert fleet.processes[0].view(fleet.slug)["versions"]["2"]["state"] == "ready"
    assert events("rollback.unload.intent") == []
