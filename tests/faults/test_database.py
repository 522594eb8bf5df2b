"""The database dies, is away, or comes back without its last commits: no host is called without an intent on record."""

import signal
import time

import pytest
from django.db import connections
from django.utils import timezone
from psycopg import sql

from accounts.actions import actor_for
from incidents.rollback import advance
from incidents.rollback import run as runs
from incidents.rollback.models import Run, RunState
from registry import reconcile
from registry.models import Placement
from tests.faults.durable import Durable
from tests.faults.judge import deeds_of
from tests.faults.points import Point
from tests.faults.town import Endpoint, Town
from tests.waiting import until

pytestmark = pytest.mark.faults


def endpoints_of(town: Town) -> list[Endpoint]:
    """Three that all tests of this file share."""
    return town.endpoints[:3] or [town.endpoint() for _ in range(3)]


def taken_up(begun: list[Run]) -> bool:
    """A worker holds the lease of one of the runs."""
    return Run.objects.filter(pk__in=[run.pk for run in begun]).exclude(lease_holder="").exists()


def test_f09_a_worker_killed_in_commit_is_followed_by_one_that_reads_the_host(durable_town: Town) -> None:
    """COMMIT was sent and nobody heard the answer, at an intent, at a switch and at the end of the run."""
    town = durable_town
    edges = ["intent:switch", "step:golden_ok>switched", "run:running>switched"]
    begun = [town.run(endpoint) for endpoint in endpoints_of(town)]
    nursery = town.nursery()
    for run, edge in zip(begun, edges, strict=True):
        nursery.begin("rollback.advance", run.pk, point=Point(edge, "in_commit"))
    assert nursery.ends() == [-9, -9, -9]

    town.flush_broker()
    town.clock()
    town.worker()
    town.wait_for(begun)

    assert set(Run.objects.values_list("state", flat=True)) == {RunState.SWITCHED}
    assert town.judge().wrong() == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_f09_a_worker_told_to_stop_in_the_middle_loses_nothing(durable_town: Town, how: int) -> None:
    """SIGTERM lets tasks end, SIGQUIT ends them wherever they are."""
    town = durable_town
    town.end_programs()
    begun = [town.run(endpoint) for endpoint in endpoints_of(town)]
    town.clock()
    leaving = town.worker("leaving")
    until(lambda: taken_up(begun), seconds=90)

    leaving.send_signal(how)
    town.worker()

    town.wait_for(begun)
    leaving.wait(60)
    assert town.judge().wrong() == []


def test_f15_while_the_database_is_away_no_host_is_switched(durable_town: Town, durable: Durable) -> None:
    """PostgreSQL is killed in the middle of three runs and stays away for many leases."""
    town = durable_town
    town.end_programs()
    begun = [town.run(endpoint) for endpoint in endpoints_of(town)]
    town.clock()
    town.worker()
    until(lambda: taken_up(begun), seconds=90)
    connections.close_all()
    durable.stop_database()

    def switches() -> int:
        return sum(deed.what == "switch" for host in town.hosts for deed in deeds_of(host.name, host.log))

    # What was committed to before may still be called; once the calls in hand have ended, nothing more may be.
    _let_pass(3)
    quiet = switches()
    _let_pass(5)
    assert switches() == quiet
    durable.start_database()

    town.wait_for(begun)
    assert town.judge().wrong() == []


def test_f14_a_database_that_lost_its_last_commits_is_found_by_the_fence(durable_town: Town, durable: Durable) -> None:
    """A replica without the last commits takes over: hosts know a newer fence than the database, so a run is frozen."""
    town = durable_town
    town.end_programs()
    endpoint = town.endpoint()
    before, name = "lastgood_before", str(connections["default"].settings_dict["NAME"])
    _copy(durable, name, before)
    lost = town.warm(endpoint)
    assert lost.state == RunState.SWITCHED
    _copy(durable, before, name)
    assert not Run.objects.filter(pk=lost.pk).exists()

    run = town.run(endpoint)
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.halt_code) == (RunState.HALTED, "fence")
    assert "somebody else acted" in run.state_reason
    assert set(run.steps.values_list("switch_calls", flat=True)) == {0}
    Placement.objects.update(observe_due_at=timezone.now())
    for placement in Placement.objects.filter(endpoint=endpoint.endpoint):
        reconcile.observe_placement(placement.pk)
    person = endpoint.commander
    runs.resume(run_id=run.pk, user=person, reason="Looked at the hosts.", actor=actor_for(user=person))
    advance.advance(run.pk)

    run.refresh_from_db()
    assert (run.state, run.fence) == (RunState.SWITCHED, 3)
    assert set(town.defaults(endpoint).values()) == {endpoint.good.digest}


def _let_pass(seconds: float) -> None:
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > seconds, seconds=seconds + 10)


def _copy(durable: Durable, source: str, target: str) -> None:
    connections.close_all()
    with durable.cluster.connect("postgres") as connection:
        everybody = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY(%s)"
        connection.execute(everybody, [[source, target]])
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(target)))
        copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER lastgood_owner")
        connection.execute(copy.format(sql.Identifier(target), sql.Identifier(source)))
        grant = sql.SQL("GRANT CONNECT ON DATABASE {} TO lastgood_app, lastgood_sequencer")
        connection.execute(grant.format(sql.Identifier(target)))
