"""A log of a million events as Lastgood would have made it, in about a minute: records, leaves, nodes, checkpoints.

    build("postgresql://lastgood_owner:…@127.0.0.1:5432/lastgood", signer=read_key_file(path))

The database is migrated and its log empty. Records are written by COPY; everything in them is drawn from a fixed seed.
"""

import datetime
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from audit.merkle import Frontier, Node, leaf_hash
from audit.note import Signer, checkpoint_text, read_key_file

PEOPLE, MODELS, DAYS = 300, 80, 400
EVENTS_OF_AN_INCIDENT = 200
BATCH = 2_000
NOW = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
KINDS = [
    ("sign_in.succeed", "user", "user"),
    ("incident.update", "incident", "user"),
    ("alert.fire", "alert", "service"),
    ("approval.open", "approval_request", "user"),
    ("approval.decide", "approval_request", "user"),
    ("rollback.run.start", "rollback_run", "user"),
    ("rollback.step.intent", "host", "service"),
    ("rollback.step.outcome", "host", "service"),
    ("version.register", "model_version", "token"),
    ("access.deny", "permission", "user"),
]
EVENT_COLUMNS = (
    "id, event_uuid, canon, occurred_at, action, outcome, actor_kind, actor, target_kind, target_id, target_version, "
    "incident, incident_seq"
)
INDEXES = """
    SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index AS i
    WHERE i.indrelid = 'audit_event'::regclass
      AND NOT EXISTS (SELECT 1 FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
"""
REFERENCES = """
    SELECT c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint AS c
    WHERE c.conrelid = 'audit_leaf'::regclass AND c.contype = 'f'
"""


@dataclass(frozen=True)
class Built:
    """Number of leaves, the root over them, and the key that signed the checkpoints."""

    size: int
    root: bytes
    vkey: str


class Drawn:
    """One event after the other: its COPY line and its record's bytes."""

    def __init__(self, events: int, origin: str, seed: int = 20261101) -> None:
        self.events, self.origin = events, origin
        self.random = random.Random(seed)
        self.numbers: dict[str, int] = {}
        self.begin = NOW - datetime.timedelta(days=DAYS)
        self.step = datetime.timedelta(days=DAYS) / events

    def event(self, index: int) -> tuple[bytes, bytes]:
        """The record of the event number ``index`` (from 0), and its line for COPY."""
        draw = self.random.random
        action, kind, actor_kind = KINDS[int(draw() * len(KINDS))]
        outcome = "denied" if action == "access.deny" else "intent" if action.endswith("intent") else "success"
        actor = f"u-{int(draw() * PEOPLE):04x}" if actor_kind != "service" else "svc:worker"
        target = f"{kind[:3]}-{int(draw() * MODELS)}"
        bits = f"{self.random.getrandbits(122):031x}"
        identity = f"{index:08x}-{bits[:4]}-4{bits[4:7]}-8{bits[7:10]}-{bits[10:22]}"
        at = (self.begin + index * self.step).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        incident, number = "", 0
        if draw() < 0.7:
            incident = f"INC-{index // EVENTS_OF_AN_INCIDENT + 1}"
            number = self.numbers[incident] = self.numbers.get(incident, 0) + 1
        numbered = f'"incident":"{incident}","incident_seq":{number},' if incident else ""
        canon = (
            f'{{"action":"{action}","actor":{{"auth":{{"method":"session"}},"id":"{actor}","kind":"{actor_kind}"}},'
            f'"data":{{"host":"gpu-{index % 64}","number":{index},"plan_hash":"{bits * 2}"}},"event_id":"{identity}",'
            f'{numbered}"log_origin":"{self.origin}","occurred_at":"{at}","outcome":"{outcome}",'
            f'"recorded_by":"lastgood_app/bench","target":{{"id":"{target}","kind":"{kind}","version":""}},"v":1}}'
        ).encode()
        line = (
            f"{index + 1}\t{identity}\t\\\\x{canon.hex()}\t{at}\t{action}\t{outcome}\t{actor_kind}\t{actor}\t{kind}\t"
            f"{target}\t\t{incident}\t{number or chr(92) + 'N'}\n"
        ).encode()
        return canon, line


def build(database: str, events: int = 1_000_000, *, signer: Signer, drawn: Drawn | None = None) -> Built:
    """Fill the log of the database at that URL (the owner's or a superuser's) with what is drawn.

    Raises RuntimeError where it has any.
    """
    frontier, nodes, checkpoints = Frontier(), [], []
    with psycopg.connect(database) as connection:
        if connection.execute("SELECT EXISTS (SELECT 1 FROM audit_event)").fetchone() != (False,):
            raise RuntimeError("The log is not empty. Build in a database of its own.")
        drawn = drawn or Drawn(events, signer.name)
        connection.execute("SET LOCAL lastgood.restoring = 'on'")
        with _without_indexes(connection):
            leaves = []
            with connection.cursor().copy(f"COPY audit_event ({EVENT_COLUMNS}) FROM STDIN") as copy:
                for index in range(events):
                    canon, line = drawn.event(index)
                    copy.write(line)
                    leaves.append(leaf_hash(canon))
            with connection.cursor().copy("COPY audit_leaf (leaf_index, event_id, leaf_hash) FROM STDIN") as copy:
                for index, leaf in enumerate(leaves):
                    copy.write(f"{index}\t{index + 1}\t\\\\x{leaf.hex()}\n".encode())
                    frontier.append(leaf)
                    if frontier.size % BATCH == 0 or frontier.size == events:
                        text = checkpoint_text(signer.name, frontier.size, frontier.root())
                        checkpoints.append((frontier.size, frontier.root(), signer.sign(text)))
            nodes = frontier.completed
        _rest(connection, drawn, nodes, checkpoints, signer)
    with psycopg.connect(database, autocommit=True) as connection:
        for table in ("audit_event", "audit_leaf", "audit_node", "audit_checkpoint"):
            connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
    return Built(events, frontier.root(), signer.vkey)


@contextmanager
def _without_indexes(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Indexes and the leaves' reference are made once, when all rows are there."""
    indexes = connection.execute(INDEXES).fetchall()
    references = connection.execute(REFERENCES).fetchall()
    for name, _ in indexes:
        connection.execute(sql.SQL("DROP INDEX ") + sql.SQL(name))
    for name, _ in references:
        connection.execute(sql.SQL("ALTER TABLE audit_leaf DROP CONSTRAINT {}").format(sql.Identifier(name)))
    yield
    for _, definition in indexes:
        connection.execute(definition)
    for name, definition in references:
        add = sql.SQL("ALTER TABLE audit_leaf ADD CONSTRAINT {} ").format(sql.Identifier(name))
        connection.execute(add + sql.SQL(definition))


def _rest(
    connection: psycopg.Connection[Any],
    drawn: Drawn,
    nodes: list[Node],
    checkpoints: list[tuple[int, bytes, str]],
    signer: Signer,
) -> None:
    """What else the product keeps: nodes, checkpoints with their place in commit order, key, counters, the next id."""
    (xid,) = connection.execute("SELECT pg_current_xact_id()::text").fetchone() or ("",)
    with connection.cursor().copy("COPY audit_node (level, position, hash) FROM STDIN") as copy:
        for node in nodes:
            copy.write_row(node)
    columns = "size, root, note, created_at, last_xid, last_id"
    with connection.cursor().copy(f"COPY audit_checkpoint ({columns}) FROM STDIN") as copy:
        for size, root, note in checkpoints:
            copy.write_row((size, root, note, drawn.begin + size * drawn.step, xid, size))
    with connection.cursor().copy("COPY audit_incident_counter (incident, last) FROM STDIN") as copy:
        for row in drawn.numbers.items():
            copy.write_row(row)
    connection.execute(
        "INSERT INTO audit_log_key (key_id, vkey, first_used_at) VALUES (%s, %s, now()) ON CONFLICT DO NOTHING",
        [signer.key_id.hex(), signer.vkey],
    )
    connection.execute("SELECT setval(pg_get_serial_sequence('audit_event', 'id'), %s)", [drawn.events])


def main() -> int:
    """``python -m bench.million [EVENTS]``: how long it takes, on a private PostgreSQL."""
    from bench.audit_events_per_second import database

    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name, database(Path(name)) as (_, env):
        begun = time.monotonic()
        built = build(env["OWNER_DATABASE_URL"], events, signer=read_key_file(Path(env["LASTGOOD_LOG_KEY_FILE"])))
        print(f"{built.size} events in {time.monotonic() - begun:.1f} s; load {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
