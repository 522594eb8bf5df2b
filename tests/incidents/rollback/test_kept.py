"""On an engine that drops the old version at the switch, it is loaded again for the way back, and holds nothing up."""

import datetime
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.consequences import consequences
from incidents.rollback.dry_run import dry_run_of
from incidents.rollback.models import Run, RunState
from incidents.rollback.queries import waves_of
from registry.serving import DRIVERS
from registry.serving.base import HostAddress, Refused
from registry.serving.bundled import BundledDriver
from tests.incidents.rollback.fleet import Fleet, damaged, events, until_ended


class DropsAtSwitch(BundledDriver):
    """As Triton does it: what served is out of memory once something else does."""

    capabilities = replace(BundledDriver.capabilities, keeps_at_switch=False)

    def switch(self, address: HostAddress, model: str, version: str, digest: str, fence: int) -> None:
        super().switch(address, model, version, digest, fence)
        for name, held in self.observe(address).models[model].versions.items():
            if name != version and held.state == "ready":
                super().unload(address, model, name)


@pytest.fixture(autouse=True)
def dropping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DRIVERS, "bundled", DropsAtSwitch())


def in_memory(fleet: Fleet) -> list[list[str]]:
    """The versions that each host holds ready."""
    views = [process.view(fleet.slug)["versions"] for process in fleet.processes]
    return [sorted(name for name, held in view.items() if held["state"] == "ready") for view in views]


def acts_of(run: Run, host: str) -> list[str]:
    intents = [event["data"] for event in events("rollback.step.intent")]
    return [data["step"] for data in intents if (data["run"], data["host"]) == (str(run.pk), host)]


def turn_back(fleet: Fleet, run: Run) -> None:
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    until_ended(run)


def test_a_release_has_its_old_version_warm_again_while_each_wave_soaks_and_goes_back_without_loading(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.good)

    # when the canary has switched
    run = fleet.finished(fleet.bad, kind="release")

    # then it holds both, and the page says so
    assert in_memory(fleet)[0] == ["1", "2"]
    assert acts_of(run, "h1") == ["switch", "load"]
    [load] = [e["data"] for e in events("rollback.step.intent") if e["data"]["step"] == "load"]
    assert load["version"] == fleet.good.digest
    assert consequences(run)["compensate"].startswith("h1 switches back to version 1, which is still warm there")

    # when it is turned back
    turn_back(fleet, run)

    # then the switch was all that it took
    assert run.state == RunState.COMPENSATED, run.state_reason
    assert fleet.serving() == [fleet.good.digest] * 3
    assert acts_of(run, "h1") == ["switch", "load", "restore"]
    assert run.checks.get(name="golden-origin").answer == "pass"


def test_a_rollback_has_what_it_left_loaded_again_only_once_its_last_hosts_have_switched(
    make_fleet: Callable[..., Fleet],
) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)

    run = fleet.finished()
    assert in_memory(fleet)[0] == ["1"]
    assert consequences(run)["compensate"].startswith("h1 loads version 2 again")
    while run.waves.exclude(state="done").exists():
        run.waves.filter(state="soaking").update(soak_until=run.started_at)
        advance.advance(run.pk)

    run.refresh_from_db()
    assert run.state == RunState.SWITCHED, run.state_reason
    assert in_memory(fleet) == [["1", "2"]] * 3
    switches = [n for n, e in enumerate(events("rollback.step.intent")) if e["data"]["step"] == "switch"]
    loads = [n for n, e in enumerate(events("rollback.step.intent")) if e["data"]["version"] == fleet.bad.digest]
    assert max(switches) < min(loads)


def test_a_host_that_can_not_load_it_again_says_so_and_holds_nothing_up(fleet: Fleet) -> None:
    fleet.serve(fleet.good)

    with damaged(fleet, 0):
        run = fleet.finished(fleet.bad, kind="release")

    assert run.state == RunState.SWITCHED, run.state_reason
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert in_memory(fleet) == [["2"], ["1", "2"], ["1", "2"]]
    assert run.steps.get(host__name="h1").notes["kept"].startswith("Version 1 is not warm there: ")
    said = {lane["host"]: lane["way_back"] for wave in waves_of(run) for lane in wave["lanes"]}
    assert said["h1"] == run.steps.get(host__name="h1").notes["kept"]
    assert said["h2"] == said["h3"] == "Version 1 was loaded again, to be warm for the way back."


@pytest.mark.parametrize("in_time", [True, False])
def test_where_a_worker_died_while_it_was_loaded_again_the_next_one_looks_before_it_calls(
    make_fleet: Callable[..., Fleet], in_time: bool
) -> None:
    # given a load that is committed to, and a host that has done it or has not
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.good)
    run = fleet.finished(fleet.bad, kind="release")
    past = timezone.now() - datetime.timedelta(seconds=1)
    dead = {"notes": {}, "intent": "load", "intent_deadline": past, "attempts": 1}
    run.steps.filter(host__name="h1").update(**dead)
    if not in_time:
        assert fleet.processes[0].unload("1", fleet.slug).status_code == 200

    advance.advance(run.pk)

    step = run.steps.get(host__name="h1")
    assert (step.state, step.notes["kept"], step.intent) == ("done", "", "")
    assert in_memory(fleet)[0] == ["1", "2"]
    assert acts_of(run, "h1") == ["switch", "load"] + ([] if in_time else ["load"])


def test_a_copy_that_does_not_answer_as_it_should_is_loaded_anew_before_it_is_gone_back_to(
    make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a copy that is dead until it is unloaded
    dead = {"1"}

    class HoldsADeadCopy(DropsAtSwitch):
        def infer(self, address: Any, model: str, inputs: Any, version: str | None = None, request_id: str = "") -> Any:
            if version in dead:
                raise Refused(500, "engine-refused", "Stub process is not healthy.")
            return super().infer(address, model, inputs, version=version, request_id=request_id)

        def unload(self, address: HostAddress, model: str, version: str) -> None:
            super().unload(address, model, version)
            dead.discard(version)

    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.good)
    run = fleet.finished(fleet.bad, kind="release")
    monkeypatch.setitem(DRIVERS, "bundled", HoldsADeadCopy())

    turn_back(fleet, run)

    assert run.state == RunState.COMPENSATED, run.state_reason
    assert fleet.serving() == [fleet.good.digest] * 3
    assert acts_of(run, "h1") == ["switch", "load", "unload", "load", "restore"]


def test_the_dry_run_says_that_it_would_be_loaded_again(fleet: Fleet) -> None:
    plan = fleet.propose()

    steps = [step.name for step in dry_run_of(plan).hosts[0].steps]

    assert steps[-2:] == ["stage for the way back", "load for the way back"]
