"""The threads that work on a run's hosts keep their connections from wave to wave, and give them back at the end."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait

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


def together(hands: Hands[int], tasks: list[Callable[[], int]]) -> list[Future[int]]:
    """All of these at once; returns when the last has ended, well or not."""
    futures = [hands.begin(task) for task in tasks]
    wait(futures)
    return futures


def test_wave_after_wave_has_the_same_connections_and_they_are_closed_at_the_end(
    committed_db: CommittedDatabase,
) -> None:
    all_three = threading.Barrier(3, timeout=30)

    def task() -> int:
        all_three.wait()
        return backend()

    with Hands[int](3) as hands:
        first, second = ({future.result() for future in together(hands, [task] * 3)} for _ in range(2))

    assert len(first) == 3
    assert second == first
    until(lambda: not alive(first))
    connections.close_all()


def test_a_task_that_fails_takes_nothing_from_the_others() -> None:
    def fail() -> int:
        raise LookupError("gone")

    with Hands[int](2) as hands:
        failed, *done = together(hands, [fail, lambda: 1, lambda: 2, lambda: 3])

    with pytest.raises(LookupError, match="gone"):
        failed.result()
    assert [future.result() for future in done] == [1, 2, 3]


def test_nothing_to_do_begins_no_thread() -> None:
    before = threading.active_count()

    with Hands[int](16) as hands:
        assert together(hands, []) == []
        assert threading.active_count() == before


def test_what_comes_after_another_begins_when_that_has_ended_and_fails_with_nobody() -> None:
    order: list[str] = []

    def fail() -> int:
        order.append("first")
        raise LookupError("gone")

    def second() -> int:
        order.append("second")
        return 2

    with Hands[int](2) as hands:
        first = hands.begin(fail)
        after = hands.begin(second, after=first)
        assert after.result(timeout=30) == 2

    assert order == ["first", "second"]
    assert isinstance(first.exception(), LookupError)


def test_the_end_waits_for_what_was_begun_and_takes_nothing_more() -> None:
    let_go = threading.Event()
    with Hands[int](1) as hands:
        begun = hands.begin(lambda: int(let_go.wait(30)))
        late = hands.begin(lambda: 2, after=begun)
        threading.Timer(0.05, let_go.set).start()

    assert begun.result() == 1
    assert late.cancelled() or late.result() == 2


def test_threads_that_are_greeted_connect_before_there_is_anything_to_do(committed_db: CommittedDatabase) -> None:
    def others() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])

    before = others()
    with Hands[int](3) as hands:
        hands.greet(2)
        until(lambda: others() == before + 2)
        hands.greet(5)
        until(lambda: others() == before + 3)
    until(lambda: others() == before)
