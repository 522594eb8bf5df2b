"""Hosts are put into waves by count, by percentage and by label, each with its quorum."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from incidents.rollback import watch
from incidents.rollback.drifted import unsettled
from incidents.rollback.models import Run, RunState, Watch, WatchState
from incidents.rollback.plan import PlanRefused, read
from incidents.rollback.waves import Member, WavesRefused, lay_out
from registry import reconcile
from registry.models import Host, Placement
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import Fleet, events, until_ended

RACKS = ["a", "a", "b", "", "b"]
FIVE = [Member(f"h{i}", {"rack": rack} if rack else {}) for i, rack in enumerate(RACKS, start=1)]


def laid(members: list[Member], by: dict[str, Any], **more: Any) -> list[tuple[str, list[str], int]]:
    return [(wave.name, wave.hosts, wave.quorum) for wave in lay_out(members, by, **more)]


def test_a_label_makes_one_wave_a_value_after_one_canary() -> None:
    assert laid(FIVE, {"label": "rack"}) == [
        ("canary", ["h1"], 0),
        ("rack a", ["h2"], 0),
        ("rack b", ["h3", "h5"], 0),
        ("without rack", ["h4"], 0),
    ]


def test_percentages_say_how_much_is_done_after_each_wave() -> None:
    fifty = [Member(f"h{i}", {}) for i in range(50)]

    waves = laid(fifty, {"percent": [10, 50, 100]}, quorum={"percent": 75})

    assert [(name, len(hosts), quorum) for name, hosts, quorum in waves] == [
        ("canary", 5, 4),
        ("wave 2", 20, 15),
        ("rest", 25, 19),
    ]
    assert [len(hosts) for _, hosts, _ in laid(FIVE, {"percent": [10]})] == [1, 4]
    assert [len(hosts) for _, hosts, _ in laid(FIVE, {"percent": [1, 2, 100]})] == [1, 4]


def test_counts_and_a_quorum_in_hosts_that_no_small_wave_can_miss() -> None:
    assert laid(FIVE, {"count": [1, 2]}, quorum={"hosts": 2}) == [
        ("canary", ["h1"], 1),
        ("wave 2", ["h2", "h3"], 2),
        ("rest", ["h4", "h5"], 2),
    ]


@pytest.mark.parametrize(
    ("by", "quorum", "words"),
    [
        ({}, None, "Name one of these"),
        ({"count": [1], "percent": [50]}, None, "Name one of these"),
        ({"label": "zone"}, None, "No host of this endpoint has the label 'zone'"),
        ({"percent": [50, 10]}, None, "have to grow"),
        ({"percent": [0]}, None, "from 1 to 100"),
        ({"count": []}, None, "list of whole numbers"),
        ({"rack": "a"}, None, "can't be made by rack"),
        ({"count": [1]}, {"percent": 101}, "at most 100"),
        ({"count": [1]}, {"share": 1}, "Name one of the two"),
    ],
)
def test_waves_that_make_no_sense_are_refused(by: dict[str, Any], quorum: Any, words: str) -> None:
    with pytest.raises(WavesRefused, match=words):
        lay_out(FIVE, by, quorum)


def states(run: Run) -> dict[str, str]:
    return dict(run.steps.values_list("host__name", "state"))


def test_a_plan_by_label_runs_canary_then_rack_by_rack(fleet: Fleet) -> None:
    for name, rack in (("h1", "a"), ("h2", "b"), ("h3", "a")):
        Host.objects.filter(name=name).update(labels={"rack": rack})

    run = fleet.finished(wave_by={"label": "rack"})

    assert run.state == RunState.SWITCHED
    assert [e["data"]["hosts"] for e in events("rollback.wave.start")] == [["h1"], ["h3"], ["h2"]]
    assert [wave.name for wave in run.waves.all()] == ["canary", "rack a", "rack b"]
    assert fleet.serving() == [fleet.good.digest] * 3


def refuse_loads(fleet: Fleet, host: int) -> None:
    """The host lost the version, and the file on its disk is damaged, so that it can't be loaded there again."""
    process = fleet.processes[host]
    process.unload("1", fleet.slug)
    blob = process.blob((bytes(fleet.good.manifest), {}), "weights")
    before = blob.read_bytes()
    blob.write_bytes(before[:-1] + bytes([before[-1] ^ 0x40]))


def test_a_host_that_fails_within_the_budget_is_left_out_on_record_and_held_for_a_person(fleet: Fleet) -> None:
    run = fleet.started(failure_budget=1)
    refuse_loads(fleet, 1)

    until_ended(run)

    assert (run.state, states(run)) == (RunState.SWITCHED, {"h1": "done", "h2": "failed", "h3": "done"})
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.good.digest]
    assert events("rollback.wave.switch")[-1]["data"]["failed"] == ["h2"]
    left = Placement.objects.select_related("host").get(host__name="h2")
    assert (left.desired_id, left.host.is_held) == (fleet.good.pk, True)

    Placement.objects.filter(pk=left.pk).update(observe_due_at=timezone.now())
    reconcile.observe_placement(left.pk)
    assert unsettled(timezone.now()) == [left.pk]
    Watch.objects.filter(run=run).update(patience_until=timezone.now())
    watch.tick(run.pk)
    found = run.checks.filter(stage="watch", name="serving", host__name="h2").get()
    assert (found.answer, found.observed) == ("inconclusive", f"it is in service with digest {fleet.bad.digest[:12]}")
    assert Watch.objects.get(run=run).state == WatchState.INCONCLUSIVE
    fleet.processes[1].http.post(
        f"/lastgood/v1/models/{fleet.slug}/service", json={"serving": False, "fence": run.fence + 1}
    )
    [answer] = [a for a in watch.ask(run, read(run.plan), thorough=False) if a.host == left.host]
    assert (answer.answer, answer.observed) == ("pass", "it is out of service")


def test_a_wave_below_its_quorum_halts_although_the_budget_allows_the_failure(fleet: Fleet) -> None:
    run = fleet.started(failure_budget=1, quorum={"percent": 100})
    refuse_loads(fleet, 1)

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "quorum")
    assert "1 host(s) of this wave succeeded; the plan asks for 2" in run.state_reason
    assert not events("rollback.run.switched")


def test_no_wave_begins_while_fewer_hosts_serve_than_the_plan_asks_for(fleet: Fleet, doors: list[Proxy]) -> None:
    run = fleet.started(min_hosts_serving=3, tolerated_absences=1)
    doors[2].down = True

    until_ended(run)

    assert (run.state, run.halt_code) == (RunState.HALTED, "capacity")
    assert states(run) == {"h1": "pending", "h2": "pending", "h3": "pending"}
    assert fleet.serving() == [fleet.bad.digest] * 3
    assert not events("rollback.step.intent")


def test_a_rollback_goes_where_the_bad_version_no_longer_loads(fleet: Fleet) -> None:
    """No host serves any more, which is no reason to keep the run from them: it takes nobody out of service."""
    weights = [process.blob((bytes(fleet.bad.manifest), {}), "weights") for process in fleet.processes]
    for process, blob in zip(fleet.processes, weights, strict=True):
        before = blob.read_bytes()
        blob.write_bytes(before[:-1] + bytes([before[-1] ^ 0x40]))
        process.stop(9)
        process.start(ready=False)
    for process in fleet.processes:
        process.wait_for_state("2", "failed", fleet.slug)
    run = fleet.started(wave_sizes=[1], min_hosts_serving=2)

    until_ended(run)

    assert (run.state, run.state_reason) == (RunState.SWITCHED, "")
    assert fleet.serving() == [fleet.good.digest] * 3


def test_more_hosts_than_there_are_can_not_be_asked_to_serve(make_fleet: Callable[..., Fleet]) -> None:
    made = make_fleet()

    with pytest.raises(PlanRefused, match="there are 3"):
        made.propose(kind="release", min_hosts_serving=4)
    with pytest.raises(PlanRefused, match="No host of this endpoint has the label"):
        made.propose(kind="release", wave_by={"label": "rack"})
