"""How a host is changed: out of service where it holds one version only, or by growing shares of its requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from incidents.rollback import advance, preflight
from incidents.rollback import run as runs
from incidents.rollback.consequences import consequences
from incidents.rollback.models import HostStep, Run, RunState, StepState, WaveState
from incidents.rollback.plan import PlanRefused
from incidents.rollback.queries import waves_of
from incidents.rollback.terms import plan_terms
from registry.models import Placement
from tests.faults.proxy import Proxy
from tests.host.artifacts import row
from tests.incidents.rollback.fleet import Fleet, advance_until, damaged, events


def acts(run: Run) -> list[tuple[str, str]]:
    return [(e["data"]["host"], e["data"]["step"]) for e in events("rollback.step.intent")]


def test_a_host_that_holds_one_version_is_out_of_service_while_it_is_replaced(fleet: Fleet) -> None:
    run = fleet.started(strategy="recreate", wave_sizes=[1])
    for process in fleet.processes:
        assert process.view(fleet.slug)["versions"]["1"]["state"] == "staged"

    advance_until(run, RunState.SWITCHED, RunState.HALTED)

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [fleet.good.digest] * 3
    for process in fleet.processes:
        view = process.view(fleet.slug)
        assert (view["in_service"], view["versions"]["2"]["state"]) == (True, "staged")
    assert [name for host, name in acts(run) if host == "h1"] == ["drain", "unload", "load", "switch"]
    stops = [stop["name"] for stop in waves_of(run)[0]["lanes"][0]["steps"]]
    assert stops[2:6] == ["stage", "leave service", "unload old", "load warm"]
    assert "going back takes as long as this" in str(plan_terms(run.plan))


def out_of_service(fleet: Fleet) -> int:
    return sum(not process.view(fleet.slug)["in_service"] for process in fleet.processes)


@contextmanager
def counting(fleet: Fleet) -> Iterator[list[int]]:
    """How many hosts were out of service at once, looked at all the while."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], out_of_service(fleet))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


def test_no_more_hosts_leave_service_at_once_than_can_be_spared_forth_and_back(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.started(strategy="recreate", wave_sizes=[3], min_hosts_serving=2)

    with counting(fleet) as most:
        while not run.waves.filter(state=WaveState.SOAKING).exists():
            advance.advance(run.pk)
            run.refresh_from_db()
            assert run.state == RunState.RUNNING, run.state_reason
    assert (fleet.serving(), most) == ([fleet.good.digest] * 3, [1])

    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Back.", actor=advance.WORKER)
    with counting(fleet) as most:
        advance_until(run, RunState.COMPENSATED, RunState.HALTED)
    assert (run.state, run.state_reason, most) == (RunState.COMPENSATED, "Back.", [1])
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_host_that_is_out_of_service_needs_no_other_to_go_on(fleet: Fleet) -> None:
    """One host can be spared, and is out since its load has failed: the run that is resumed begins with it."""
    run = fleet.started(strategy="recreate", min_hosts_serving=2)
    with damaged(fleet, 0):
        advance_until(run, RunState.HALTED)
    assert (run.halt_code, out_of_service(fleet)) == ("step_failed", 1)

    runs.resume(run_id=run.pk, user=fleet.commander, reason="It was mended.", actor=advance.WORKER)
    advance_until(run, RunState.SWITCHED, RunState.HALTED)

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [fleet.good.digest] * 3


def test_a_recreated_host_whose_new_version_can_not_be_loaded_is_brought_back_cold(fleet: Fleet) -> None:
    run = fleet.started(strategy="recreate")
    process = fleet.processes[0]
    with damaged(fleet, 0):
        advance_until(run, RunState.HALTED)
    assert process.view(fleet.slug)["in_service"] is False
    said = {"run_id": run.pk, "user": fleet.commander, "reason": "Back.", "actor": advance.WORKER}

    runs.compensate(**said)
    advance_until(run, RunState.COMPENSATED, RunState.HALTED)

    assert (run.state, run.state_reason) == (RunState.COMPENSATED, "Back.")
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert process.view(fleet.slug)["in_service"] is True


def test_a_host_whose_drain_gave_no_answer_is_brought_back_after_its_step_began_anew(
    fleet: Fleet, doors: list[Proxy]
) -> None:
    """It has left service, and then the run was resumed, came to `locked` again, and was turned back."""
    run = fleet.started(strategy="recreate", tolerated_absences=0)
    doors[0].cut_after = "/service"
    advance_until(run, RunState.HALTED)
    assert (run.halt_code, out_of_service(fleet)) == ("unreachable", 1)
    doors[0].down = False
    HostStep.objects.filter(run=run, host__name="h1").update(state=StepState.LOCKED, intent="", attempts=0)
    said = consequences(Run.objects.select_related("plan__from_version", "plan__to_version").get(pk=run.pk))
    assert said["compensate"].startswith("of h1 each leaves service, loads version 2 again")

    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Back.", actor=advance.WORKER)
    advance_until(run, RunState.COMPENSATED, RunState.HALTED)

    assert (run.state, run.state_reason) == (RunState.COMPENSATED, "Back.")
    assert out_of_service(fleet) == 0
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_fleet_that_can_spare_no_host_is_not_recreated(fleet: Fleet) -> None:
    proposed = fleet.propose(strategy="recreate", min_hosts_serving=3)

    preflight.run(proposed.pk)

    [found] = proposed.preflights.filter(answer="fail")
    assert (found.name, found.observed) == ("enough-hosts", "3 of 3, one of which is out of service at a time")
    assert out_of_service(fleet) == 0


def test_a_host_without_room_for_both_is_recreated_unless_asked_otherwise(fleet: Fleet) -> None:
    seen = {"memory_total": 1000, "memory_free": 10, "versions": {}}
    Placement.objects.filter(host__name="h2").update(observation=seen)

    document = fleet.propose().document
    asked = fleet.propose(strategy="blue_green").document

    assert b'"recreated":["h2"]' in bytes(document)
    assert b'"strategy":"recreate"' in bytes(document)
    assert b'"strategy":"blue_green"' in bytes(asked)


@contextmanager
def traffic(fleet: Fleet, process: Any) -> Iterator[list[str]]:
    """Requests with ids of their own to one host, until the block ends; the digests that answered."""
    answered: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            answer = process.infer(row(), model=fleet.slug, id=f"request-{number}")
            answered.append(answer.json()["parameters"]["digest"] if answer.status_code == 200 else "failed")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answered
    finally:
        ended.set()
        thread.join()


@pytest.mark.faults
def test_a_weighted_canary_takes_growing_shares_before_it_takes_all(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(wave_soak_seconds=1)
    fleet.serve(fleet.bad)
    run = fleet.started(strategy="weighted", shares=[20, 60], min_requests=5)

    with traffic(fleet, fleet.processes[0]) as answered:
        advance_until(run, RunState.HALTED, RunState.SWITCHED)

    assert "failed" not in answered
    assert [name for host, name in acts(run) if host == "h1"] == ["share", "share", "switch"]
    assert [name for host, name in acts(run) if host == "h2"] == ["switch"]
    asked = run.checks.filter(stage="share", host__name="h1")
    assert {(check.name, check.answer) for check in asked} >= {("errors", "pass")}
    assert fleet.processes[0].view(fleet.slug)["share"] is None


def test_a_share_that_too_few_requests_reach_halts_and_turning_back_ends_it(fleet: Fleet) -> None:
    run = fleet.started(strategy="weighted", min_requests=5)

    advance.advance(run.pk)
    assert fleet.processes[0].view(fleet.slug)["share"]["percent"] == 5
    step = HostStep.objects.get(run=run, host__name="h1")
    early = {**step.baseline, "since": "2020-01-01T00:00:00+00:00"}
    HostStep.objects.filter(pk=step.pk).update(baseline=early)
    advance_until(run, RunState.HALTED)

    assert "Inconclusive with 5 % of the requests: 0 of 16 requests" in run.state_reason
    said = {"run_id": run.pk, "user": fleet.commander, "reason": "Back.", "actor": advance.WORKER}
    runs.compensate(**said)
    advance_until(run, RunState.COMPENSATED, RunState.HALTED)
    assert (run.state, run.state_reason) == (RunState.COMPENSATED, "Back.")
    assert fleet.processes[0].view(fleet.slug)["share"] is None
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_share_that_fails_more_often_than_the_version_beside_it_halts(fleet: Fleet) -> None:
    run = fleet.started(strategy="weighted", min_requests=5)
    advance.advance(run.pk)
    step = HostStep.objects.get(run=run, host__name="h1")
    assert step.baseline["beside"] == {"requests": 0, "failures": 0}
    counted = {"requests": -60, "failures": -2, "beside": {"requests": -900, "failures": 0}}
    HostStep.objects.filter(pk=step.pk).update(
        baseline={**step.baseline, **counted, "since": "2020-01-01T00:00:00+00:00"}
    )

    advance_until(run, RunState.HALTED)

    assert "version beside it? Fail with 5 % of the requests: 2 of 60 failed, 0 of 900 beside it" in run.state_reason
    asked = dict(run.checks.filter(stage="share").values_list("name", "answer"))
    assert asked == {"errors": "inconclusive", "errors_beside": "fail"}


@pytest.mark.parametrize("shares", [[0], [100]])
def test_shares_that_make_no_sense_are_refused(fleet: Fleet, shares: list[int]) -> None:
    with pytest.raises(PlanRefused, match="from 1 to 99"):
        fleet.propose(strategy="weighted", shares=shares)
