"""The one program that turns committed events into leaves of the tree and signs checkpoints.

Order is (xid, id) over rows whose transaction id is below the snapshot's xmin: every transaction below it has ended,
every later one gets a higher id, so nothing that commits late can be missed or come before what has been signed.
"""

import logging
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction

from audit.merkle import Frontier, leaf_hash
from audit.note import Signer, checkpoint_text
from audit.verify import open_note, parse_checkpoint

log = logging.getLogger(__name__)

LOCK = 0x6C617374_676F6F64
BATCH = 2000
INTERVAL_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0

PENDING = """
    SELECT e.id, e.xid, e.canon FROM audit_event AS e
    WHERE (e.xid, e.id) > (%s::xid8, %s) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY e.xid, e.id LIMIT %s
"""
LAST_CHECKPOINT = "SELECT c.note, c.last_xid, c.last_id FROM audit_checkpoint AS c ORDER BY c.size DESC LIMIT 1"
INSERT_LEAVES = """
    INSERT INTO audit_leaf (leaf_index, event_id, leaf_hash)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bytea[])
"""
INSERT_CHECKPOINT = """
    INSERT INTO audit_checkpoint (size, root, note, created_at, last_xid, last_id)
    VALUES (%s, %s, %s, clock_timestamp(), %s::xid8, %s)
"""
INSERT_KEY = """
    INSERT INTO audit_log_key (key_id, vkey, first_used_at) VALUES (%s, %s, clock_timestamp()) ON CONFLICT DO NOTHING
"""


class RefusesToSign(Exception):
    """The database's tree does not extend what was signed before. A person must look; the message says at what."""


@dataclass(frozen=True)
class Position:
    """The last event, in commit order, that the tree holds."""

    xid: int = 0
    id: int = 0


class SignedMemory:
    """The last checkpoint that was signed, kept beside the key, so that a database set back in time is found out."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str:
        """The note, or an empty string when none was ever kept."""
        try:
            return self.path.read_text()
        except FileNotFoundError:
            return ""

    def write(self, note: str) -> None:
        """Keep a note, whole or not at all."""
        fresh = self.path.with_suffix(self.path.suffix + ".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)


class Sequencer:
    """Holds the tree's right edge in memory; everything else it needs is in the database."""

    def __init__(self, signer: Signer, memory: SignedMemory, alias: str = "sequencer") -> None:
        self.signer, self.memory, self.alias = signer, memory, alias
        self.frontier = Frontier()
        self.position = Position()

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    def run(self, stop: threading.Event, interval: float = INTERVAL_SECONDS) -> None:
        """Sequence until ``stop`` is set. A lost database is waited for; RefusesToSign is raised to the caller."""
        wait = interval
        while not stop.is_set():
            try:
                if not self.take_over():
                    stop.wait(max(interval, 1.0))
                    continue
                wait = interval
                while not stop.is_set():
                    if self.step() < BATCH:
                        stop.wait(interval)
            except (OperationalError, InterfaceError) as error:
                log.warning("The database is away (%s); trying again in %.1f s.", str(error).strip(), wait)
                self.connection.close()
                stop.wait(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
        self.connection.close()

    def take_over(self) -> bool:
        """Take the lock of the log and load the tree. False while another sequencer holds it."""
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            if not cursor.fetchone()[0]:
                return False
        self._load()
        return True

    def step(self) -> int:
        """Append what has been committed to the tree and sign it, in one transaction. Returns the number of leaves."""
        frontier = self.frontier.copy()
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            cursor.execute(PENDING, [str(self.position.xid), self.position.id, BATCH])
            rows = cursor.fetchall()
            if not rows:
                return 0
            hashes = [leaf_hash(bytes(canon)) for _, _, canon in rows]
            first = frontier.size
            frontier.extend(hashes)
            position = Position(xid=int(rows[-1][1]), id=rows[-1][0])
            note = self.signer.sign(checkpoint_text(self.signer.name, frontier.size, frontier.root()))
            cursor.execute(INSERT_LEAVES, [list(range(first, frontier.size)), [row[0] for row in rows], hashes])
            cursor.execute(INSERT_CHECKPOINT, [frontier.size, frontier.root(), note, str(position.xid), position.id])
        self.frontier, self.position = frontier, position
        self.memory.write(note)
        return len(rows)

    def _load(self) -> None:
        """The tree as stored, checked against the last checkpoint in the database and the last one remembered."""
        frontier, roots = Frontier(), {}
        remembered = self.memory.read()
        marks = {parse_checkpoint(remembered).size} if remembered else set()
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(LAST_CHECKPOINT)
            last = cursor.fetchone()
            cursor.execute("SELECT l.leaf_index, l.leaf_hash FROM audit_leaf AS l ORDER BY l.leaf_index")
            for index, stored in cursor:
                if index != frontier.size:
                    raise RefusesToSign(f"Leaf {frontier.size} is missing from the database. Run: audit verify.")
                frontier.append(bytes(stored))
                if frontier.size in marks:
                    roots[frontier.size] = frontier.root()
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            next_xid = int(cursor.fetchone()[0])
            cursor.execute(INSERT_KEY, [self.signer.key_id.hex(), self.signer.vkey])
        roots[frontier.size] = frontier.root()
        self.position = Position(int(last[1]), last[2]) if last else Position()
        if self.position.xid >= next_xid:
            raise RefusesToSign(
                "The log was moved to another database cluster, whose transaction numbers are lower than the log's. "
                f"Advance them beyond {self.position.xid} (pg_resetwal) before events are recorded."
            )
        if last:
            self._extends(last[0], roots, "the last checkpoint in the database")
        elif frontier.size:
            raise RefusesToSign("The tree has leaves, but no checkpoint. Run: audit verify.")
        if remembered:
            self._extends(remembered, roots, f"the checkpoint remembered in {self.memory.path}")
        self.frontier = frontier
        log.info("Sequencing from leaf %d, signing as %s.", frontier.size, self.signer.vkey)

    def _extends(self, note: str, roots: dict[int, bytes], what: str) -> None:
        """Refuse unless our own key signed the note and the stored tree passes through it."""
        try:
            checkpoint = parse_checkpoint(open_note(note, self.signer.vkey))
        except ValueError as error:
            raise RefusesToSign(f"This key did not sign {what}: {error} Give me the log's own key.") from error
        if roots.get(checkpoint.size) != checkpoint.root:
            held = max(roots)
            raise RefusesToSign(
                f"The tree in the database ({held} leaves) does not extend {what} ({checkpoint.size} leaves). "
                "It was changed or set back in time; an export made earlier shows which. Run: audit verify."
            )


def wait_for_leaf(event_id: int, seconds: float, alias: str = "default") -> int | None:
    """The leaf index of an event once it has one, or None after ``seconds``: for programs that export what they did."""
    deadline = time.monotonic() + seconds
    while True:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT l.leaf_index FROM audit_leaf AS l WHERE l.event_id = %s", [event_id])
            row = cursor.fetchone()
        if row or time.monotonic() > deadline:
            return row[0] if row else None
        time.sleep(0.05)


