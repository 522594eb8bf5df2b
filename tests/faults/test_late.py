"""Whoever comes late finds a door that is shut: a call that was under way, a worker that was asleep."""

import subprocess
from collections.abc import Callable

import pytest

from accounts.actions import actor_for
from incidents.rollback import advance, decided
from incidents.rollback import run as runs
from incidents.rollback.models import Run, RunState
from tests.faults.judge import deeds_of
from tests.faults.points import Point
from tests.faults.proxy import Proxy
from tests.faults.town import Town, go_on
from tests.incidents.rollback.fleet import Fleet
from tests.waiting import until

pytestmark = pytest.mark.faults


def test_f20_a_switch_that_arrives_after_the_run_was_turned_back_is_refused(
    fleet: Fleet, proxied: Callable[[int], Proxy]
) -> None:
    """The call is held on its way until the worker has given up, and let go when the hosts have been brought back."""
    proxy = proxied(0)
    run = fleet.started()
    proxy.drop_late = False
    proxy.hold_before = f"/lastgood/v1/models/{fleet.slug}/default"
    person = fleet.commander
    advance.advance(run.pk)
    assert proxy.held.is_set()
    proxy.hold_before = ""

    runs.compensate(run_id=run.pk, user=person, reason="It takes too long.", actor=actor_for(user=person))
    advance.advance(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.COMPENSATED
    proxy.let_go.set()

    first = fleet.processes[0]

    def refused() -> list[int]:
        deeds = deeds_of("h1", first.log)
        return [deed.fence for deed in deeds if (deed.what, deed.model) == ("switch-refused", fleet.slug)]

    until(refused, seconds=30)
    assert refused() == [2]
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert fleet.defaults_set()[0] == 3


def test_f20_a_switch_that_arrives_after_the_next_run_is_refused(fleet: Fleet, proxied: Callable[[int], Proxy]) -> None:
    """The run is stopped with its call under way; another one goes elsewhere before the call arrives."""
    proxy = proxied(0)
    run = fleet.started()
    proxy.drop_late = False
    proxy.hold_before = f"/lastgood/v1/models/{fleet.slug}/default"
    person = fleet.commander
    advance.advance(run.pk)
    runs.stop(run_id=run.pk, user=person, reason="It takes too long.", actor=actor_for(user=person))
    proxy.hold_before = ""
    third = fleet.add_version(5, bias=1.0)
    plan = fleet.awaiting(third)
    fleet.approve(plan)
    decided.request_decided(plan.request_id)
    second = Run.objects.get(plan=plan)
    advance.advance(second.pk)
    second.refresh_from_db()
    assert second.state == RunState.SWITCHED, second.state_reason
    proxy.let_go.set()

    until(lambda: "switch-refused" in [d.what for d in deeds_of("h1", fleet.processes[0].log)], seconds=30)
    assert fleet.serving() == [third.digest] * 3


def test_f33_a_worker_that_slept_past_its_lease_is_turned_away_by_the_host(town: Town) -> None:
    """SIGSTOP between intent and call; meanwhile another worker ends the run, and a person has it undone."""
    endpoint = town.endpoint()
    town.clock()
    run = town.run(endpoint)
    asleep = town.worker("asleep", point=Point("step:golden_ok>switched", "before_call", "h1", "stop"))
    until(lambda: _stopped(asleep), seconds=90)
    town.worker("awake")
    town.wait_for([run])
    back = town.run(endpoint)
    town.wait_for([back])
    assert set(town.defaults(endpoint).values()) == {endpoint.bad.digest}

    told = len(town.said("asleep"))
    go_on(asleep)
    until(lambda: len(town.said("asleep")) > told, seconds=90)

    # Where its connection had been closed meanwhile, the call does not even come to be refused.
    assert set(town.defaults(endpoint).values()) == {endpoint.bad.digest}
    judgement = town.judge()
    assert {(d.host, d.fence) for d in judgement.refused() if d.model == endpoint.slug} <= {("h1", 2)}
    assert judgement.wrong() == []


def _stopped(process: subprocess.Popen[bytes]) -> bool:
    import psutil

    return psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
