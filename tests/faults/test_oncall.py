"""People are woken, each once, whoever is killed meanwhile: worker, clock, broker, database."""

import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connections
from django.db.models.functions import Now
from django.utils import timezone

from audit.clock import database_now
from incidents.oncall import contacts, escalations
from incidents.oncall.models import Call, Contact, Escalation, State
from incidents.telling.models import Kind, Message, MessageState, Subscriber
from monitoring.models import Alert
from tests.faults.conftest import House
from tests.faults.durable import Durable, led_to
from tests.incidents.oncall.made import TEST, Called, build
from tests.incidents.telling.conftest import Receiver, receiver
from tests.waiting import until

__all__ = ["receiver"]

pytestmark = pytest.mark.faults


class Callers(House):
    """A worker of the queue that calls people, and the clock."""

    def begin(self, name: str) -> list[subprocess.Popen[bytes]]:
        options = ["--pool", "threads", "--concurrency", "4", "--queues", "intake", "--hostname", f"{name}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        return [self._start(name, "-m", "celery", "-A", "config", "worker", *options, *quiet), self.clock()]


def kill(programs: list[subprocess.Popen[bytes]]) -> None:
    for program in programs:
        program.kill()
        program.wait()


@pytest.fixture
def callers(
    durable: Durable, django_db_setup: None, django_db_blocker: Any, tmp_path: Path, settings: Any
) -> Iterator[Callers]:
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    durable.clone(name)
    settings.LASTGOOD_VAR = tmp_path
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    env |= durable.environment(name) | {"LASTGOOD_TELLING_NETWORKS": "127.0.0.0/8"}
    with django_db_blocker.unblock(), led_to(durable, name):
        made = Callers(env, tmp_path)
        made.flush_broker()
        yield made
        made.end()
        connections.close_all()


def channel(home: Called, url: str, name: str) -> Contact:
    address = f"{url}/{name}"
    return contacts.add_contact(kind=Kind.WEBHOOK, address=address, name=name, team="letters", actor=TEST)[0]


def called_at(taken: Receiver, name: str) -> list[str]:
    """The ids of the messages that came there, in order."""
    return [call.headers["webhook-id"] for call in taken.taken if call.path == f"/{name}"]


def answers() -> bool:
    try:
        database_now()
    except OperationalError:
        connections.close_all()
        return False
    return True


def test_each_step_is_called_once_though_everything_dies_between_and_within_them(
    callers: Callers, durable: Durable, receiver: Receiver
) -> None:
    # given a policy of three steps, and an alert that fired while nobody was there to take it
    home = build("ada")
    ways = [channel(home, receiver.url, name) for name in ("first", "second", "slow")]
    steps = [
        {"targets": [f"channel:{way.pk}"], "seconds": seconds} for way, seconds in zip(ways, (10, 10, 600), strict=True)
    ]
    home.set_policy(*steps, severities=[1], repeats=0)
    Alert.objects.create(
        fingerprint="a" * 64, source="rule", severity=1, summary="Letters go wrong.", started_at=timezone.now()
    )
    # when the first was called, and then worker, clock, broker and database die at once
    programs = callers.begin("one")
    until(lambda: Message.objects.filter(state=MessageState.SENT).exists())
    kill(programs)
    callers.flush_broker()
    durable.stop_database()
    connections.close_all()
    durable.start_database()
    until(answers)
    # then the next is called by those that come after
    programs = callers.begin("two")
    until(lambda: called_at(receiver, "second"))
    # when they die while the third call is under way
    receiver.hold = threading.Event()
    slow = Subscriber.objects.filter(pk=ways[2].receiver_id)
    until(lambda: slow.filter(busy_until__gt=Now()).exists())
    kill(programs)
    callers.flush_broker()
    receiver.hold.set()
    # then it is tried again once the dead one's claim has gone by, as the same message
    slow.update(busy_until=Now())
    seen = len(called_at(receiver, "slow"))
    callers.begin("three")
    until(lambda: len(called_at(receiver, "slow")) > seen)
    assert len(set(called_at(receiver, "slow"))) == 1
    until(lambda: Message.objects.filter(state=MessageState.SENT).count() == 3)
    # and each of the three was called once, in order
    assert [call.contact.name for call in Call.objects.order_by("pk")] == ["first", "second", "slow"]
    assert len(called_at(receiver, "first")) == len(called_at(receiver, "second")) == 1
    # when somebody answers, it ends
    one = Escalation.objects.get()
    escalations.acknowledge(escalation=one, user=home.people["ada"], actor=home.actor("ada"))
    until(lambda: len(receiver.taken) >= 5 and {"/first", "/second", "/slow"} <= {
        call.path for call in receiver.taken if call.json["type"] == "oncall.acknowledge"
    })  # fmt: skip
    one.refresh_from_db()
    assert one.state == State.TAKEN
