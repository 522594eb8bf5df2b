"""While a wave's hosts come through and soak, those of the next load what the endpoint has served before."""

from collections.abc import Callable

import pytest

from incidents.rollback import advance
from incidents.rollback.ahead import longest_first
from incidents.rollback.models import HostStep, Run, RunState, StepState, WaveState
from tests.incidents.rollback.fleet import Fleet, damaged, events

WAVES = {"wave_sizes": [1, 2]}


@pytest.fixture
def soaking(make_fleet: Callable[..., Fleet]) -> Fleet:
    """Served the good version, then the bad one; waves soak for an hour."""
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.good)
    fleet.serve(fleet.bad)
    return fleet


def dropped(fleet: Fleet, hosts: list[int]) -> None:
    """What preflight has loaded there is unloaded again, as hosts do that need the memory."""
    for host in hosts:
        assert fleet.processes[host].unload("1", fleet.slug).status_code == 200


def states(run: Run) -> list[str]:
    return list(HostStep.objects.filter(run=run).order_by("host__name").values_list("state", flat=True))


def loaded(fleet: Fleet) -> list[str]:
    return [process.view(fleet.slug)["versions"]["1"]["state"] for process in fleet.processes]


def test_the_next_wave_holds_the_version_beside_the_one_that_serves_before_its_gate_is_asked(soaking: Fleet) -> None:
    run = soaking.started(**WAVES)
    dropped(soaking, [1, 2])

    advance.advance(run.pk)

    assert states(run) == [StepState.DONE, StepState.LOADED, StepState.LOADED]
    assert list(run.waves.order_by("index").values_list("state", flat=True)) == [WaveState.SOAKING, WaveState.PENDING]
    assert loaded(soaking) == ["ready"] * 3
    assert soaking.serving() == [soaking.good.digest, soaking.bad.digest, soaking.bad.digest]
    assert [event["data"]["step"] for event in events("rollback.step.intent")] == ["switch", "load", "load"]


def test_a_wave_goes_on_from_what_was_loaded_ahead_for_it(soaking: Fleet) -> None:
    run = soaking.started(**WAVES)
    dropped(soaking, [1, 2])
    advance.advance(run.pk)
    run.waves.filter(state=WaveState.SOAKING).update(soak_until=None)

    advance.advance(run.pk)
    run.waves.filter(state=WaveState.SOAKING).update(soak_until=None)
    advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.SWITCHED, run.state_reason
    assert soaking.serving() == [soaking.good.digest] * 3
    intents = [(event["target"]["id"], event["data"]["step"]) for event in events("rollback.step.intent")]
    assert sorted(intents) == [("h1", "switch"), ("h2", "load"), ("h2", "switch"), ("h3", "load"), ("h3", "switch")]


def test_what_the_endpoint_has_never_served_waits_for_the_gate(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.started(**WAVES)
    dropped(fleet, [1, 2])

    advance.advance(run.pk)

    assert states(run) == [StepState.DONE, StepState.PENDING, StepState.PENDING]
    assert loaded(fleet) == ["ready", "staged", "staged"]


def test_hosts_that_leave_service_to_load_wait_for_their_wave(soaking: Fleet) -> None:
    run = soaking.started(**WAVES, strategy="recreate", min_hosts_serving=1)

    advance.advance(run.pk)

    assert states(run) == [StepState.DONE, StepState.PENDING, StepState.PENDING]


def test_a_host_that_fails_ahead_is_judged_with_its_own_wave(soaking: Fleet) -> None:
    run = soaking.started(**WAVES)
    dropped(soaking, [1, 2])
    with damaged(soaking, 1):
        advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, states(run)) == (RunState.RUNNING, [StepState.DONE, StepState.FAILED, StepState.LOADED])

    run.waves.filter(state=WaveState.SOAKING).update(soak_until=None)
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "step_failed")
    assert list(run.waves.order_by("index").values_list("state", flat=True)) == [WaveState.DONE, WaveState.FAILED]
    assert soaking.serving()[1] == soaking.bad.digest


def test_a_gate_that_fails_leaves_what_was_loaded_ahead_unswitched(soaking: Fleet) -> None:
    run = soaking.started(**WAVES)
    dropped(soaking, [1, 2])
    advance.advance(run.pk)
    assert soaking.processes[0].switch("2", soaking.bad.digest, run.fence + 1, soaking.slug).status_code == 200
    run.waves.filter(state=WaveState.SOAKING).update(soak_until=None)

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "gate_failed")
    assert states(run)[1:] == [StepState.LOADED, StepState.LOADED]
    assert soaking.serving() == [soaking.bad.digest] * 3


def test_of_the_hosts_that_may_load_the_one_that_took_longest_before_begins_first(
    soaking: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time: of two that begin at once either may come first."""
    monkeypatch.setattr(advance, "PARALLEL_HOSTS", 1)
    run = soaking.started(**WAVES)
    dropped(soaking, [1, 2])
    soaking.endpoint.placements.update(load_seconds=1.2)
    soaking.endpoint.placements.filter(host__name="h3").update(load_seconds=4.1)

    advance.advance(run.pk)

    loads = [event["data"]["host"] for event in events("rollback.step.intent") if event["data"]["step"] == "load"]
    assert loads == ["h3", "h2"]
    timed = dict(soaking.endpoint.placements.values_list("host__name", "load_seconds"))
    assert timed["h1"] == 1.2
    assert timed["h2"] not in (1.2, None)
    assert timed["h3"] not in (4.1, None)


@pytest.mark.parametrize(
    ("seconds", "order"),
    [
        ((1.0, 2.0, 3.0), ["h3", "h2", "h1"]),
        ((3.0, None, 2.0), ["h2", "h1", "h3"]),
        ((None, None, None), ["h1", "h2", "h3"]),
        ((1.0, 1.1, 1.2), ["h1", "h2", "h3"]),
    ],
    ids=["longest first", "unknown before all", "none known", "half a second is no difference"],
)
def test_hosts_of_a_wave_are_begun_by_what_they_took_before(
    fleet: Fleet, seconds: tuple[float | None, ...], order: list[str]
) -> None:
    run = fleet.started()
    for host, took in zip(fleet.hosts, seconds, strict=True):
        fleet.endpoint.placements.filter(host=host).update(load_seconds=took)

    begun = longest_first(run.endpoint_id, run.steps.select_related("host").order_by("id"))

    assert [step.host.name for step in begun] == order
