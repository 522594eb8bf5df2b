"""Where an engine can't do something, the next-safest thing is done, and the plan says which."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from accounts.actions import actor_for
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import Check, Preflight, RunState
from incidents.rollback.terms import plan_terms
from registry import serving_access
from registry.serving import DRIVERS
from registry.serving.base import INSTEAD, Capabilities, Refused
from registry.serving.bundled import BundledDriver
from tests.incidents.rollback.fleet import Fleet, until_ended
from tests.incidents.rollback.test_preflight import answers

LONGEST = Preflight._meta.get_field("observed").max_length or 0


def test_what_an_engine_that_lacks_everything_lacks_is_said_whole() -> None:
    nothing = Capabilities(**{field.name: False for field in fields(Capabilities)})

    said = f"{max(DRIVERS, key=len)}: {' '.join(nothing.lacking())}"

    assert set(INSTEAD.values()) - set(nothing.lacking()) == {INSTEAD["keeps_at_switch"]}, "warm_undo says it as well"
    assert len(said) <= LONGEST


def terms_of(fleet: Fleet, engines: list[str], **body: Any) -> dict[str, str]:
    """What the page would say of a plan whose hosts were of those engines."""
    plan = fleet.propose()
    document = PlanDocument.read(bytes(plan.document))
    hosts = [{"name": f"g{number}", "engine": engine} for number, engine in enumerate(engines)]
    changed = PlanDocument(document.body | {"hosts": hosts, "waves": [{"name": "all", "hosts": ["g0"]}]} | body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PlanDocument, "read", lambda _: changed)
        return {term["label"]: term["value"] for term in plan_terms(plan)}


def test_the_plan_says_on_which_hosts_nothing_stays_warm_and_which_load_again_at_the_switch(fleet: Fleet) -> None:
    mixed = terms_of(fleet, ["bundled", "triton", "mlserver"])
    assert mixed["The old version stays warm"] == (
        "3600 s; g1, whose engine drops it at the switch, loads it again once all hosts have switched; "
        "not on g2, whose engine drops it at the switch: going back loads it again there"
    )
    assert mixed["Between waves"].endswith(
        "latency (latency not on g1, g2, where the old version is gone and nothing can be compared)"
    )
    assert mixed["On each host"] == (
        "both versions in memory, one switch, no request dropped; at it the engine of g2 loads again, and answers with "
        "the old version meanwhile"
    )


def test_a_release_has_the_old_version_loaded_again_after_each_wave_where_the_engine_drops_it(fleet: Fleet) -> None:
    back_by_itself = terms_of(fleet, ["bundled", "triton"], on_failure="compensate")

    assert back_by_itself["The old version stays warm"] == (
        "3600 s; g1, whose engine drops it at the switch, loads it again after each wave"
    )
    assert "(latency not on" not in back_by_itself["Between waves"]


class AsksWhatServes(BundledDriver):
    """As an engine whose versions can't be asked by name."""

    capabilities = replace(BundledDriver.capabilities, versioned_inference=False)

    def infer(self, address: Any, model: str, inputs: Any, version: str | None = None, request_id: str = "") -> Any:
        if version is not None:
            raise Refused(404, "unknown-version", "This engine knows no versions.")
        return super().infer(address, model, inputs, request_id=request_id)


def test_an_engine_that_can_only_ask_what_serves_is_tested_after_the_switch_before_any_other_host(
    make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet()
    fleet.serve(fleet.bad)
    wrong = fleet.add_version(3, bias=2.0, golden={"label": [0, 0, 0], "score": ["0.5", "0.5", "0.5"]})
    monkeypatch.setitem(DRIVERS, "bundled", AsksWhatServes())

    run = fleet.finished(wrong)

    assert answers(run.plan)["golden", "h1"] == "inconclusive"
    step = run.steps.get(host__name="h1")
    assert step.notes["golden_ok"] == "its engine asks only what serves: tested after the switch"
    assert (run.state, run.halt_code, step.state) == (RunState.HALTED, "step_failed", "failed")
    assert fleet.serving() == [wrong.digest, fleet.bad.digest, fleet.bad.digest]


def test_a_version_that_has_left_memory_is_loaded_and_tested_again_before_a_host_goes_back_to_it(
    make_fleet: Callable[..., Fleet],
) -> None:
    # given a release on its canary, which holds the old version no longer
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.finished(kind="release")
    host = fleet.hosts[0]
    serving_access.driver_of(host).unload(serving_access.address_of(host), fleet.slug, str(fleet.bad.number))

    # when
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)
    until_ended(run)

    # then
    assert run.state == RunState.COMPENSATED, run.state_reason
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert Check.objects.get(run=run, name="golden-origin").answer == "pass"
