"""What the log holds, as people read it."""

from typing import Any

import pytest

from audit.actions import Target, record, service_actor
from audit.queries import timeline
from incidents.narrative import SENTENCES, tell

pytestmark = pytest.mark.django_db
REF = "INC-1"


def told(action: str, data: dict[str, Any], outcome: str = "success") -> str:
    record(
        action=action,
        target=Target("run", "run-1"),
        actor=service_actor("rollback"),
        data=data,
        outcome=outcome,
        incident=REF,
    )
    return tell(timeline(REF))[-1].text


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("locked", "gpu-a: taken for this run"),
        ("stage", "gpu-a: files in place"),
        ("golden", "gpu-a: golden test passed"),
        ("switch", "gpu-a: switched"),
        ("done", "gpu-a: done"),
        ("restore", "gpu-a: restore is done"),
    ],
)
def test_a_step_that_succeeded_says_what_is_so_now(step: str, sentence: str) -> None:
    assert told("rollback.step.outcome", {"host": "gpu-a", "step": step}) == sentence


def test_a_step_that_begins_or_failed_is_never_told_as_done() -> None:
    data = {"host": "gpu-a", "step": "switch"}

    assert told("rollback.step.intent", data, "intent") == "gpu-a: switch is about to begin"
    assert told("rollback.step.outcome", data, "failed") == "gpu-a: switch failed"


def test_waves_are_called_by_number_and_name() -> None:
    wave = {"wave": 1, "name": "canary"}

    assert told("rollback.wave.start", wave | {"hosts": ["gpu-a"]}) == "Wave 1 (canary) begins on gpu-a"
    assert told("rollback.wave.done", wave) == "Wave 1 (canary) has passed its gate"
    assert told("rollback.wave.fail", {"wave": 2, "name": ""}, "failed") == "Wave 2 did not pass its gate (failed)"


def test_a_deployment_says_which_host_serves_which_version() -> None:
    data = {"endpoint": "employment-production", "host": "gpu-a", "number": 1, "to": "d" * 64}

    assert told("deployment.switch", data) == "gpu-a serves version 1 from now on"


def test_what_nobody_put_into_words_is_told_by_its_name() -> None:
    assert told("placement.hold", {}) == "Placement hold"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({}, "All hosts have switched; the verification begins"),
        ({"outcome": "roll_forward"}, "All hosts have switched; the verification begins"),
        ({"outcome": "drain"}, "Its hosts are out of service"),
        ({"outcome": "freeze"}, "The endpoint is frozen"),
    ],
)
def test_a_run_whose_hosts_have_switched_says_what_came_of_it(data: dict[str, Any], sentence: str) -> None:
    assert told("rollback.run.switched", data) == sentence


@pytest.mark.parametrize("action", sorted(SENTENCES))
def test_every_event_can_be_told_whatever_it_holds(action: str) -> None:
    assert told(action, {})
    assert told(action, {}, outcome="denied").endswith(" (refused)")
