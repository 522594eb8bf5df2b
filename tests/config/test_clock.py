"""The clock: it finds due rows, sends no flood, and outlives a broker and a database that die."""

import logging
import subprocess
import sys

import pytest
import redis
from django.db import connection

from audit.due import Due
from config.clock import Clock
from config.embedded.broker import Broker
from tests.conftest import ROOT
from tests.ports import free_port
from tests.waiting import until


@pytest.fixture
def queue(redis_url, committed_db):
    with redis.Redis.from_url(redis_url) as client:
        yield lambda name: client.llen(name)


def test_each_due_row_is_sent_once_while_it_stays_due(queue):
    clock = Clock([Due("incidents.take_alert", "intake", lambda now: [7, 8])])
    assert clock.look() == 2
    assert clock.look() == 0
    assert queue("intake") == 2


def test_a_row_that_is_due_again_is_sent_at_once(queue):
    due = [[5], [], [5]]
    clock = Clock([Due("rollback.advance", "rollback", lambda now: due.pop(0))])
    assert [clock.look(), clock.look(), clock.look()] == [1, 0, 1]
    assert queue("rollback") == 2


def test_a_row_that_stays_due_is_sent_again_after_a_second(queue):
    clock = Clock([Due("rollback.advance", "rollback", lambda now: [5])])
    assert clock.look() == 1
    until(lambda: clock.look() == 1, seconds=30)
    assert queue("rollback") == 2


def test_one_apps_mistake_does_not_stop_the_others(queue, caplog):
    def broken(now):
        raise KeyError("no such field")

    clock = Clock([Due("monitoring.judge", "compute", broken), Due("incidents.take_alert", "intake", lambda now: [1])])
    with caplog.at_level(logging.ERROR):
        assert clock.look() == 1
    assert queue("intake") == 1
    assert "clock.source.failed task=monitoring.judge" in caplog.text


def test_a_query_that_the_database_refuses_stops_only_its_own_source(queue, caplog):
    def refused(now):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM audit_event")
        return cursor.fetchall()

    clock = Clock([Due("monitoring.judge", "compute", refused), Due("incidents.take_alert", "intake", lambda now: [1])])
    with caplog.at_level(logging.ERROR):
        assert clock.look() == 1
    assert queue("intake") == 1


def test_it_looks_by_the_databases_clock(queue):
    seen = []
    Clock([Due("x.y", "intake", lambda now: seen.append(now) or [])]).look()
    assert seen[0].tzinfo is not None


@pytest.mark.slow
def test_the_clock_outlives_its_broker_and_its_database(committed_db, tmp_path):
    (tmp_path / "secrets").mkdir()
    broker = Broker(tmp_path / "redis", tmp_path / "secrets", free_port())
    server = broker.program().spawn(tmp_path, tmp_path / "redis.log")
    broker.wait()
    log = tmp_path / "clock.log"
    with log.open("w") as output:
        clock = subprocess.Popen(
            [sys.executable, "manage.py", "clock"],
            cwd=ROOT,
            env=committed_db.env | {"REDIS_URL": broker.url, "LASTGOOD_CLOCK_SECONDS": "0.1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with redis.Redis.from_url(broker.url) as client:
            until(lambda: client.exists("lastgood:clock"))
        server.kill()
        server.wait()
        until(lambda: log.read_text().count("clock.blind") == 1)
        server = broker.program().spawn(tmp_path, tmp_path / "redis.log")
        broker.wait()
        with redis.Redis.from_url(broker.url) as client:
            until(lambda: client.exists("lastgood:clock"))
            committed_db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            )
            client.delete("lastgood:clock")
            until(lambda: client.exists("lastgood:clock"))
        assert clock.poll() is None
    finally:
        clock.terminate()
        assert clock.wait(timeout=60) == 0
        server.kill()
        server.wait()
