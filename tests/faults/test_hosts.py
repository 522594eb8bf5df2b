"""Hosts that go away, are killed, come back, or are left behind: nothing is repeated that was not read, nobody is told
that all is well, and no host counts before it serves what it shall."""

import shutil

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from incidents import actions as incidents
from incidents.errors import GuardFailed
from incidents.models import Incident, IncidentState
from incidents.rollback import run as runs
from incidents.rollback.models import HostStep, PlanKind, Run, RunState, StepState, Watch, WatchState
from registry.models import Health, Placement
from registry.queries import placements_of, sentence_of
from tests.faults.matrix.endpoints import WithAHostOfItsOwn
from tests.faults.town import PATIENT, Town
from tests.incidents.rollback.fleet import SETUP
from tests.waiting import until

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def working(town: Town) -> Town:
    """With a clock, a worker of runs and a reconciler."""
    town.clock()
    town.worker()
    town.worker("reconciler", "intake")
    return town


def own_host(town: Town, **fields: object) -> WithAHostOfItsOwn:
    endpoint = town.endpoint(WithAHostOfItsOwn, **fields)
    assert isinstance(endpoint, WithAHostOfItsOwn)
    return endpoint


def calls_of(endpoint: WithAHostOfItsOwn) -> list[str]:
    """What came to the door: calls of the switch, and readings of the state."""
    names = {f"POST /lastgood/v1/models/{endpoint.slug}/default": "switch", "GET /lastgood/v1/state": "read"}
    return [names[call] for call in endpoint.door.calls if call in names]


def own_step(endpoint: WithAHostOfItsOwn, run: Run) -> HostStep:
    return HostStep.objects.get(run=run, host__name=endpoint.own_name)


def go_on(endpoint: WithAHostOfItsOwn, run: Run) -> None:
    person = endpoint.commander
    runs.resume(run_id=run.pk, user=person, reason="It is back.", actor=actor_for(user=person))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_f19_a_host_that_went_away_in_the_middle_of_its_switch_is_read_before_anything_is_repeated(
    working: Town, moment: str
) -> None:
    """The connection breaks with the call under way, before the host has done it, or after; the host stays away until
    the run has given it up, so nobody knows which."""
    endpoint = own_host(working)
    switch = f"/lastgood/v1/models/{endpoint.slug}/default"
    if moment == "before":
        endpoint.door.cut_before = switch
    else:
        endpoint.door.cut_after = switch
    endpoint.door.calls.clear()
    run = working.begun(working.approved(endpoint, tolerated_absences=0))

    working.wait_for([run], RunState.HALTED)
    run.refresh_from_db()
    step = own_step(endpoint, run)
    assert (run.halt_code, step.state, step.intent) == ("unreachable", StepState.UNREACHABLE, "switch")
    assert "Whether it switched is not known." in step.state_reason
    assert calls_of(endpoint).count("switch") == 1
    endpoint.door.calls.clear()
    endpoint.find()
    go_on(endpoint, run)

    working.wait_for([run])
    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED
    since = calls_of(endpoint)
    assert since[0] == "read"
    assert since.count("switch") == (1 if moment == "before" else 0)
    assert set(working.defaults(endpoint).values()) == {endpoint.good.digest}
    assert working.judge().wrong() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_f38_a_host_that_is_killed_in_the_middle_of_its_switch_is_taken_on_as_it_boots(
    working: Town, moment: str
) -> None:
    endpoint = own_host(working)
    host = working.hosts[2]
    switch = f"/lastgood/v1/models/{endpoint.slug}/default"
    placement = Placement.objects.get(endpoint=endpoint.endpoint, host__name=endpoint.own_name)
    until(lambda: _boot(placement), seconds=PATIENT)
    booted = _boot(placement)
    if moment == "before":
        endpoint.door.hold_before = switch
    else:
        endpoint.door.hold_after = switch
    run = working.begun(working.approved(endpoint, tolerated_absences=0))
    until(endpoint.door.held.is_set, seconds=PATIENT)

    host.stop(9)
    endpoint.door.down = True
    endpoint.door.hold_before = endpoint.door.hold_after = ""
    endpoint.door.let_go.set()
    working.wait_for([run], RunState.HALTED)
    host.start()
    endpoint.find()
    go_on(endpoint, run)

    working.wait_for([run])
    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED, Run.objects.get(pk=run.pk).state_reason
    assert set(working.defaults(endpoint).values()) == {endpoint.good.digest}
    until(lambda: _boot(placement) not in ("", booted), seconds=PATIENT)
    until(lambda: _health(placement) == Health.SERVING, seconds=PATIENT)
    assert working.judge().wrong() == []


def test_f23_while_a_part_of_the_fleet_is_left_it_is_said_and_the_incident_stays_open(working: Town) -> None:
    """The third host is lost for the rollback, which its plan tolerates, and comes back on the old version, held."""
    endpoint = own_host(working, environment="production")
    incident = Incident.objects.create(
        number=23, ref="INC-23", title="It is wrong.", severity=2, endpoint=endpoint.endpoint, from_version="2",
        group_key="f23", impact_started_at=timezone.now(), detected_at=timezone.now(), state=IncidentState.MONITORING,
    )  # fmt: skip
    plan = endpoint.awaiting(endpoint.good, incident_ref=incident.ref, tolerated_absences=1)
    endpoint.approve(plan)
    endpoint.lose()
    run = working.begun(plan)
    working.wait_for([run])
    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED
    Watch.objects.filter(run=run).update(state=WatchState.PASSED)
    placement = Placement.objects.get(endpoint=endpoint.endpoint, host__name=endpoint.own_name)
    until(lambda: _health(placement) == Health.UNREACHABLE, seconds=PATIENT)

    rows = placements_of([endpoint.endpoint])[endpoint.endpoint.pk]
    said = sentence_of(endpoint.endpoint, rows)
    assert f"version 1 on 2 of 3 hosts; {endpoint.own_name} is unreachable" in said.text
    assert said.tone == "bad"
    with pytest.raises(GuardFailed, match=f"{endpoint.own_name} is unreachable") as refused:
        incidents.resolve(incident=incident, reason="It is over.", actor=SETUP)
    assert refused.value.guard == "whole_fleet"

    endpoint.find()
    until(lambda: _health(placement) == Health.SERVING, seconds=PATIENT)
    converged = Run.objects.filter(plan__kind=PlanKind.CONVERGE, endpoint=endpoint.endpoint)
    working.wait_for(converged)
    assert list(converged.values_list("state", flat=True)) == [RunState.SWITCHED]
    incident.refresh_from_db()
    assert incidents.resolve(incident=incident, reason="All serve it.", actor=SETUP).state == IncidentState.RESOLVED


def test_a_host_that_lost_its_state_counts_only_after_it_was_converged(working: Town) -> None:
    """Killed, its disk wiped, started anew: it serves nothing, is brought to what was approved, then counts."""
    endpoint = working.endpoint()
    run = working.run(endpoint)
    working.wait_for([run])
    host = working.hosts[2]
    placement = Placement.objects.get(endpoint=endpoint.endpoint, host__name="h3")
    until(lambda: _health(placement) == Health.SERVING, seconds=PATIENT)
    fence = host.view(endpoint.slug)["fence"]

    host.stop(9)
    shutil.rmtree(host.state)
    host.start()

    seen: list[tuple[str, str]] = []

    def converged() -> bool:
        now = Placement.objects.get(pk=placement.pk)
        if now.observed_at is not None and now.observation.get("boot_id") != placement.observation.get("boot_id"):
            seen.append((now.health, now.observed_digest))
        return bool(seen) and seen[-1] == (Health.SERVING, endpoint.good.digest)

    placement.refresh_from_db()
    until(converged, seconds=PATIENT)
    assert {digest for health, digest in seen if health == Health.SERVING} == {endpoint.good.digest}
    assert host.view(endpoint.slug)["fence"] > fence
    assert Run.objects.filter(plan__kind=PlanKind.CONVERGE, endpoint=endpoint.endpoint).exists()
    assert set(working.defaults(endpoint).values()) == {endpoint.good.digest}


def _boot(placement: Placement) -> str:
    return str(Placement.objects.get(pk=placement.pk).observation.get("boot_id", ""))


def _health(placement: Placement) -> str:
    return Placement.objects.get(pk=placement.pk).health
