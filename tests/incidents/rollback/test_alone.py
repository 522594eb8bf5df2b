"""On an engine that keeps no fence, one worker at a time changes what a host has in memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any

import pytest
from django.db import connection

from incidents.rollback import advance, alone, fleet, prepare
from incidents.rollback.models import RunState
from registry.serving import DRIVERS
from registry.serving.base import ServingError
from registry.serving.bundled import BundledDriver
from tests.incidents.rollback.fleet import Fleet, events, until_ended


class KeepsNoFence(BundledDriver):
    capabilities = replace(BundledDriver.capabilities, fencing=False)


@pytest.fixture
def unfenced(make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Three hosts that serve the bad version."""
    made = make_fleet()
    made.serve(made.bad)
    monkeypatch.setitem(DRIVERS, "bundled", KeepsNoFence())
    return made


@contextmanager
def another_worker_changes(fleet_: Fleet, number: int) -> Iterator[None]:
    """Another session of the database has the right to change that host."""
    remote, taken, done = fleet.reach(fleet_.hosts[number], fleet_.endpoint), Event(), Event()

    def work() -> None:
        with alone.alone(remote, "switch") as mine:
            assert mine
            taken.set()
            done.wait(60)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work)
        assert taken.wait(30)
        try:
            yield
        finally:
            done.set()
            working.result()


def test_a_run_waits_with_a_host_that_another_worker_changes_and_goes_on_once_it_may(unfenced: Fleet) -> None:
    run = unfenced.started()
    calls = len(events("rollback.step.intent"))

    # when another worker is changing the canary
    with another_worker_changes(unfenced, 0):
        advance.advance(run.pk)

        # then nothing is called there
        assert [e["data"]["step"] for e in events("rollback.step.intent")[calls:] if e["data"]["host"] == "h1"] == []
        assert unfenced.serving() == [unfenced.bad.digest] * 3

    # and afterwards the run comes to its end
    until_ended(run)
    assert run.state == RunState.SWITCHED, run.state_reason
    assert unfenced.serving() == [unfenced.good.digest] * 3


def test_who_prepares_a_host_says_that_another_worker_changes_it_and_calls_nothing(
    unfenced: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "PATIENCE_SECONDS", 0.0)
    remote = fleet.reach(unfenced.hosts[0], unfenced.endpoint)
    called: list[Any] = []

    with another_worker_changes(unfenced, 0), pytest.raises(ServingError, match="Another worker has been changing h1"):
        prepare.act("load", lambda: called.append(1), remote, unfenced.good, "", "test", prepare.WORKER)

    assert called == []
    assert [e for e in events("rollback.prepare.intent") if e["data"]["cause"] == "test"] == []


def test_bringing_files_and_hosts_that_keep_a_fence_wait_for_nobody(
    unfenced: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = fleet.reach(unfenced.hosts[0], unfenced.endpoint)
    with another_worker_changes(unfenced, 0):
        with alone.alone(remote, "stage") as mine:
            assert mine
        with alone.alone(remote, "load") as mine:
            assert not mine
        monkeypatch.setitem(DRIVERS, "bundled", BundledDriver())
        with alone.alone(fleet.reach(unfenced.hosts[0], unfenced.endpoint), "load") as mine:
            assert mine
