"""Everything at once, at random from a fixed seed: LASTGOOD_NEMESIS_RUNS runs (200; 2000 in a night) on endpoints side
by side, with the reconciler running, while workers, hosts, broker and database are killed, stopped, slowed, or answer
late and wrongly, and programs start with clocks that are minutes off.

People do what people do: they turn runs back, undo them, bring hosts back, take a halted run up again, and stop one
that can't go on.
"""

import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from celery import Celery
from django.db import connections

from accounts.actions import actor_for
from accounts.models import User
from incidents.rollback import run as runs
from incidents.rollback import undo
from incidents.rollback.models import ACTIVE_RUN_STATES, Run, RunState
from incidents.rollback.plan import PlanRefused
from registry.models import Host
from tests.faults.durable import Durable
from tests.faults.proxy import Proxy
from tests.faults.town import ENDED_OR_HALTED, Endpoint, Town, go_on, prepared
from tests.host.nursery import Child
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.faults
RUNS = int(os.environ.get("LASTGOOD_NEMESIS_RUNS", "200"))
SEED = int(os.environ.get("SEED", "20260728"))
SIDE_BY_SIDE = 5
PATIENT = 300.0


class Nemesis:
    """Makes one fault after the other until it is told to end, and then heals everything."""

    def __init__(self, town: Town, durable: Durable, proxies: list[Proxy], seed: int) -> None:
        self.town, self.durable, self.proxies = town, durable, proxies
        self.random = random.Random(seed)
        self.done: dict[str, int] = {}
        self.deck: list[Callable[[], None]] = []
        self.ended = threading.Event()
        self.clock = town.clock()
        self.workers = [self._worker(number) for number in range(2)]
        town.worker("reconciler", "intake", LASTGOOD_PROGRAM="reconciler")
        self.sender = Celery(broker=town.redis)

    def _worker(self, number: int, offset: float = 0) -> subprocess.Popen[Any]:
        return self.town.worker(f"worker{number}", CLOCK_OFFSET=str(offset) if offset else "")

    def faults(self) -> list[Callable[[], None]]:
        often = [self.kill_worker, self.stop_worker, self.flush_broker, self.repeat_messages, self.slow_host]
        rarely = [self.lie, self.come_late, self.answer_late, self.kill_clock, self.kill_host, self.restart_database]
        return [*often, *often, *rarely, self.jump_clock]

    def trouble(self, runs_: list[Run]) -> None:
        """Until all the runs have ended or halted."""
        ids = [run.pk for run in runs_]
        while Run.objects.filter(pk__in=ids).exclude(state__in=ENDED_OR_HALTED).exists():
            if not self.deck:
                self.deck = self.faults()
                self.random.shuffle(self.deck)
            fault = self.deck.pop()
            fault()
            self.done[fault.__name__] = self.done.get(fault.__name__, 0) + 1
            self._pass(self.random.uniform(0.3, 1.2))
            if sum(self.done.values()) % 12 == 0:
                self._pass(6)

    def _pass(self, seconds: float) -> None:
        self.ended.wait(seconds)

    def kill_worker(self, offset: float = 0) -> None:
        number = self.random.randrange(len(self.workers))
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._worker(number, offset)

    def jump_clock(self) -> None:
        """A worker and the clock are restarted with clocks of their own, up to ten minutes off, until they are next."""
        self.kill_worker(self.random.uniform(-600, 600))
        self.kill_clock(self.random.uniform(-600, 600))

    def stop_worker(self) -> None:
        worker = self.random.choice(self.workers)
        self._stop_for(worker, self.random.uniform(0.5, 2.5))

    def slow_host(self) -> None:
        host = self.random.choice(self.town.hosts)
        assert host.process is not None
        self._stop_for(host.process, self.random.uniform(0.2, 3))

    def _stop_for(self, process: subprocess.Popen[Any] | Child, seconds: float) -> None:
        process.send_signal(19)
        self._pass(seconds)
        go_on(process)

    def kill_clock(self, offset: float = 0) -> None:
        self.clock.kill()
        self.clock.wait()
        self.clock = self.town.clock(CLOCK_OFFSET=str(offset) if offset else "")

    def flush_broker(self) -> None:
        self.town.flush_broker()

    def repeat_messages(self) -> None:
        for run in Run.objects.filter(state__in=ACTIVE_RUN_STATES):
            for _ in range(20):
                self.sender.send_task("rollback.advance", args=[str(run.pk)], queue="rollback")

    def kill_host(self) -> None:
        host = self.random.choice(self.town.hosts)
        host.stop(9)
        self._pass(self.random.uniform(0, 1))
        host.start(ready=False)
        host.wait_for("/v2/health/ready", seconds=PATIENT)

    def restart_database(self) -> None:
        connections.close_all()
        self.durable.stop_database()
        self._pass(self.random.uniform(0, 3))
        self.durable.start_database()

    def lie(self) -> None:
        """A host answers 200 to a switch and does nothing."""
        proxy = self.random.choice(self.proxies)
        proxy.swallow = "/default"
        self._pass(1)
        proxy.swallow = ""

    def come_late(self) -> None:
        """A switch is held on its way and arrives when nobody waits for it any more, or somebody still does."""
        proxy = self.random.choice(self.proxies)
        proxy.drop_late, proxy.let_go = False, threading.Event()
        proxy.hold_before = "/default"
        self._pass(self.random.uniform(0.5, 3))
        proxy.hold_before = ""
        proxy.let_go.set()

    def answer_late(self) -> None:
        """A host does what it is asked, and nobody hears of it for a while."""
        proxy = self.random.choice(self.proxies)
        proxy.let_go = threading.Event()
        proxy.hold_after = self.random.choice(["/default", "/state", "/infer"])
        self._pass(self.random.uniform(0.5, 3))
        proxy.hold_after = ""
        proxy.let_go.set()


@pytest.fixture(scope="module")
def proxies(durable_town: Town) -> Iterator[list[Proxy]]:
    """One before each host; the registry knows the hosts by them."""
    made = [Proxy(process.url, free_port()) for process in durable_town.hosts]
    yield made
    for proxy in made:
        proxy.close()


def test_a_random_mix_of_faults_loses_doubles_and_leaves_nothing(
    durable_town: Town, durable: Durable, proxies: list[Proxy]
) -> None:
    town = durable_town
    endpoints = [town.endpoint() for _ in range(SIDE_BY_SIDE)]
    for process, proxy in zip(town.hosts, proxies, strict=True):
        Host.objects.filter(name=process.name).update(address=proxy.url)
    nemesis = Nemesis(town, durable, proxies, SEED)
    played = 0
    while played < RUNS:
        quiet(endpoints)
        begun = [begin(town, endpoint, nemesis.random) for endpoint in endpoints[: RUNS - played]]
        nemesis.trouble(begun)
        heal(begun, endpoints)
        played += len(begun)
    quiet(endpoints)
    judgement = town.judge()
    assert judgement.wrong() == [], nemesis.done
    assert len(judgement.stories) >= RUNS
    if sum(nemesis.done.values()) >= len(nemesis.faults()):
        assert {fault.__name__ for fault in nemesis.faults()} == set(nemesis.done)


def begin(town: Town, endpoint: Endpoint, chance: random.Random) -> Run:
    """A run; one in four is turned back by a person before its second wave, one in five undoes the last one."""
    turn, back = chance.random() < 0.25, chance.random() < 0.2
    last = Run.objects.filter(endpoint=endpoint.endpoint).exclude(plan__kind="converge").order_by("-started_at").first()
    if back and last is not None and undo.why_not_undone(last) is None:
        plan = prepared(endpoint, undo.undo(run_id=last.pk, **said(endpoint, "It was right.", endpoint.responder)))
        endpoint.approve(plan, endpoint.commander)
        return town.begun(plan)
    run = town.run(endpoint, wave_soak_seconds=2 if turn else 0)
    if turn:
        with suppress(PlanRefused):
            runs.compensate(run_id=run.pk, **said(endpoint, "It does not help."))
    return run


def said(endpoint: Endpoint, reason: str, person: User | None = None) -> dict[str, Any]:
    person = person or endpoint.commander
    return {"user": person, "reason": reason, "actor": actor_for(user=person)}


def heal(begun: list[Run], endpoints: list[Endpoint]) -> None:
    """Halted runs are taken up again, and stopped when that does not help."""
    of = {endpoint.endpoint.pk: endpoint for endpoint in endpoints}
    for verb in (runs.resume, runs.resume, runs.resume, runs.stop):
        for run in Run.objects.filter(state=RunState.HALTED):
            with suppress(PlanRefused):
                verb(run_id=run.pk, **said(of[run.endpoint_id], "All is well again."))
        until(lambda: not moving().exists(), seconds=PATIENT)
    assert not Run.objects.filter(pk__in=[run.pk for run in begun], state__in=ACTIVE_RUN_STATES).exists()


def moving() -> Any:
    return Run.objects.filter(state__in=[RunState.RUNNING, RunState.COMPENSATING])


def quiet(endpoints: list[Endpoint]) -> None:
    """No run is under way, those of the reconciler included."""
    heal([], endpoints)
    until(lambda: not Run.objects.filter(state__in=ACTIVE_RUN_STATES).exists(), seconds=PATIENT)
