"""A lease whose holder has died is free at once; one whose holder only does not answer runs out."""

import datetime
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from incidents.rollback import due
from incidents.rollback.lease import Lease, LeaseLost
from incidents.rollback.models import Run
from tests.incidents.rollback.fleet import Fleet
from tests.waiting import until

HOLDER = """
import sys, django
django.setup()
from incidents.rollback.lease import Lease
with Lease(sys.argv[1]) as lease:
    lease.pause(120)
"""


@pytest.fixture
def run(make_fleet: Callable[..., Fleet]) -> Run:
    fleet = make_fleet()
    fleet.serve(fleet.bad)
    return fleet.started()


@contextmanager
def held_by_another_process(run: Run, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(run.pk)], env=env)
    try:
        until(lambda: Run.objects.get(pk=run.pk).lease_holder.startswith("watched-"), seconds=60)
        yield holder
    finally:
        holder.kill()
        holder.wait()


def test_the_lease_of_a_process_that_was_killed_is_free_long_before_it_runs_out(run: Run, committed_db: Any) -> None:
    env = committed_db.env | {"LASTGOOD_LEASE_SECONDS": "3600"}
    with held_by_another_process(run, env) as holder:
        assert due.runs(timezone.now()) == []
        with Lease(run.pk) as lease:
            assert not lease.held

        holder.kill()
        holder.wait()

        until(lambda: due.runs(timezone.now()) == [run.pk])
        with Lease(run.pk) as lease:
            assert lease.held


def test_the_lease_of_a_process_that_is_stopped_is_its_own_until_it_runs_out(run: Run, committed_db: Any) -> None:
    with held_by_another_process(run, committed_db.env | {"LASTGOOD_LEASE_SECONDS": "3600"}) as holder:
        holder.send_signal(19)
        with Lease(run.pk) as lease:
            assert not lease.held

        Run.objects.filter(pk=run.pk).update(lease_expires_at=timezone.now())

        with Lease(run.pk) as lease:
            assert lease.held


def elsewhere(statement: Callable[[], Any]) -> Any:
    """What becomes of it in a session of its own that waits 0.3 s for a row."""

    def alone() -> Any:
        try:
            with transaction.atomic():
                connection.cursor().execute("SET LOCAL lock_timeout = '300ms'")
                return statement()
        except Exception as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(alone).result(timeout=60)


def test_intents_of_two_hosts_do_not_wait_for_each_other_and_a_stop_waits_for_both(run: Run) -> None:
    with Lease(run.pk) as lease:
        with transaction.atomic():
            lease.share()

            assert isinstance(elsewhere(lease.share), datetime.datetime)
            assert elsewhere(lambda: Run.objects.filter(pk=run.pk).update(state="stopped")) is OperationalError

        assert elsewhere(lambda: Run.objects.filter(pk=run.pk).update(state="stopped")) == 1
        assert elsewhere(lease.share) is LeaseLost
