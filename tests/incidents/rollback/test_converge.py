"""A host that came back with the wrong version is converged under the approval that the endpoint runs on."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.converge import converge
from incidents.rollback.models import PlanKind, Run, RunState
from incidents.rollback.queries import left_as
from registry.actions import hold, quarantine
from registry.models import Placement
from tests.faults.proxy import Proxy
from tests.incidents.rollback.fleet import SETUP, Fleet, events


@pytest.fixture
def one_left_behind(fleet: Fleet, doors: list[Proxy]) -> tuple[Fleet, Placement]:
    """All were to go to version 1; the second host was away meanwhile, and is back with version 2."""
    run = fleet.started()
    doors[1].down = True
    for _ in range(6):
        advance.advance(run.pk)
    run.refresh_from_db()
    assert run.state == RunState.SWITCHED
    doors[1].down = False
    Placement.objects.filter(host__name="h2").update(
        observed_digest=fleet.bad.digest, observed_at=timezone.now(), health="wrong_version"
    )
    return fleet, Placement.objects.get(host__name="h2")


def test_the_host_is_brought_to_what_was_approved(one_left_behind: tuple[Fleet, Placement]) -> None:
    fleet, placement = one_left_behind

    run = converge(placement.pk)

    assert run is not None
    advance.advance(run.pk)
    run.refresh_from_db()
    assert (run.state, run.plan.kind) == (RunState.SWITCHED, PlanKind.CONVERGE)
    assert fleet.serving() == [fleet.good.digest] * 3
    started = events("rollback.run.start")
    assert [event["data"]["kind"] for event in started] == ["rollback", "converge"]
    assert started[0]["data"]["request"] == started[1]["data"]["request"]
    assert fleet.defaults_set()[1] == 3


def test_a_second_request_while_it_runs_starts_nothing(one_left_behind: tuple[Fleet, Placement]) -> None:
    _, placement = one_left_behind
    assert converge(placement.pk) is not None

    assert converge(placement.pk) is None
    assert Run.objects.filter(plan__kind=PlanKind.CONVERGE).count() == 1


def test_a_version_that_was_never_approved_is_not_converged_to(one_left_behind: tuple[Fleet, Placement]) -> None:
    fleet, placement = one_left_behind
    other = fleet.add_version(5, bias=0.1)
    Placement.objects.filter(pk=placement.pk).update(desired=other)

    assert converge(placement.pk) is None

    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()
    assert [event["data"]["refused"] for event in events("rollback.converge.start")] == ["no_authority"]
    assert fleet.serving()[1] == fleet.bad.digest


@pytest.mark.parametrize("case", ["quarantined", "objection"])
def test_no_run_is_started_that_could_only_halt(one_left_behind: tuple[Fleet, Placement], case: str) -> None:
    fleet, placement = one_left_behind
    if case == "quarantined":
        quarantine(version=fleet.good, reason="Found wrong.", actor=SETUP)
    else:
        fleet.decide(Run.objects.get().plan, fleet.approver, "revoke")

    assert converge(placement.pk) is None

    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()
    assert [event["data"]["refused"] for event in events("rollback.converge.start")] == [case]


def test_a_host_that_a_person_holds_is_left_alone(one_left_behind: tuple[Fleet, Placement]) -> None:
    fleet, placement = one_left_behind
    until = timezone.now() + timedelta(hours=1)
    hold(host=placement.host, until=until, reason="Being repaired.", actor=SETUP)

    assert converge(placement.pk) is None
    assert fleet.serving()[1] == fleet.bad.digest


def test_nothing_is_converged_on_an_endpoint_without_an_approved_run(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet()
    fleet.serve(fleet.bad)
    placement = Placement.objects.get(host__name="h1")
    Placement.objects.filter(pk=placement.pk).update(observed_digest="f" * 64, observed_at=timezone.now())

    assert converge(placement.pk) is None
    assert not Run.objects.exists()


def test_after_a_run_went_back_a_host_is_brought_to_what_it_went_back_to(make_fleet: Callable[..., Fleet]) -> None:
    fleet = make_fleet(wave_soak_seconds=3600)
    fleet.serve(fleet.bad)
    run = fleet.finished()
    runs.compensate(run_id=run.pk, user=fleet.commander, reason="Worse.", actor=actor_for(user=fleet.commander))
    advance.advance(run.pk)
    fleet.processes[0].switch("1", fleet.good.digest, 3, fleet.slug)
    Placement.objects.filter(host__name="h1").update(observed_digest=fleet.good.digest, observed_at=timezone.now())

    started = converge(Placement.objects.get(host__name="h1").pk)

    assert started is not None
    advance.advance(started.pk)
    assert fleet.serving() == [fleet.bad.digest] * 3


@pytest.fixture
def stopped(make_fleet: Callable[..., Fleet]) -> Callable[[str], tuple[Fleet, Run]]:
    """A run of that kind was stopped with the canary switched and the other two not come to."""

    def stop(kind: str) -> tuple[Fleet, Run]:
        fleet = make_fleet(wave_soak_seconds=3600)
        fleet.serve(fleet.bad)
        run = fleet.finished(kind=kind)
        runs.stop(run_id=run.pk, user=fleet.commander, reason="Wrong.", actor=actor_for(user=fleet.commander))
        run.refresh_from_db()
        return fleet, run

    return stop


def came_back_with(host: str, digest: str) -> Run | None:
    rows = Placement.objects.filter(host__name=host)
    rows.update(observed_digest=digest, observed_at=timezone.now(), health="wrong_version")
    return converge(rows.get().pk)


def test_after_a_stop_each_host_is_kept_on_what_it_was_left_with(
    stopped: Callable[[str], tuple[Fleet, Run]],
) -> None:
    fleet, run = stopped("release")
    told = {row["host"]: (row["desired"], row["why"]) for row in left_as(run)}
    assert told == {
        "h1": ("version 1", "the run had switched it"),
        "h2": ("version 2", "the run had not come to it"),
        "h3": ("version 2", "the run had not come to it"),
    }

    for host, back_to in (("h1", fleet.good), ("h2", fleet.bad)):
        started = came_back_with(host, "f" * 64)
        assert started is not None
        assert started.plan.to_version == back_to
        Run.objects.filter(pk=started.pk).update(state=RunState.STOPPED)


def test_after_a_stopped_rollback_nobody_brings_the_bad_version_back_by_himself(
    stopped: Callable[[str], tuple[Fleet, Run]],
) -> None:
    fleet, run = stopped("rollback")

    assert came_back_with("h2", "f" * 64) is None

    assert [event["data"]["refused"] for event in events("rollback.converge.start")] == ["no_authority"]
    rows = {row["host"]: row["then"] for row in left_as(run)}
    assert rows["h2"].startswith("is left alone")
    assert rows["h1"].startswith("is brought to it")
    assert fleet.serving() == [fleet.good.digest, fleet.bad.digest, fleet.bad.digest]
