"""A host that answers 200 and serves something else is found out, not believed."""

import json
from collections.abc import Callable

import pytest

from incidents.rollback import advance, preflight
from incidents.rollback.models import PlanState, Run, RunState
from tests.faults.proxy import Proxy, change_json
from tests.incidents.rollback.fleet import Fleet

pytestmark = pytest.mark.faults


def other_weights(fleet: Fleet, proxy: Proxy) -> None:
    """Version 1 is asked, version 2 answers and claims to be version 1."""
    proxy.redirect = {f"/v2/models/{fleet.slug}/versions/1/infer": f"/v2/models/{fleet.slug}/versions/2/infer"}

    def claim(method: str, path: str, content: bytes) -> bytes:
        if not path.endswith("/infer"):
            return content

        def rename(answer: dict) -> None:
            answer["model_version"] = "1"
            answer.setdefault("parameters", {})["digest"] = fleet.good.digest

        return change_json(content, rename)

    proxy.rewrite_answer = claim


def test_preflight_finds_other_weights_under_the_right_digest(fleet: Fleet, proxied: Callable[[int], Proxy]) -> None:
    other_weights(fleet, proxied(1))
    proposed = fleet.propose()

    preflight.run(proposed.pk)

    proposed.refresh_from_db()
    [failed] = proposed.preflights.filter(answer="fail")
    assert (failed.name, failed.host.name) == ("golden", "h2")
    assert proposed.state == PlanState.DRAFT


def test_abuse_38_a_run_halts_before_it_switches_a_host_with_other_weights(
    fleet: Fleet, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(0)
    run = fleet.started()
    other_weights(fleet, proxy)

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "step_failed")
    assert "golden outputs" in run.state_reason
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert not [call for call in proxy.calls if call.endswith("/default")]


def test_abuse_38_a_switch_that_is_answered_200_and_not_done_is_not_believed(
    fleet: Fleet, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(0)
    run = fleet.started()
    proxy.swallow = f"/lastgood/v1/models/{fleet.slug}/default"

    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "step_failed")
    assert "reading it back shows otherwise" in run.state_reason
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_a_state_that_is_made_up_does_not_get_past_the_post_check(
    fleet: Fleet, proxied: Callable[[int], Proxy]
) -> None:
    """The host says that it switched, and its ordinary requests are still answered by the old version."""
    proxy = proxied(0)
    run = fleet.started()
    proxy.swallow = f"/lastgood/v1/models/{fleet.slug}/default"

    def made_up(method: str, path: str, content: bytes) -> bytes:
        if not path.endswith("/state"):
            return content

        def pretend(state: dict) -> None:
            if any(call.endswith("/default") for call in proxy.calls):
                state["models"][fleet.slug]["default"] = {"version": "1", "digest": fleet.good.digest}
                state["models"][fleet.slug]["fence"] = run.fence

        return change_json(content, pretend)

    proxy.rewrite_answer = made_up

    advance.advance(run.pk)

    run = Run.objects.get(pk=run.pk)
    assert (run.state, run.halt_code) == (RunState.HALTED, "step_failed")
    assert json.loads(json.dumps(run.steps.get(host__name="h1").marks)).keys() >= {"switched"}
    assert fleet.serving()[1:] == [fleet.bad.digest] * 2
