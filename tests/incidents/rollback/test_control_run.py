"""People stop, resume, pass and turn back runs; each with a reason and on record."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance, decided
from incidents.rollback import run as runs
from incidents.rollback.lease import Lease, LeaseLost
from incidents.rollback.models import HostStep, Run, RunState
from incidents.rollback.run import RunRefused, StartRefused
from registry.models import Host
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import Fleet, events


@pytest.fixture
def canary_only(make_fleet: Callable[..., Fleet]) -> tuple[Fleet, Run]:
    """The canary has switched and soaks for an hour."""
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    return fleet, fleet.finished()


def end_soak(run: Run) -> None:
    run.waves.filter(state="soaking").update(soak_until=timezone.now())
    for _ in range(5):
        advance.advance(run.pk)
    run.refresh_from_db()


def test_an_approver_stops_a_run_and_the_hosts_stay_as_they_are(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only

    runs.stop(run_id=run.pk, user=fleet.approver, reason="Wrong incident.", actor=actor_for(user=fleet.approver))
    end_soak(run)

    assert run.state == RunState.STOPPED
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
    [event] = events("rollback.run.stop")
    assert event["actor"]["id"] == fleet.approver.pseudonym
    with pytest.raises(RunRefused):
        runs.resume(run_id=run.pk, user=fleet.commander, reason="Again.", actor=actor_for(user=fleet.commander))


def test_who_may_not_stop_or_gives_no_reason_changes_nothing(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only

    with pytest.raises(PermissionDenied):
        runs.stop(run_id=run.pk, user=fleet.viewer, reason="No.", actor=actor_for(user=fleet.viewer))
    with pytest.raises(RunRefused, match="Say in a sentence why"):
        runs.stop(run_id=run.pk, user=fleet.commander, reason=" ", actor=actor_for(user=fleet.commander))

    run.refresh_from_db()
    assert run.state == RunState.RUNNING
    assert events("rollback.run.stop") == []


def test_a_resumed_run_finishes_the_host_that_was_away(fleet: Fleet, doors: list[Proxy]) -> None:
    run = fleet.started(tolerated_absences=0)
    doors[1].down = True
    for _ in range(6):
        advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "unreachable")
    doors[1].down = False

    runs.resume(run_id=run.pk, user=fleet.commander, reason="It is back.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.SWITCHED, run.state_reason
    assert fleet.serving() == [fleet.good.digest] * 3
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]


def test_a_commander_passes_an_inconclusive_gate_on_record(fleet: Fleet) -> None:
    run = fleet.started(min_requests=20)
    advance.advance(run.pk)
    run.waves.filter(index=1).update(soak_until="2020-01-01T00:00:00Z")
    advance.advance(run.pk)
    run.refresh_from_db()
    assert run.halt_code == "gate_inconclusive", run.state_reason

    runs.pass_gate(run_id=run.pk, user=fleet.commander, reason="Night.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)

    assert fleet.serving() == [fleet.good.digest] * 3
    assert run.waves.get(index=1).gate_passed_by == fleet.commander
    assert len(events("rollback.gate.pass")) == 1


def test_a_gate_that_is_not_inconclusive_can_not_be_passed(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only

    with pytest.raises(RunRefused, match="inconclusive"):
        runs.pass_gate(run_id=run.pk, user=fleet.commander, reason="Go.", actor=actor_for(user=fleet.commander))


def test_turning_back_restores_the_switched_hosts_under_a_newer_fence(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only

    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.COMPENSATED
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert fleet.defaults_set() == [3, 1, 1]


def test_a_run_that_an_approver_objects_to_is_not_taken_up_again(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only
    fleet.decide(run.plan, fleet.approver, "deny", reason="It answers worse.")
    decided.request_decided(run.plan.request_id)
    run.refresh_from_db()
    assert run.state_reason == "An approver denied it or took an approval back while it ran."

    with pytest.raises(StartRefused, match="An approver objects now"):
        runs.resume(run_id=run.pk, user=fleet.commander, reason="Go on.", actor=actor_for(user=fleet.commander))

    end_soak(run)
    assert (run.state, run.halt_code) == (RunState.HALTED, "objection")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
    assert events("rollback.run.resume") == []


def test_a_run_is_not_taken_up_again_on_a_host_that_is_now_elsewhere(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only
    runs.halt(run=run, code="unreachable", sentence="h2 is away.", actor=runs.WORKER)
    Host.objects.filter(name="h2").update(address="http://127.0.0.1:9")

    with pytest.raises(StartRefused, match="h2 had the address"):
        runs.resume(run_id=run.pk, user=fleet.commander, reason="Go on.", actor=actor_for(user=fleet.commander))

    run.refresh_from_db()
    assert run.state == RunState.HALTED
    assert events("rollback.run.resume") == []


def test_turning_back_restores_a_host_whose_switch_was_called_and_never_proven(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only
    HostStep.objects.filter(run=run, host__name="h1").update(state="golden_ok", intent="switch")

    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.COMPENSATED
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_run_that_could_not_go_back_goes_back_when_it_is_resumed(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    fleet.processes[0].switch("1", fleet.good.digest, 99, fleet.slug)
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "compensation_failed")

    runs.resume(run_id=run.pk, user=fleet.commander, reason="Again.", actor=actor_for(user=fleet.commander))

    run.refresh_from_db()
    assert run.state == RunState.COMPENSATING


def test_what_was_begun_going_forward_does_not_go_on_in_a_run_that_goes_back(canary_only: tuple[Fleet, Run]) -> None:
    fleet, run = canary_only
    with Lease(run.pk) as lease:
        lease.state = RunState.RUNNING
        runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))

        with pytest.raises(LeaseLost):
            lease.confirm()
