"""A rollback of an endpoint whose hosts are of other engines: planned, approved, carried out, verified on each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now

from accounts.actions import actor_for
from incidents.rollback import advance, converge, decided, preflight, undo
from incidents.rollback import run as runs
from incidents.rollback.consequences import consequences
from incidents.rollback.document import PlanDocument
from incidents.rollback.kept import to_be_loaded
from incidents.rollback.models import Run, RunState, Watch, WatchState, WaveState
from incidents.rollback.queries import waves_of
from incidents.rollback.terms import plan_terms
from registry.actions import place, register_host, register_version
from registry.models import Health, Host, Placement, Version
from registry.reconcile import observe_placement
from tests.engines.servers import Server, kill_stub
from tests.incidents.rollback.fleet import SETUP, Fleet, events, until_ended
from tests.waiting import until

pytestmark = pytest.mark.engines
X = [1.5, 2.0, -4.0]


class EngineFleet(Fleet):
    """An endpoint on one host of another engine: version n answers x with n * x."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, [])
        self.server = server

    def build(self, **endpoint_fields: Any) -> "EngineFleet":
        super().build(**endpoint_fields)
        host = register_host(
            name=self.server.engine,
            engine=self.server.engine,
            address=self.server.url,
            control_token="",
            options=dict(self.server.address.options),
            actor=SETUP,
        )
        place(endpoint=self.endpoint, host=host, actor=SETUP)
        self.hosts: list[Host] = [host]
        return self

    def add_version(self, seed: int, bias: float, golden: dict[str, Any] | None = None) -> Version:
        manifest, blobs = self.server.make(self.slug, seed)
        wanted = {"inputs": {"x": X}, "outputs": {"y": [f"{seed * x:.6f}" for x in X]}, "tolerance": "0.0001"}
        return register_version(
            model=self.model,
            manifest=manifest,
            files=blobs,
            golden=json.dumps({"format": "lastgood-golden/1"} | wanted).encode(),
            metrics={"holdout": {"accuracy": 0.8}},
            environment={"engine": self.server.engine},
            actor=SETUP,
        )

    def answers(self) -> dict[str, list[Any]]:
        return self.server.ask(self.server.http, self.slug)


def fleet_on(server: Server, folder: Path, settings: Any, **endpoint_fields: Any) -> EngineFleet:
    """Registered, with a store of its own."""
    settings.LASTGOOD_VAR = folder / "var"
    settings.LASTGOOD_REPOSITORIES = [str(server.repository.parent)]
    return EngineFleet(folder, server).build(**endpoint_fields)


def observed(host: str) -> Placement:
    """What the host is seen to serve when it is looked at now."""
    placement = Placement.objects.get(host__name=host)
    Placement.objects.filter(pk=placement.pk).update(observe_due_at=Now())
    assert observe_placement(placement.pk) is not None
    placement.refresh_from_db()
    return placement


@pytest.mark.parametrize("engine", ["triton", "mlserver", "torchserve"])
def test_an_endpoint_on_another_engine_is_rolled_back(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, engine: str
) -> None:
    # given version 2 on a real server, which is wrong
    server = servers(engine)
    fleet = fleet_on(server, tmp_path, settings)
    fleet.serve(fleet.bad)
    assert fleet.answers() == server.expected(2)

    # when
    run = fleet.finished()

    # then
    assert run.state == RunState.SWITCHED, run.state_reason
    assert fleet.answers() == server.expected(1)
    assert list(run.steps.values_list("state", "switch_calls")) == [("done", 1)]
    lacking = server.driver.capabilities.lacking()
    assert lacking
    assert run.plan.preflights.get(name="capabilities").observed == f"{engine}: {' '.join(lacking)}"
    assert "can't be read back" in run.plan.preflights.get(name="warm").observed
    placement = observed(engine)
    assert (placement.health, placement.observed_digest) == (Health.SERVING, fleet.good.digest)


@pytest.mark.parametrize("engine", ["triton", "mlserver", "torchserve"])
def test_a_release_on_another_engine_goes_back_whether_or_not_the_old_version_is_still_in_memory(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, engine: str
) -> None:
    # given a release whose one host has switched, and soaks
    server = servers(engine)
    fleet = fleet_on(server, tmp_path, settings, wave_soak_seconds=3600)
    fleet.serve(fleet.good)
    run = fleet.finished(fleet.bad, kind="release")
    assert fleet.answers() == server.expected(2), run.state_reason
    warm = server.driver.capabilities.warm_undo
    assert ("still warm there" in consequences(run)["compensate"]) == warm
    assert ("going back loads it again" in str(plan_terms(run.plan))) == (not warm)
    assert ("loads it again after each wave" in str(plan_terms(run.plan))) == (engine == "triton")

    # when a person turns it back
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="It is worse.", actor=actor_for(user=fleet.commander))
    until_ended(run)

    # then
    assert run.state == RunState.COMPENSATED, run.state_reason
    assert fleet.answers() == server.expected(1)
    assert observed(engine).observed_digest == fleet.good.digest
    back = intents_of(run)[intents_of(run).index("switch") + 1 :]
    assert back == {"triton": ["stage", "load", "restore"], "torchserve": ["restore"]}.get(engine, ["load", "restore"])


def intents_of(run: Run) -> list[str]:
    """The acts of a run, in order."""
    return [event["data"]["step"] for event in events("rollback.step.intent") if event["data"]["run"] == str(run.pk)]


def test_an_undo_on_triton_finds_the_old_version_warm_and_loads_nothing(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any
) -> None:
    # given a rollback that was carried out and verified
    fleet = fleet_on(servers("triton"), tmp_path, settings, environment="staging")
    fleet.approvers = (fleet.commander,)
    fleet.serve(fleet.bad)
    run = fleet.finished()
    assert run.state == RunState.SWITCHED, run.state_reason
    held = fleet.server.driver.observe(fleet.server.address).models[fleet.slug].versions
    assert {name: state.state for name, state in held.items()} == {"1": "ready", "2": "ready"}
    assert to_be_loaded(PlanDocument.read(bytes(run.plan.document)), list(run.steps.all())) == []
    Watch.objects.filter(run=run).update(state=WatchState.PASSED)

    # when it is undone by one click and an approval
    way_back = undo.undo(
        run_id=run.pk, user=fleet.responder, reason="It was the data.", actor=actor_for(user=fleet.responder)
    )
    assert preflight.run(way_back.pk)
    way_back.refresh_from_db()
    fleet.approve(way_back)
    decided.request_decided(way_back.request_id)
    back = Run.objects.get(plan=way_back)
    until_ended(back)

    # then the one act until its switch was the switch, and version 1 is warm in its turn
    assert back.state == RunState.SWITCHED, back.state_reason
    assert fleet.answers() == fleet.server.expected(2)
    assert events("rollback.prepare.intent") == [e for e in events("rollback.prepare.intent") if is_first(e, fleet)]
    assert intents_of(back) == ["switch", "stage", "load"]
    assert fleet.server.driver.observe(fleet.server.address).models[fleet.slug].versions["1"].state == "ready"


def is_first(event: dict[str, Any], fleet: EngineFleet) -> bool:
    """Of the preflight of the rollback itself."""
    return bool(event["data"]["version"] == fleet.good.digest)


def test_a_copy_that_died_on_triton_is_found_before_it_is_gone_back_to_and_loaded_anew(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any
) -> None:
    """Triton calls it READY, and answers 200 when it is told to load it."""
    # given a release whose host holds the old version beside the new one, dead
    server = servers("triton")
    fleet = fleet_on(server, tmp_path, settings, wave_soak_seconds=3600)
    fleet.serve(fleet.good)
    run = fleet.finished(fleet.bad, kind="release")
    number = server.file_on_disk(fleet.slug, "1", (bytes(fleet.good.manifest), {})).parent.name
    kill_stub(server, fleet.slug, number)

    # when
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="It is worse.", actor=actor_for(user=fleet.commander))
    until_ended(run)

    # then
    assert run.state == RunState.COMPENSATED, run.state_reason
    assert fleet.answers() == server.expected(1)
    back = intents_of(run)[intents_of(run).index("switch") + 1 :]
    assert back == ["stage", "load", "unload", "load", "restore"]


@pytest.mark.parametrize("engine", ["triton", "mlserver", "torchserve"])
def test_probes_that_an_engine_counts_are_not_taken_for_live_traffic(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, engine: str
) -> None:
    # given a host without traffic, whose gate asks for some
    server = servers(engine)
    fleet = fleet_on(server, tmp_path, settings)
    fleet.serve(fleet.bad)
    run = fleet.started(min_requests=5)
    step = run.steps.get()

    def asked() -> int:
        advance.advance(run.pk)
        step.refresh_from_db()
        return int(step.baseline.get("asked", 0))

    # when it was asked more often than would be enough
    until(lambda: asked() > 24, seconds=60)

    # then nothing has passed; live requests are what it waits for
    assert run.waves.get().state == WaveState.SOAKING
    errors = run.checks.get(stage="gate", name="errors")
    assert (errors.answer, errors.observed.split(" of ")[0]) == ("inconclusive", "0")
    for _ in range(40):
        fleet.answers()
    until_ended(run)
    assert run.state == RunState.SWITCHED, run.state_reason
    [said] = [lane["counted"][-1] for wave in waves_of(run) for lane in wave["lanes"]]
    assert said.startswith(
        "version 1: " if engine == "triton" else "all versions, which the engine does not tell apart"
    )
    assert said.endswith("golden tests are among them")


def test_a_host_that_forgot_its_version_is_seen_to_serve_nothing(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any
) -> None:
    server = servers("triton")
    settings.LASTGOOD_VAR = tmp_path / "var"
    settings.LASTGOOD_REPOSITORIES = [str(server.repository.parent)]
    fleet = EngineFleet(tmp_path, server).build()
    fleet.serve(fleet.good)
    server.kill()
    server.start()

    placement = observed("triton")

    assert (placement.health, placement.observed_digest) == (Health.NOT_READY, "")


@pytest.mark.parametrize("engine", ["triton", "torchserve"])
def test_a_host_whose_engine_was_killed_and_started_again_is_converged_to_what_was_approved(
    committed_db: Any, servers: Callable[[str], Server], tmp_path: Path, settings: Any, engine: str
) -> None:
    # given a rollback that was approved and carried out, and an engine that forgets everything at a restart
    server = servers(engine)
    fleet = fleet_on(server, tmp_path, settings)
    fleet.serve(fleet.bad)
    assert fleet.finished().state == RunState.SWITCHED
    server.kill()
    server.start()
    placement = observed(engine)
    assert placement.health == Health.NOT_READY

    # when the reconciler asks for it
    run = converge.converge(placement.pk)
    assert run is not None
    until_ended(run)

    # then
    assert run.state == RunState.SWITCHED, run.state_reason
    assert fleet.answers() == server.expected(1)
    assert observed(engine).health == Health.SERVING
