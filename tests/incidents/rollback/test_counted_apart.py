"""An engine that counts Lastgood's own probes does not pass for one with live traffic."""

import datetime
from typing import Any

import pytest

from incidents.rollback.counted import since_done
from incidents.rollback.models import HostStep
from registry.serving import driver_for
from registry.serving.base import VersionState

NOW = datetime.datetime(2026, 11, 22, 12, 0, tzinfo=datetime.UTC)
GOLDEN = {"inputs": {"x": [0.0] * 600}}


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, settings: Any) -> HostStep:
    """Done 90 s ago with 100 requests counted, 12 of which the run's gate has asked since."""
    monkeypatch.setattr("incidents.rollback.counted.database_now", lambda: NOW)
    settings.LASTGOOD_GOLDEN_SECONDS = 60
    done = (NOW - datetime.timedelta(seconds=90)).isoformat()
    return HostStep(baseline={"requests": 100, "failures": 1, "asked": 12}, marks={"done": done})


def held(requests: int, failures: int = 1) -> VersionState:
    return VersionState("1", "d", "ready", None, 0, requests, failures, None)


def test_what_was_asked_by_the_run_and_may_have_been_by_the_reconciler_is_taken_off(step: HostStep) -> None:
    """Two golden tests of two calls each may have been asked in 90 s."""
    assert since_done(step, held(150), driver_for("triton").capabilities, GOLDEN) == (50 - 12 - 4, 0)
    assert since_done(step, held(110), driver_for("mlserver").capabilities, GOLDEN) == (0, 0)
    assert since_done(step, held(110, 6), driver_for("torchserve").capabilities, GOLDEN) == (5, 5)


def test_an_engine_that_tells_probes_apart_is_taken_at_its_word(step: HostStep) -> None:
    can = driver_for("bundled").capabilities
    assert since_done(step, held(150), can, GOLDEN) == (50, 0)
    assert since_done(step, held(7, 2), can, GOLDEN) == (7, 2), "started again"
    assert since_done(step, None, can, GOLDEN) == (0, 0)
