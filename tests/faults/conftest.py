"""Real hosts, real workers, a real broker; faults are made from outside."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections

from registry.models import Host
from tests.faults.durable import Durable, durable_services, led_to
from tests.faults.proxy import Proxy
from tests.faults.town import Town
from tests.host.fixtures import HostProcess
from tests.incidents.rollback.conftest import fleet, make_fleet, three_hosts
from tests.incidents.rollback.fleet import Fleet
from tests.ports import free_port
from tests.services import Services, pointed_at

__all__ = ["fleet", "make_fleet", "three_hosts"]

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = "3"


class House:
    """Workers and a clock on the test's own database, with a broker database of their own."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        # Database 0 belongs to the tests that start no worker; theirs would take our messages, and ours theirs.
        redis = env["REDIS_URL"].rsplit("/", 1)[0] + f"/{1 + os.getpid() % 15}"
        self.env = env | {
            "REDIS_URL": redis,
            "LASTGOOD_VAR": str(django_settings.LASTGOOD_VAR),
            "LASTGOOD_LEASE_SECONDS": LEASE_SECONDS,
            "LASTGOOD_CLOCK_SECONDS": "0.2",
        }
        self.redis = redis
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.env, stdout=log, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def clock(self) -> subprocess.Popen[bytes]:
        return self._start("clock", "manage.py", "clock")

    def worker(self, name: str = "worker") -> subprocess.Popen[bytes]:
        options = ["--pool", "threads", "--concurrency", "4", "--queues", "rollback", "--hostname", f"{name}@%h"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        return self._start(name, "-m", "celery", "-A", "config", "worker", *options, *quiet)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def flush_broker(self) -> None:
        import redis

        redis.Redis.from_url(self.redis).flushdb()

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def house(committed_db: Any, tmp_path: Path) -> Iterator[House]:
    made = House(committed_db.env, tmp_path)
    made.flush_broker()
    yield made
    made.end()
    made.flush_broker()


@pytest.fixture(scope="module")
def town(
    services: Services,
    django_db_setup: None,
    django_db_blocker: Any,
    three_hosts: list[HostProcess],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    """One database and one town for all tests of a file."""
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    services.clone(name)
    with django_db_blocker.unblock(), pointed_at(name):
        yield from _town(services, name, three_hosts, tmp_path_factory)
    services.drop(name)


@pytest.fixture(scope="module")
def durable(services: Services) -> Iterator[Durable]:
    """A PostgreSQL and a Redis of this file's own, which may be killed."""
    with durable_services(services) as made:
        yield made


@pytest.fixture(scope="module")
def durable_town(
    durable: Durable,
    django_db_setup: None,
    django_db_blocker: Any,
    three_hosts: list[HostProcess],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    """A town whose database may be killed."""
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    durable.clone(name)
    with django_db_blocker.unblock(), led_to(durable, name):
        yield from _town(durable, name, three_hosts, tmp_path_factory)


def _town(services: Services, name: str, hosts: list[HostProcess], folders: pytest.TempPathFactory) -> Iterator[Town]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    made = Town(env | services.environment(name), folders.mktemp("town"), hosts)
    try:
        yield made
    finally:
        made.end()
        connections.close_all()


@pytest.fixture
def proxied(fleet: Fleet) -> Iterator[Callable[[int], Proxy]]:
    """`proxied(0)` puts a proxy before the first host; the registry's address leads to the proxy."""
    proxies: list[Proxy] = []

    def put(index: int) -> Proxy:
        proxy = Proxy(fleet.processes[index].url, free_port())
        proxies.append(proxy)
        Host.objects.filter(pk=fleet.hosts[index].pk).update(address=proxy.url)
        return proxy

    yield put
    for proxy in proxies:
        proxy.close()


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> float:
    """Poll a condition; the seconds that it took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - begun
