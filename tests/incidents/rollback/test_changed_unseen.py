"""What people did to a host without a fence while Lastgood was down is not undone before they are asked."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from accounts.actions import actor_for
from incidents.intake import take_alert
from incidents.practice.by_hand import record_by_hand
from incidents.rollback import advance
from incidents.rollback.converge import converge
from incidents.rollback.drifted import settle
from incidents.rollback.models import PlanKind, Run, RunState
from registry import reconcile
from registry.actions import quarantine, release
from registry.models import Endpoint, Health, Host, Placement
from registry.serving import DRIVERS
from registry.serving.bundled import BundledDriver
from tests.incidents.rollback.fleet import SETUP, Fleet, events
from tests.ports import free_port


class Unfenced(BundledDriver):
    """As an engine that takes every call, whoever makes it."""

    capabilities = replace(BundledDriver.capabilities, fencing=False)


def look(*, seconds_since_the_last: float = 15) -> Placement:
    """Observe the first host, twice where the first look has to be confirmed; as if last done so long ago."""
    row = Placement.objects.filter(host__name="h1")
    row.update(observed_at=timezone.now() - timedelta(seconds=seconds_since_the_last))
    for _ in range(2):
        row.update(observe_due_at=Now())
        reconcile.observe_placement(row.get().pk)
    return row.select_related("host", "desired", "endpoint").get()


@pytest.fixture
def rolled_back(make_fleet: Callable[..., Fleet], monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """All three hosts were rolled back to version 1, and the first was seen to serve it."""
    monkeypatch.setitem(DRIVERS, "bundled", Unfenced())
    fleet = make_fleet()
    fleet.serve(fleet.bad)
    assert fleet.finished().state == RunState.SWITCHED
    assert look().health == Health.SERVING
    return fleet


def switch_by_hand(fleet: Fleet) -> None:
    """To version 2. The endpoint's fence is moved on with the host's: an engine without one refuses no later call."""
    fence = fleet.defaults_set()[0] + 1
    assert fleet.processes[0].switch("2", fleet.bad.digest, fence, fleet.slug).status_code == 200
    Endpoint.objects.filter(pk=fleet.endpoint.pk).update(fence=fence)


def test_a_change_made_while_nobody_looked_is_held_told_and_recorded(rolled_back: Fleet) -> None:
    # given
    switch_by_hand(rolled_back)

    # when Lastgood is up again after ten minutes
    placement = look(seconds_since_the_last=600)
    alert = settle(placement.pk)
    assert converge(placement.pk) is None

    # then
    assert rolled_back.serving()[0] == rolled_back.bad.digest
    assert not Run.objects.filter(plan__kind=PlanKind.CONVERGE).exists()
    placement.host.refresh_from_db()
    assert placement.host.is_held
    assert placement.host.held_reason == (
        "It was changed while Lastgood was not looking: It serves version 2 instead of version 1."
    )
    assert [event["actor"]["id"] for event in events("host.hold")] == ["svc:reconciler"]
    assert alert is not None
    assert alert.summary == (
        "h1 is not as it was left: It serves version 2 instead of version 1. It changed while Lastgood was not "
        "looking; what was done by hand is recorded on the page of readiness."
    )
    assert settle(placement.pk) is None, "the hold ends no alert"

    # and when a commander records it
    incident = take_alert(alert_id=alert.pk)
    assert incident is not None
    carla = {"user": rolled_back.commander, "actor": actor_for(user=rolled_back.commander)}
    record_by_hand(incident=incident, placement=placement, at=timezone.now(), told="Rita did it.", **carla)

    # then it is what the host shall serve, and nothing is held any more
    found = look()
    assert (found.health, found.desired, found.host.is_held) == (Health.SERVING, rolled_back.bad, False)
    assert len(events("host.release")) == 1


def test_a_host_that_is_released_instead_is_converged(rolled_back: Fleet) -> None:
    switch_by_hand(rolled_back)
    placement = look(seconds_since_the_last=600)
    assert converge(placement.pk) is None

    release(host=placement.host, reason="Nobody did that.", actor=SETUP)
    run = converge(look().pk)

    assert run is not None
    advance.advance(run.pk)
    assert rolled_back.serving() == [rolled_back.good.digest] * 3


def test_the_host_being_away_at_the_first_look_hides_nothing(rolled_back: Fleet) -> None:
    switch_by_hand(rolled_back)
    host = rolled_back.hosts[0]
    right = host.address
    Host.objects.filter(pk=host.pk).update(address=f"http://127.0.0.1:{free_port()}")
    assert look(seconds_since_the_last=600).health == Health.UNREACHABLE
    Host.objects.filter(pk=host.pk).update(address=right)

    assert converge(look().pk) is None

    host.refresh_from_db()
    assert host.is_held


@pytest.mark.parametrize("case", ["seen", "fenced", "quarantined"])
def test_other_changes_are_converged_as_ever(rolled_back: Fleet, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    # given a change made under our eyes, one that a fence keeps apart, or to a version that nobody may go to
    switch_by_hand(rolled_back)
    if case == "fenced":
        monkeypatch.setitem(DRIVERS, "bundled", BundledDriver())
    if case == "quarantined":
        quarantine(version=rolled_back.bad, reason="Found wrong.", actor=SETUP)

    # when
    run = converge(look(seconds_since_the_last=15 if case == "seen" else 600).pk)

    # then
    assert run is not None
    rolled_back.hosts[0].refresh_from_db()
    assert not rolled_back.hosts[0].is_held
