"""A started run is taken to its end, host by host, whatever the hosts do."""

import threading
from collections.abc import Callable

from django.db import connections

from incidents.rollback import advance
from incidents.rollback.models import HostStep, Plan, Run, RunState, StepState, Watch, WaveState
from registry.models import Deployment, Placement
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import Fleet, events, until_ended


def steps_of(run: Run) -> dict[str, str]:
    return dict(HostStep.objects.filter(run=run).values_list("host__name", "state"))


def test_an_approved_rollback_switches_every_host_once(fleet: Fleet) -> None:
    run = fleet.started()
    assert fleet.serving() == [fleet.bad.digest] * 3

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [fleet.good.digest] * 3
    assert [(s.state, s.switch_calls) for s in HostStep.objects.filter(run=run)] == [(StepState.DONE, 1)] * 3
    live = Deployment.objects.filter(endpoint=fleet.endpoint, until=None)
    assert {(d.version_id, d.run_ref) for d in live} == {(fleet.good.pk, str(run.pk))}
    assert set(Placement.objects.values_list("desired_id", flat=True)) == {fleet.good.pk}
    assert Watch.objects.filter(run=run).exists()


def test_every_switch_has_its_intent_before_its_outcome_in_the_log(fleet: Fleet) -> None:
    fleet.finished()

    intents = [e for e in events("rollback.step.intent") if e["data"]["step"] == "switch"]
    outcomes = [e for e in events("rollback.step.outcome") if e["data"]["step"] == "switch"]
    for found in (intents, outcomes):
        assert sorted(event["data"]["host"] for event in found) == ["h1", "h2", "h3"]
    for intent in intents:
        [outcome] = [e for e in outcomes if e["data"]["host"] == intent["data"]["host"]]
        assert intent["occurred_at"] < outcome["occurred_at"]
        assert intent["data"]["version"] == fleet.good.digest
    canary = next(e for e in outcomes if e["data"]["host"] == "h1")
    assert all(canary["occurred_at"] < e["occurred_at"] for e in intents if e["data"]["host"] != "h1")


def test_fifty_deliveries_of_the_same_message_switch_once(fleet: Fleet) -> None:
    run = fleet.started()

    def deliver() -> None:
        try:
            for _ in range(10):
                advance.advance(run.pk)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=deliver) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.SWITCHED
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
    assert len([e for e in events("rollback.step.intent") if e["data"]["step"] == "switch"]) == 3


def test_a_host_that_is_down_is_left_out_within_the_budget(fleet: Fleet, doors: list[Proxy]) -> None:
    run = fleet.started()
    doors[1].down = True

    until_ended(run)

    assert run.state == RunState.SWITCHED
    assert steps_of(run) == {"h1": "done", "h2": "unreachable", "h3": "done"}
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.good.digest]
    assert Placement.objects.get(host__name="h2").desired_id == fleet.good.pk


def test_more_hosts_down_than_tolerated_halt_the_run(fleet: Fleet, doors: list[Proxy]) -> None:
    run = fleet.started()
    doors[1].down = doors[2].down = True

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "unreachable")
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2


def test_a_canary_that_is_away_proves_nothing_so_no_other_host_is_touched(fleet: Fleet, doors: list[Proxy]) -> None:
    run = fleet.started()
    doors[0].down = True

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_inconclusive")
    assert steps_of(run) == {"h1": "unreachable", "h2": "pending", "h3": "pending"}
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_what_nobody_foresaw_halts_the_run_and_holds_no_worker(fleet: Fleet) -> None:
    """The switch of a host that the endpoint no longer has can't be entered, once its wave has begun."""
    run = fleet.started()
    run.waves.filter(index=1).update(state=WaveState.RUNNING)
    Placement.objects.filter(host__name="h1").delete()

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code, run.lease_holder) == (RunState.HALTED, "stuck", "")
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2
    assert events("rollback.run.halt")[0]["data"]["code"] == "stuck"


def test_a_plan_whose_row_names_another_version_touches_no_host(fleet: Fleet) -> None:
    run = fleet.started()
    other = fleet.add_version(7, bias=0.3)
    Plan.objects.filter(pk=run.plan_id).update(to_version=other)

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "hash_mismatch")
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_version_that_turns_out_wrong_on_the_canary_reaches_no_other_host(fleet: Fleet) -> None:
    run = fleet.started()
    process = fleet.processes[0]
    process.unload("1", fleet.slug)
    blob = process.blob((bytes(fleet.good.manifest), {}), "weights")
    before = blob.read_bytes()
    try:
        blob.write_bytes(before[:-1] + bytes([before[-1] ^ 0x40]))
        until_ended(run)
    finally:
        blob.write_bytes(before)

    assert run.state == RunState.HALTED
    assert steps_of(run) == {"h1": "failed", "h2": "pending", "h3": "pending"}
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert events("rollback.run.halt")[0]["data"]["code"] == "step_failed"


def test_a_host_that_has_seen_a_newer_fence_is_not_touched(fleet: Fleet) -> None:
    run = fleet.started()
    fleet.processes[1].switch("2", fleet.bad.digest, 99, fleet.slug)

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "fence")
    assert fleet.serving()[1] == fleet.bad.digest
    assert fleet.processes[1].view(fleet.slug)["fence"] == 99


def test_a_release_whose_gate_fails_goes_back_by_itself(fleet: Fleet) -> None:
    """The host's counters say that 40 of 40 live requests failed since the canary had switched."""
    run = fleet.started(kind="release", min_requests=5, wave_soak_seconds=1)
    advance.advance(run.pk)
    assert steps_of(run)["h1"] == "done"
    HostStep.objects.filter(run=run, host__name="h1").update(baseline={"requests": -40, "failures": -40})

    until_ended_slowly(run)

    assert run.state == RunState.COMPENSATED
    assert steps_of(run) == {"h1": "restored", "h2": "pending", "h3": "pending"}
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert fleet.defaults_set() == [3, 1, 1]
    live = Deployment.objects.get(endpoint=fleet.endpoint, host__name="h1", until=None)
    assert live.version_id == fleet.bad.pk


def until_ended_slowly(run: Run) -> None:
    import time

    deadline = time.monotonic() + 120
    while run.state in (RunState.RUNNING, RunState.COMPENSATING):
        assert time.monotonic() < deadline
        advance.advance(run.pk)
        run.refresh_from_db()


def test_a_gate_without_enough_traffic_waits_and_then_asks_a_person(fleet: Fleet) -> None:
    run = fleet.started(min_requests=20)

    advance.advance(run.pk)
    run.refresh_from_db()
    wave = run.waves.get(index=1)
    assert (run.state, wave.state) == (RunState.RUNNING, WaveState.SOAKING)

    run.waves.filter(index=1).update(soak_until=run.started_at)
    advance.advance(run.pk)
    run.refresh_from_db()
    if run.state == RunState.RUNNING:
        run.waves.filter(index=1).update(soak_until="2020-01-01T00:00:00Z")
        advance.advance(run.pk)
        run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_inconclusive")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]


def test_a_frozen_endpoint_stops_the_next_wave(make_fleet: Callable[..., Fleet]) -> None:
    from datetime import timedelta

    from django.utils import timezone

    from registry.actions import freeze
    from tests.incidents.rollback.fleet import SETUP

    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.finished()
    assert steps_of(run) == {"h1": "done", "h2": "pending", "h3": "pending"}
    freeze(endpoint=fleet.endpoint, until=timezone.now() + timedelta(hours=1), reason="Stop.", actor=SETUP)
    run.waves.filter(index=1).update(soak_until=timezone.now())

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "frozen")
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2


def test_an_approval_taken_back_during_the_run_stops_the_next_wave(make_fleet: Callable[..., Fleet]) -> None:
    from incidents.rollback import decided

    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.finished()
    fleet.decide(run.plan, fleet.approver, "revoke")

    decided.request_decided(run.plan.request_id)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "objection")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
