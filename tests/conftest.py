"""What every test may ask for: a database as production's application login sees it, a broker, clones, processes."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django.plugin import blocking_manager_key

from tests.ports import free_port as draw_port
from tests.services import Services, database_of_this_process, pointed_at

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parent.parent
RUN = pytest.StashKey[Services]()
SLOW_WEIGHT = 40
"""How many other tests take as long as one that is marked slow."""
hypothesis_settings.register_profile("lastgood", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("lastgood")
ENDED: list[str] = []
"""Databases of this process that are gone, or were made anew, since a test last connected."""


def pytest_configure(config: pytest.Config) -> None:
    from tests.settings import services

    config.stash[RUN] = services
    if not _is_worker(config) and not config.option.collectonly:
        config.add_cleanup(services.stop)
        services.start()
        with config.stash[blocking_manager_key].unblock():
            services.make_template()
        services.multiply(len(config.getoption("tx", None) or []))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that none of them is the last one, which runs alone."""
    weights: dict[Path, int] = {}
    for item in items:
        weights[item.path] = weights.get(item.path, 0) + (SLOW_WEIGHT if item.get_closest_marker("slow") else 1)
    items.sort(key=lambda item: -weights[item.path])


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="module")
def chromium() -> Iterator["Browser"]:
    """One for the tests of a file; each opens a context of its own."""
    from tests.chromium import launched

    with launched() as browser:
        yield browser


@pytest.fixture(scope="session")
def services(pytestconfig: pytest.Config) -> Services:
    """The PostgreSQL of this process and the run's Redis."""
    return pytestconfig.stash[RUN]


def connect_anew() -> None:
    """A connection that was opened before a database went leads nowhere."""
    from django.db import connections

    if ENDED:
        connections.close_all()
        ENDED.clear()


@pytest.fixture(scope="session")
def django_db_setup(services: Services, django_db_blocker: object) -> Iterator[None]:
    """Instead of pytest-django's: one clone of the template for this process, as production's logins see it."""
    from django.db import connections
    from django.test import TestCase, TransactionTestCase

    def connecting_anew(set_up: Callable[[type], None]) -> Callable[[type], None]:
        def connect_and_set_up(case: type) -> None:
            if not issubclass(case, TestCase):
                connections.close_all()
            connect_anew()
            set_up(case)

        return connect_and_set_up

    name = database_of_this_process()
    services.clone(name)

    def clone_again(test: TransactionTestCase) -> None:
        # Committed rows can't be truncated away: the application may not, and the log's triggers refuse even the owner.
        connections.close_all()
        services.clone(name)
        ENDED.append(name)

    for case in (TransactionTestCase, TestCase):
        case._fixture_setup = classmethod(connecting_anew(case._fixture_setup.__func__))
    TransactionTestCase._fixture_teardown = clone_again
    yield
    with django_db_blocker.unblock():
        connections.close_all()


@pytest.fixture(scope="session")
def redis_url(services: Services) -> str:
    """The broker of this process: tasks that its tests send lie here. Empty at the start of each `committed_db`."""
    return services.broker_url


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that draws a port below 32768 that nobody listens on."""
    return draw_port


@dataclass(frozen=True)
class CommittedDatabase:
    """A clone of one test's own. `env` is the whole environment for a process that shall work on it."""

    name: str
    env: dict[str, str]
    services: Services

    def execute(self, query: str, *values: object, login: str = "lastgood_super") -> list[tuple[object, ...]]:
        """Run one statement as one of the logins, in autocommit, and return its rows."""
        import psycopg

        with psycopg.connect(self.services.cluster.url(login, self.name), autocommit=True) as connection:
            cursor = connection.execute(query, values or None)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def committed_db(services: Services, django_db_setup: None, django_db_blocker: object) -> Iterator[CommittedDatabase]:
    """A fresh clone that this process works on as well: rows written here are committed, and subprocesses started with
    `committed_db.env` see them. All four aliases of this process lead to it until the test ends."""
    import redis
    from django.conf import settings
    from django.db import connections

    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    services.clone(name)
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    # Files, unlike rows, are shared with the programs that the test starts: they look where this process looks.
    env |= services.environment(name) | {"LASTGOOD_VAR": str(settings.LASTGOOD_VAR)}
    with django_db_blocker.unblock(), pointed_at(name):
        yield CommittedDatabase(name, env, services)
        connections.close_all()
    services.drop(name)
    ENDED.append(name)


@pytest.fixture
def celery_worker_process(
    committed_db: CommittedDatabase, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """A function that starts a real Celery worker on the test's clone: `start(queues="rollback,intake", concurrency=4)`
    with further environment variables as keywords. Its log is in tmp_path. What still runs at the end is killed.
    """
    workers: list[subprocess.Popen[bytes]] = []

    def start(queues: str = "rollback,intake,compute", concurrency: int = 4, **env: str) -> subprocess.Popen[bytes]:
        name = f"test{len(workers)}"
        pool = ["--pool", "threads", "--concurrency", str(concurrency)]
        options = [*pool, "--queues", queues, "--hostname", f"{name}@test"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        with (tmp_path / f"{name}.log").open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "config", "worker", *options, *quiet],
                cwd=ROOT,
                env=committed_db.env | env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()
