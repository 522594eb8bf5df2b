"""How many events 32 writers record each second, each in a transaction of its own, with the sequencer at work.

The writers are four processes of eight threads. A rate counts only if every event that was acknowledged is a leaf of
the signed tree afterwards and the log verifies. With the same run: ``audit_append_p99_ms``, how long one such
transaction takes, and ``audit_checkpoint_lag_p99_ms``, from the moment in the record to the signed checkpoint that
holds it.

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
PROCESSES, THREADS, SECONDS = 4, 8, float(os.environ.get("SECONDS", "15"))
TARGET, MOST_APPEND_MS, MOST_LAG_MS = 500, 100, 2_000
LAG = """
    SELECT percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM c.created_at - e.occurred_at) * 1000)
    FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id CROSS JOIN LATERAL (
        SELECT k.created_at FROM audit_checkpoint AS k WHERE k.size > l.leaf_index ORDER BY k.size LIMIT 1
    ) AS c
"""
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
        incident, times = f"INC-{process}-{number}", []

        def one(done: int) -> None:
            data = {"run": "r", "plan_hash": "a" * 64, "host": f"gpu-{number}", "step": "switch", "fence": done}
            target, worker = Target("host", f"gpu-{number}"), service_actor("worker")
            with transaction.atomic():
                record(action="rollback.step.outcome", target=target, actor=worker, incident=incident, data=data)

        one(0)
        ready.wait()  # type: ignore[attr-defined]
        deadline = time.monotonic() + SECONDS
        while (begun := time.monotonic()) < deadline:
            one(len(times) + 1)
            times.append(time.monotonic() - begun)
        connections.close_all()
        counts.put(times)  # type: ignore[attr-defined]

    in_threads(write)


def insert_plain(process: int, env: dict[str, str], ready: object, counts: object) -> None:
    """The same writers on a plain table."""

    def write(number: int) -> None:
        times = []
        with psycopg.connect(env["OWNER_DATABASE_URL"], autocommit=True) as connection:
            ready.wait()  # type: ignore[attr-defined]
            deadline = time.monotonic() + SECONDS
            while (begun := time.monotonic()) < deadline:
                connection.execute("INSERT INTO plain (canon) VALUES (%s)", [b"x" * 600])
                times.append(time.monotonic() - begun)
        counts.put(times)  # type: ignore[attr-defined]

    in_threads(write)


def in_threads(write: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def times_of(target: Callable[..., None], env: dict[str, str]) -> list[float]:
    """How long each acknowledged write of all writers together took, in seconds, shortest first."""
    context = multiprocessing.get_context("spawn")
    ready, counts = context.Barrier(PROCESSES * THREADS), context.Queue()
    processes = [context.Process(target=target, args=(n, env, ready, counts)) for n in range(PROCESSES)]
    for process in processes:
        process.start()
    times = [one for _ in range(PROCESSES * THREADS) for one in counts.get(timeout=SECONDS + 120)]
    for process in processes:
        process.join()
    return sorted(times)


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
        plain = times_of(insert_plain, env)
        sequencer = subprocess.Popen([sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env)
        try:
            times = times_of(record_events, env)
            wait_for_leaves(cluster, len(times) + PROCESSES * THREADS)
            manage(env, "audit", "verify")
            with cluster.connect("lastgood") as connection:
                (lag,) = connection.execute(LAG).fetchone() or (None,)
        finally:
            sequencer.terminate()
            sequencer.wait(30)
    rate, floor = len(times) / SECONDS, len(plain) / SECONDS
    slow, slow_plain = (1000 * found[int(len(found) * 0.99)] for found in (times, plain))
    met = report("audit_events_per_second", rate, "events/s", TARGET, at_least=True, on=on, floor=floor)
    met &= report("audit_append_p99_ms", slow, "ms", MOST_APPEND_MS, at_least=False, on=on, floor=slow_plain)
    met &= report("audit_checkpoint_lag_p99_ms", float(lag), "ms", MOST_LAG_MS, at_least=False, on=on)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
