"""How many events 8 writers record each second, each in a transaction of its own, with the sequencer at work.

The writers are two processes of four threads, as the web application runs. A rate counts only if every event that was
acknowledged is a leaf of the signed tree afterwards and the log verifies. Target: at least 300 a second.

``floor`` is the same number of connections inserting rows of the same size into a plain table with the same columns
indexed by time only: what the database gives without ordering, hashing or numbering.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from bench.report import machine, report
from config.embedded.ports import free_port
from config.embedded.postgres import Cluster

ROOT = Path(__file__).resolve().parent.parent
PROCESSES, THREADS, SECONDS = 2, 4, 8.0
TARGET = 300
PLAIN = "CREATE TABLE plain (id bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp(), canon bytea)"


@contextmanager
def database(directory: Path) -> Iterator[tuple[Cluster, dict[str, str]]]:
    """A private PostgreSQL with its durable settings, migrated, and the environment of programs that work on it."""
    secrets, run = directory / "secrets", directory / "run"
    for path in (secrets, run):
        path.mkdir(mode=0o700)
    directory.chmod(0o711)
    cluster = Cluster(directory / "postgres", secrets, free_port())
    cluster.prepare()
    server = cluster.program().spawn(run, directory / "postgres.log")
    try:
        cluster.wait()
        cluster.make_logins()
        cluster.make_database()
        env = os.environ | {
            "DATABASE_URL": cluster.url("lastgood_app"),
            "OWNER_DATABASE_URL": cluster.url("lastgood_owner"),
            "SEQUENCER_DATABASE_URL": cluster.url("lastgood_sequencer"),
            "SECRET_KEY": "bench",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "LASTGOOD_VAR": str(directory / "var"),
            "LASTGOOD_LOG_KEY_FILE": str(directory / "log.key"),
        }
        manage(env, "migrate", "--verbosity", "0", "--no-input", "--skip-checks")
        manage(env, "audit", "key")
        yield cluster, env
    finally:
        server.terminate()
        server.wait(30)


def manage(env: dict[str, str], *arguments: str) -> None:
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)


def record_events(process: int, env: dict[str, str], ready: object, counts: object) -> None:
    """One process of writers: each thread records events of an incident of its own until time is up."""
    os.environ.update(env)
    import django

    django.setup()
    from django.db import connections, transaction

    from audit.actions import Target, record, service_actor

    def write(number: int) -> None:
        incident, done = f"INC-{process}-{number}", 0
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with transaction.atomic():
                record(
                    action="rollback.step.outcome",
                    target=Target("host", f"gpu-{number}"),
                    actor=service_actor("worker"),
                    incident=incident,
                    data={"run": "r", "plan_hash": "a" * 64, "host": f"gpu-{number}", "step": "switch", "fence": done},
                )
            done += 1
        connections.close_all()
        counts.put(done)  # type: ignore[attr-defined]

    ready.wait()  # type: ignore[attr-defined]
    in_threads(write)


def insert_plain(process: int, env: dict[str, str], ready: object, counts: object) -> None:
    """The same writers on a plain table."""

    def write(number: int) -> None:
        done = 0
        with psycopg.connect(env["OWNER_DATABASE_URL"], autocommit=True) as connection:
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                connection.execute("INSERT INTO plain (canon) VALUES (%s)", [b"x" * 600])
                done += 1
        counts.put(done)  # type: ignore[attr-defined]

    ready.wait()  # type: ignore[attr-defined]
    in_threads(write)


def in_threads(write: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def rate_of(target: Callable[..., None], env: dict[str, str]) -> tuple[float, int]:
    """Acknowledged writes per second of all writers together, and how many there were."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=target, args=(n, env, ready, counts)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    done = sum(counts.get(timeout=120) for _ in range(PROCESSES * THREADS))
    for process in processes:
        process.join()
    return done / SECONDS, done


def wait_for_leaves(cluster: Cluster, expected: int) -> None:
    deadline = time.monotonic() + 30
    with cluster.connect("lastgood") as connection:
        while True:
            row = connection.execute("SELECT count(*) FROM audit_leaf").fetchone()
            if row and row[0] == expected:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"{row and row[0]} leaves for {expected} acknowledged events")
            time.sleep(0.1)


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (cluster, env):
        with psycopg.connect(env["OWNER_DATABASE_URL"], autocommit=True) as connection:
            connection.execute(PLAIN)
        floor, _ = rate_of(insert_plain, env)
        sequencer = subprocess.Popen([sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env)
        try:
            rate, done = rate_of(record_events, env)
            wait_for_leaves(cluster, done)
            manage(env, "audit", "verify")
        finally:
            sequencer.terminate()
            sequencer.wait(30)
    return 0 if report("audit_events_per_second", rate, "events/s", TARGET, at_least=True, on=on, floor=floor) else 1


if __name__ == "__main__":
    sys.exit(main())
