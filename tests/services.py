"""Private PostgreSQL clusters and one private Redis for a whole test run, and clones of one migrated template database.

Each process that runs tests has a cluster of its own: the log's horizon is the cluster's, so a transaction that a test
keeps open would hold up what another process's test waits for. The process that was started (with xdist: the
controller) starts them all; they die with it, however it dies. Settings of the tests (`tests/settings.py`) put their
addresses into the environment before Django reads it.
"""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from psycopg import sql

from audit.sealing import create_key_file
from config.embedded.broker import Broker
from config.embedded.ports import free_port
from config.embedded.postgres import SHARED, Cluster
from config.embedded.programs import Program

# A file system in memory copies a database in a tenth of the time. Where it is small, as in containers, it is not used.
MEMORY = Path("/dev/shm")
ROOMY_BYTES = 4 << 30
TEMPLATE = "lastgood_template"
VARIABLE = "LASTGOOD_TEST_SERVICES"
PREFIX = "lastgood-test-"
CHILD = "LASTGOOD_TEST_CHILD"
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_size": "256MB",
    "max_wal_senders": "0",
    "io_method": "sync",
    "autovacuum": "off",
}


@dataclass
class Services:
    """Where one process's servers are. `children` is known only to the process that started them."""

    directory: Path
    database_port: int
    broker_port: int
    home: str = "postgres"
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        return Cluster(self.directory / self.home, self.directory / "secrets", self.database_port, FAST)

    @property
    def broker(self) -> Broker:
        return Broker(self.directory / "redis", self.directory / "secrets", self.broker_port)

    @property
    def broker_url(self) -> str:
        """A Redis database for each process that runs tests: its tests meet their own tasks alone."""
        return f"{self.broker.url.removesuffix('/0')}/{number_of_worker() % 16}"

    def start(self) -> None:
        """Start both servers and make the logins."""
        cluster, broker = self.cluster, self.broker
        self.directory.chmod(0o711)
        cluster.prepare()
        run = self.directory / "run"
        run.mkdir(mode=0o700)
        self._spawn(broker.program())
        self._spawn(cluster.program())
        cluster.wait()
        broker.wait()
        cluster.make_logins()

    def _spawn(self, program: Program) -> None:
        self.children.append(program.spawn(self.directory / "run", self.directory / f"{program.name}.log"))

    def multiply(self, count: int) -> None:
        """Give each of `count` workers of xdist a cluster: the first is this one, the others begin as copies of it."""
        ports = [self.database_port]
        while len(ports) < count:
            ports.append(free_port(not_in=frozenset({self.broker_port, *ports})))
        os.environ[VARIABLE] = json.dumps([str(self.directory), ports, self.broker_port])
        if count < 2:
            return
        database = self.children.pop()
        database.send_signal(signal.SIGINT)
        database.wait(timeout=30)
        clusters = [of_worker(str(self.directory), ports, self.broker_port, number).cluster for number in range(count)]
        for copy in clusters[1:]:
            subprocess.run(["cp", "-a", str(self.cluster.home), str(copy.home)], check=True)
            copy.prepare()
        for cluster in clusters:
            self._spawn(cluster.program(cluster.home.name))
        for cluster in clusters:
            cluster.wait()

    def stop(self) -> None:
        """Stop all, without ceremony, and remove everything that they wrote."""
        for child in self.children:
            child.send_signal(signal.SIGQUIT)
        for child in self.children:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def make_template(self) -> None:
        """Migrate the template in this process, as the owner, with the grants; nobody may be connected afterwards."""
        from django.core.management import call_command
        from django.db import connections

        self.cluster.make_database(TEMPLATE)
        with pointed_at(TEMPLATE):
            call_command("migrate", verbosity=0, interactive=False)
            connections.close_all()

    def clone(self, name: str) -> None:
        """(Re)make the database `name` as a copy of the template."""
        with self.cluster.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER lastgood_owner STRATEGY file_copy").format(
                    sql.Identifier(name), sql.Identifier(TEMPLATE)
                )
            )
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO lastgood_app, lastgood_sequencer").format(sql.Identifier(name))
            )

    def drop(self, name: str) -> None:
        """Remove a clone, whoever is connected to it."""
        with self.cluster.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def environment(self, database: str) -> dict[str, str]:
        """The environment of a process that shall work on the clone `database`."""
        return {
            CHILD: "1",
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": self.cluster.url("lastgood_app", database),
            "OWNER_DATABASE_URL": self.cluster.url("lastgood_owner", database),
            "SEQUENCER_DATABASE_URL": self.cluster.url("lastgood_sequencer", database),
            "REDIS_URL": self.broker_url,
            "SECRET_KEY": "only-for-tests-" + "k" * 40,
            "LASTGOOD_SEAL_KEY_FILE": str(self.directory / "seal-key"),
            "LASTGOOD_VAR": str(self.directory / "var" / database),
            # Lastgood sends itself an alert where a test says so.
            "LASTGOOD_BEAT_SECONDS": "0",
            "ALLOWED_HOSTS": "testserver,127.0.0.1,localhost",
        }


class pointed_at:
    """Lead every alias of this process to another database of the same cluster, for the length of a block."""

    def __init__(self, name: str) -> None:
        from django.db import connections

        self.before = {alias: connections[alias].settings_dict["NAME"] for alias in connections}
        self._point(dict.fromkeys(self.before, name))

    def __enter__(self) -> None:
        return None

    def __exit__(self, *exception: object) -> None:
        self._point(self.before)

    @staticmethod
    def _point(names: dict[str, str]) -> None:
        from django.conf import settings
        from django.db import connections

        connections.close_all()
        for alias, name in names.items():
            connections[alias].settings_dict["NAME"] = name
            settings.DATABASES[alias]["NAME"] = name


def announce() -> Services:
    """The run's services: those of the controller in one of its children, else new ones, which are not started yet."""
    known = os.environ.get(VARIABLE)
    if known:
        return of_worker(*json.loads(known), number_of_worker())
    # As root where PostgreSQL's own system user can reach it: TMPDIR may lie behind closed doors.
    place = SHARED if os.geteuid() == 0 else Path(tempfile.gettempdir())
    place.mkdir(mode=0o755, exist_ok=True)
    for used in (place, MEMORY):
        _remove_leftovers(used)
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOMY_BYTES:
        place = MEMORY
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
    (directory / "secrets").mkdir(mode=0o700)
    create_key_file(directory / "seal-key")
    first = free_port()
    services = Services(directory, first, free_port(not_in=frozenset({first})))
    os.environ[VARIABLE] = json.dumps([str(directory), [services.database_port], services.broker_port])
    return services


def of_worker(directory: str, database_ports: list[int], broker_port: int, number: int) -> Services:
    """The services of a worker of xdist, by its number."""
    place = number % len(database_ports)
    home = f"postgres{place}" if place else "postgres"
    return Services(Path(directory), database_ports[place], broker_port, home)


def number_of_worker() -> int:
    """0 in a run without xdist as well."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _remove_leftovers(place: Path) -> None:
    """Delete what runs that were killed could not delete themselves."""
    for leftover in place.glob(f"{PREFIX}*-*"):
        owner = leftover.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(leftover, ignore_errors=True)


def database_of_this_process() -> str:
    """The clone that this process works on, one for each worker of xdist."""
    return f"lastgood_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
