"""Kill -9 of the worker in the middle of a rollback: another one finishes it, and no host is switched twice."""

from collections.abc import Callable

import pytest

from incidents.rollback.models import HostStep, Run, RunState
from tests.faults.conftest import House, wait_until
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import Fleet, events

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("moment", ["before_the_host_switched", "after_the_host_switched", "while_it_loads"])
def test_another_worker_finishes_within_thirty_seconds(
    fleet: Fleet, house: House, proxied: Callable[[int], Proxy], moment: str
) -> None:
    proxy = proxied(0)
    run = fleet.started()
    switch = f"/lastgood/v1/models/{fleet.slug}/default"
    if moment == "before_the_host_switched":
        proxy.hold_before = switch
    elif moment == "after_the_host_switched":
        proxy.hold_after = switch
    else:
        fleet.processes[0].unload("1", fleet.slug)
        proxy.hold_before = "/versions/1/load"
    first = house.worker("first")
    house.clock()
    assert proxy.held.wait(30), house.log("first")

    first.kill()
    first.wait()
    proxy.hold_before = proxy.hold_after = ""
    proxy.let_go.set()
    house.worker("second")
    took = wait_until(lambda: Run.objects.get(pk=run.pk).state == RunState.SWITCHED, 30, "the run is finished")

    assert took < 30
    assert fleet.serving() == [fleet.good.digest] * 3
    assert fleet.defaults_set() == [2, 2, 2]
    steps = HostStep.objects.filter(run=run).order_by("host__name")
    assert [step.state for step in steps] == ["done"] * 3
    switched = [call for call in proxy.calls if call == f"POST {switch}"]
    assert len(switched) == (2 if moment == "before_the_host_switched" else 1)
    outcomes = [e["data"]["host"] for e in events("rollback.step.outcome") if e["data"]["step"] == "switch"]
    assert sorted(outcomes) == ["h1", "h2", "h3"]


def test_a_flushed_broker_loses_nothing(fleet: Fleet, house: House, proxied: Callable[[int], Proxy]) -> None:
    proxy = proxied(0)
    run = fleet.started()
    proxy.hold_after = f"/lastgood/v1/models/{fleet.slug}/default"
    house.worker("first")
    house.clock()
    assert proxy.held.wait(30), house.log("first")

    house.flush_broker()
    proxy.let_go.set()

    wait_until(lambda: Run.objects.get(pk=run.pk).state == RunState.SWITCHED, 30, "the run is finished")
    house.flush_broker()
    assert fleet.serving() == [fleet.good.digest] * 3
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
