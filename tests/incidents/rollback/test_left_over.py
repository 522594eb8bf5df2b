"""What a run that is over has left behind: a share of the requests, or a host out of service. Each has a way back."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.actions import actor_for
from audit.models import AuditEvent
from audit.verify import Meaning, act_of
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.converge import converge
from incidents.rollback.drifted import unsettled
from incidents.rollback.models import HostStep, Run, RunState, StepState
from incidents.rollback.plan import PlanRefused
from incidents.rollback.queries import left_as
from incidents.rollback.work import StepWaits
from registry import reconcile
from registry.actions import hold
from registry.models import Health, Placement
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import SETUP, Fleet, events


def look(host: str) -> Placement:
    row = Placement.objects.filter(host__name=host)
    row.update(observe_due_at=Now())
    assert reconcile.observe_placement(row.get().pk) is not None
    return row.get()


def stopped(fleet: Fleet, kind: str, strategy: str, state: str) -> Run:
    """A run that was stopped with the canary in that state."""
    fleet.serve(fleet.bad)
    run = fleet.started(kind=kind, strategy=strategy, min_requests=5)
    for _ in range(40):
        advance.advance(run.pk)
        if HostStep.objects.filter(run=run, host__name="h1", marks__has_key=state).exists():
            break
    runs.stop(run_id=run.pk, user=fleet.commander, reason="Wrong.", actor=actor_for(user=fleet.commander))
    run.refresh_from_db()
    assert run.state == RunState.STOPPED
    return run


def taken_to_its_end(run: Run | None) -> Run:
    assert run is not None
    for _ in range(10):
        advance.advance(run.pk)
        run.refresh_from_db()
        if run.state != RunState.RUNNING:
            break
    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    leaves = [json.loads(bytes(row.canon)) for row in AuditEvent.objects.order_by("pk")]
    assert list(Meaning(act_of(index, leaf) for index, leaf in enumerate(leaves)).problems()) == []
    return run


def waits(*_: object) -> None:
    raise StepWaits(60)


def test_the_share_that_a_stopped_release_left_is_ended_under_its_approval(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    run = stopped(fleet, "release", "weighted", StepState.SHARED)
    process = fleet.processes[0]
    assert process.view(fleet.slug)["share"]["percent"] == 5

    placement = look("h1")

    assert (placement.health, placement.observation["left"]) == (Health.SERVING, "share")
    assert unsettled(timezone.now()) == [placement.pk]
    [row] = [row for row in left_as(run) if row["host"] == "h1"]
    assert row["why"] == "the run had not switched it; it had given the other version 5 % of its requests"
    assert row["seen"] == "5 % of its requests go to version 1."
    assert row["then"] == "is switched to it anew, which ends that"

    taken_to_its_end(converge(placement.pk))

    assert process.view(fleet.slug)["share"] is None
    assert fleet.serving() == [fleet.bad.digest] * 3
    placement = look("h1")
    assert "left" not in placement.observation
    assert unsettled(timezone.now()) == []
    assert converge(placement.pk) is None


@pytest.mark.parametrize("target", ["good", "bad"])
def test_the_share_of_a_stopped_rollback_is_ended_by_a_plan_to_either_version(
    make_fleet: Callable[..., Fleet], target: str
) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    run = stopped(fleet, "rollback", "weighted", StepState.SHARED)
    placement = look("h1")

    assert converge(placement.pk) is None

    assert [event["data"]["refused"] for event in events("rollback.converge.start")] == ["no_authority"]
    assert unsettled(timezone.now()) == [placement.pk]
    [row] = [row for row in left_as(run) if row["host"] == "h1"]
    assert "needs a plan of its own" in row["then"]

    fleet.endpoint.wave_soak_seconds = 0
    fleet.endpoint.save(update_fields=["wave_soak_seconds"])
    taken_to_its_end(fleet.started(getattr(fleet, target)))

    assert fleet.processes[0].view(fleet.slug)["share"] is None
    assert fleet.serving() == [getattr(fleet, target).digest] * 3


@pytest.mark.faults
@pytest.mark.parametrize("state", [StepState.DRAINED, StepState.EMPTIED])
def test_a_host_that_a_stopped_release_took_out_of_service_is_brought_back(
    make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch, state: StepState
) -> None:
    fleet = make_fleet()
    after = StepState.EMPTIED if state == StepState.DRAINED else StepState.LOADED
    with monkeypatch.context() as held:
        held.setitem(advance.TURNS, (state, after), waits)
        run = stopped(fleet, "release", "recreate", state)
    process = fleet.processes[0]
    assert process.view(fleet.slug)["in_service"] is False

    placement = look("h1")

    assert (placement.health, placement.observation["left"]) == (Health.NOT_READY, "out")
    assert unsettled(timezone.now()) == [placement.pk]
    [row] = [row for row in left_as(run) if row["host"] == "h1"]
    assert row["why"] == "the run had not switched it; it had taken it out of service"

    made = taken_to_its_end(converge(placement.pk))

    assert made.plan.reason == "h1 was left out of service, and is to serve version 2."
    assert process.view(fleet.slug)["in_service"] is True
    assert fleet.serving() == [fleet.bad.digest] * 3


@pytest.mark.faults
def test_a_host_that_was_away_when_it_was_to_be_emptied_comes_back_and_is_converged(
    fleet: Fleet, doors: list[Proxy]
) -> None:
    run = fleet.started(strategy="recreate", min_hosts_serving=0)
    process = fleet.processes[1]
    doors[1].down = True
    for _ in range(40):
        advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    doors[1].down = False
    late = {"serving": False, "fence": run.fence}
    assert process.http.post(f"/lastgood/v1/models/{fleet.slug}/service", json=late).status_code == 200

    placement = look("h2")

    assert placement.observation["left"] == "out"
    made = taken_to_its_end(converge(placement.pk))
    assert fleet.serving() == [fleet.good.digest] * 3
    view = process.view(fleet.slug)
    assert (view["in_service"], view["versions"]["2"]["state"]) == (True, "staged")
    steps = [e["data"]["step"] for e in events("rollback.step.intent") if e["data"]["run"] == str(made.pk)]
    assert steps == ["drain", "unload", "load", "switch"]


def test_what_a_run_does_while_it_is_active_or_a_person_holds_is_left_alone(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.started(kind="release", strategy="weighted", min_requests=5)
    advance.advance(run.pk)
    placement = look("h1")
    assert placement.observation["left"] == "share"
    assert "asked" in placement.observation

    assert converge(placement.pk) is None

    assert "asked" not in Placement.objects.get(pk=placement.pk).observation
    assert unsettled(timezone.now()) == []
    runs.stop(run_id=run.pk, user=fleet.commander, reason="Wrong.", actor=actor_for(user=fleet.commander))
    assert unsettled(timezone.now()) == []  # nobody has looked since
    hold(host=placement.host, until=timezone.now() + timedelta(hours=1), reason="Repair.", actor=SETUP)
    placement = look("h1")
    assert "asked" not in placement.observation
    assert unsettled(timezone.now()) == []
    assert converge(placement.pk) is None
    assert events("rollback.converge.start") == []


def test_where_nothing_is_left_over_a_plan_to_what_is_served_is_refused(fleet: Fleet) -> None:
    look("h1")

    with pytest.raises(PlanRefused, match="serves version 2 already"):
        fleet.propose(fleet.bad)
