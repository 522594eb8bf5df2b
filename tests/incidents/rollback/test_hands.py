"""The threads that work on a run's hosts keep their connections from wave to wave, and give them back at the end."""

import threading

import pytest
from django.db import connection, connections

from incidents.rollback.hands import Hands
from tests.conftest import CommittedDatabase
from tests.waiting import until


def backend() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def alive(backends: set[int]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)", [list(backends)])
        return int(cursor.fetchone()[0])


def test_wave_after_wave_has_the_same_connections_and_they_are_closed_at_the_end(
    committed_db: CommittedDatabase,
) -> None:
    together = threading.Barrier(3, timeout=30)

    def task() -> int:
        together.wait()
        return backend()

    with Hands[int](3) as hands:
        first, second = ({future.result() for future in hands.do([task] * 3)} for _ in range(2))

    assert len(first) == 3
    assert second == first
    until(lambda: not alive(first))
    connections.close_all()


def test_a_task_that_fails_takes_nothing_from_the_others() -> None:
    def fail() -> int:
        raise LookupError("gone")

    with Hands[int](2) as hands:
        failed, *done = hands.do([fail, lambda: 1, lambda: 2, lambda: 3])

    with pytest.raises(LookupError, match="gone"):
        failed.result()
    assert [future.result() for future in done] == [1, 2, 3]


def test_nothing_to_do_begins_no_thread() -> None:
    before = threading.active_count()

    with Hands[int](16) as hands:
        assert hands.do([]) == []
        assert threading.active_count() == before
