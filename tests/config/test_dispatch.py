"""Sending tasks by name: on commit, and never at the cost of what was committed."""

import json
import subprocess
import sys
import uuid

import pytest
import redis
from django.db import transaction

from audit import dispatch
from audit.dispatch import gather_on_commit, send_on_commit
from tests.conftest import ROOT
from tests.ports import free_port


def test_a_task_is_sent_when_the_transaction_commits(committed_db, redis_url):
    row = uuid.uuid4()
    with redis.Redis.from_url(redis_url) as client:
        with transaction.atomic():
            send_on_commit("incidents.take_alert", [row, 3], queue="intake")
            assert client.llen("intake") == 0
        message = json.loads(client.lindex("intake", 0))
    assert message["headers"]["task"] == "incidents.take_alert"
    assert message["headers"]["argsrepr"] == f"['{row}', 3]"


def test_a_task_of_a_transaction_that_fails_is_not_sent(committed_db, redis_url):
    def change_and_fail():
        with transaction.atomic():
            send_on_commit("incidents.take_alert", [1], queue="intake")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change_and_fail()
    with redis.Redis.from_url(redis_url) as client:
        assert client.llen("intake") == 0


def test_a_dead_broker_never_raises_out_of_a_commit(committed_db):
    program = (
        "import django, time; django.setup()\n"
        "from django.db import connection, transaction\n"
        "from audit.dispatch import send, send_on_commit\n"
        "started = time.monotonic()\n"
        "with transaction.atomic():\n"
        "    connection.cursor().execute(\"INSERT INTO django_session VALUES ('kept', '', now())\")\n"
        "    send_on_commit('incidents.take_alert', [1], queue='intake')\n"
        "assert send('incidents.take_alert', [1], queue='intake') is False\n"
        "assert time.monotonic() - started < 30, time.monotonic() - started\n"
    )
    env = committed_db.env | {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("task.send.failed task=incidents.take_alert queue=intake") == 2
    assert committed_db.execute("SELECT count(*) FROM django_session") == [(1,)]


def messages(client: redis.Redis) -> list[tuple[str, str]]:
    found = [json.loads(one)["headers"] for one in client.lrange("intake", 0, -1)]
    return [(head["task"], head["argsrepr"]) for head in reversed(found)]


def test_what_comes_within_a_moment_is_sent_together_and_the_first_at_once(committed_db, redis_url, monkeypatch):
    timers = []
    monkeypatch.setattr(dispatch.threading, "Timer", lambda seconds, act, args: Held(timers, act, args))
    with redis.Redis.from_url(redis_url) as client:
        for number in range(dispatch.MOST + 3):
            gather_on_commit("incidents.take_alert", [number], queue="intake")
        with transaction.atomic():
            gather_on_commit("incidents.take_alert", [99], queue="intake")
            transaction.set_rollback(True)
        gather_on_commit("monitoring.process", [7], queue="intake")
        assert messages(client) == [("incidents.take_alert", "[0]"), ("monitoring.process", "[7]")]
        while timers:
            timers.pop(0)()
        together = [str(list(range(1, dispatch.MOST + 1))), f"[{dispatch.MOST + 1}, {dispatch.MOST + 2}]"]
        assert messages(client)[2:] == [("incidents.take_alert", one) for one in together]
        gather_on_commit("incidents.take_alert", [100], queue="intake")
        assert messages(client)[4:] == [("incidents.take_alert", "[100]")]
        timers.pop()()


class Held:
    """A timer that ends when the test says so."""

    def __init__(self, timers: list, act, args) -> None:
        self.start = lambda: timers.append(lambda: act(*args))


def test_of_what_came_together_the_others_are_done_where_one_fails():
    done = []

    def act(number: int) -> None:
        done.append(10 // number)

    with pytest.raises(ZeroDivisionError):
        dispatch.each_of(act, [5, 0, 2])
    assert done == [2, 5]
