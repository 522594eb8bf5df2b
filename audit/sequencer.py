"""The one program that turns committed events into leaves of the tree and signs checkpoints.

Order is (xid, id) over rows whose transaction id is below the snapshot's xmin: every transaction below it has ended,
every later one gets a higher id, so nothing that commits late can be missed or come before what has been signed.
"""

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction

from audit.checks import findings, in_lines
from audit.durable import write_durably
from audit.merkle import Frontier, Node, leaf_hash
from audit.note import Signer, checkpoint_text
from audit.refusal import RefusesToSign
from audit.rehash import Rehash
from audit.verify import open_note, parse_checkpoint

log = logging.getLogger(__name__)

LOCK = 0x6C617374_676F6F64
BATCH = 2000
INTERVAL_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 5.0
SEEN_SECONDS = 5.0
PROTECTION_SECONDS = 60.0

# The database makes the leaves from its records; what is signed is what this program then reads back and hashes itself.
APPEND = """
    WITH pending AS (
        SELECT e.id, e.xid, e.canon FROM audit_event AS e
        WHERE (e.xid, e.id) > (%s::xid8, %s) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY e.xid, e.id LIMIT %s
    )
    INSERT INTO audit_leaf (leaf_index, event_id, leaf_hash)
    SELECT %s - 1 + row_number() OVER (ORDER BY p.xid, p.id), p.id, sha256('\\x00'::bytea || p.canon)
    FROM pending AS p
"""
APPENDED = """
    SELECT l.leaf_index, l.leaf_hash, e.xid, e.id, e.canon
    FROM audit_leaf AS l LEFT JOIN audit_event AS e ON e.id = l.event_id
    WHERE l.leaf_index >= %s ORDER BY l.leaf_index
"""
LAST_CHECKPOINT = "SELECT c.note, c.last_xid, c.last_id FROM audit_checkpoint AS c ORDER BY c.size DESC LIMIT 1"
ALL_LEAVES = "SELECT l.leaf_index, l.leaf_hash FROM audit_leaf AS l ORDER BY l.leaf_index"
ALL_NODES = "SELECT n.level, n.position, n.hash FROM audit_node AS n"
INSERT_NODES = """
    INSERT INTO audit_node (level, position, hash) SELECT * FROM unnest(%s::smallint[], %s::bigint[], %s::bytea[])
"""
INSERT_CHECKPOINT = """
    INSERT INTO audit_checkpoint (size, root, note, created_at, last_xid, last_id)
    VALUES (%s, %s, %s, clock_timestamp(), %s::xid8, %s)
"""
INSERT_KEY = """
    INSERT INTO audit_log_key (key_id, vkey, first_used_at) VALUES (%s, %s, clock_timestamp()) ON CONFLICT DO NOTHING
"""
SEEN = """
    INSERT INTO audit_sequencer AS s
        (id, seen_at, refused, rehash_peaks, rehash_next, rehash_size, rehashed_size)
    VALUES (1, clock_timestamp(), '', '', 0, 0, 0)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), refused = '', refused_at = NULL
"""
MISSING = "UPDATE audit_sequencer SET missing = %s WHERE id = 1"
REFUSED = """
    INSERT INTO audit_sequencer AS s
        (id, seen_at, refused, refused_at, rehash_peaks, rehash_next, rehash_size, rehashed_size)
    VALUES (1, clock_timestamp(), %(why)s, clock_timestamp(), '', 0, 0, 0)
    ON CONFLICT (id) DO UPDATE SET seen_at = clock_timestamp(), refused = %(why)s,
        refused_at = CASE WHEN s.refused = %(why)s THEN s.refused_at ELSE clock_timestamp() END
"""


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
        write_durably(self.path, note)


class Sequencer:
    """Holds the tree's right edge in memory; everything else it needs is in the database."""

    def __init__(self, signer: Signer, memory: SignedMemory, alias: str = "sequencer") -> None:
        self.signer, self.memory, self.alias = signer, memory, alias
        self.frontier = Frontier()
        self.position = Position()
        self.rehash = Rehash(signer)
        self._seen = self._protected = 0.0
        self._missing: list[str] | None = None

    @property
    def connection(self) -> Any:
        return connections[self.alias]

    def run(self, stop: threading.Event, interval: float = INTERVAL_SECONDS) -> None:
        """Sequence until ``stop`` is set. A lost database is waited for; RefusesToSign is told to everybody who reads
        the log's state, and raised to the caller."""
        wait = interval
        while not stop.is_set():
            try:
                if not self.take_over():
                    stop.wait(max(interval, 1.0))
                    continue
                wait = interval
                while not stop.is_set():
                    self.look_back()
                    if self.step() < BATCH:
                        stop.wait(interval)
            except (OperationalError, InterfaceError) as error:
                log.warning("The database does not work (%s); trying again in %.1f s.", str(error).strip(), wait)
                self.connection.close()
                stop.wait(wait)
                wait = min(wait * 2, LONGEST_WAIT_SECONDS)
            except RefusesToSign as refusal:
                self._tell(refusal)
                raise
        self.connection.close()

    def look_back(self) -> None:
        """When it is time: re-hash the next old leaves, say that we are here, ask what the log's protection lacks."""
        now = time.monotonic()
        if not self.rehash.due(now):
            return
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            if now - self._seen >= SEEN_SECONDS:
                cursor.execute(SEEN)
            self.rehash.piece(cursor, self.frontier.size)
        if now - self._seen >= SEEN_SECONDS:
            self._seen = now
        if self._missing is None or now - self._protected >= PROTECTION_SECONDS:
            self._protected = now
            self._look_at_protection()

    def _look_at_protection(self) -> None:
        """Say what is missing in the log of the program, when it changes, and in our row."""
        missing = in_lines(findings(self.alias, "sequencer"))
        if missing == self._missing:
            return
        for line in missing:
            log.error("%s", line)
        with self.connection.cursor() as cursor:
            cursor.execute(MISSING, ["\n".join(missing)])
        self._missing = missing

    def _tell(self, refusal: RefusesToSign) -> None:
        """In the log of the program, and in the row that /readyz and the auditors' page read."""
        log.critical("Refuses to sign: %s", refusal)
        try:
            with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
                cursor.execute(REFUSED, {"why": str(refusal)})
        except (OperationalError, InterfaceError) as error:
            log.critical("The database could not be told: %s", str(error).strip())
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
        """Append what has been committed to the tree and sign it, in one transaction. Returns the number of leaves.

        Raises RefusesToSign when what was stored is not what was read.
        """
        frontier = self.frontier.copy()
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            cursor.execute(APPEND, [str(self.position.xid), self.position.id, BATCH, frontier.size])
            made = int(cursor.rowcount)
            if not made:
                return 0
            cursor.execute(APPENDED, [frontier.size])
            position = self._hash_again(cursor.fetchall(), frontier)
            if frontier.size != self.frontier.size + made:
                raise RefusesToSign(f"{made} leaves were made after {self.frontier.size}; {frontier.size} are there.")
            note = self.signer.sign(checkpoint_text(self.signer.name, frontier.size, frontier.root()))
            _insert_nodes(cursor, frontier.completed)
            cursor.execute(INSERT_CHECKPOINT, [frontier.size, frontier.root(), note, str(position.xid), position.id])
        frontier.completed.clear()
        self.frontier, self.position = frontier, position
        self.memory.write(note)
        return made

    def _hash_again(self, rows: list[Any], frontier: Frontier) -> Position:
        """Extend the frontier by the new leaves, each hashed from its stored record; returns where they end."""
        position = self.position
        for index, stored, xid, event_id, canon in rows:
            if index != frontier.size or canon is None or leaf_hash(bytes(canon)) != bytes(stored):
                raise RefusesToSign(f"Leaf {frontier.size} was not stored as it was made. Is the disk failing?")
            after = Position(int(xid), event_id)
            if (after.xid, after.id) <= (position.xid, position.id):
                raise RefusesToSign(f"Leaf {index} would come out of commit order. Run: audit verify.")
            frontier.append(bytes(stored))
            position = after
        return position

    def _load(self) -> None:
        """The tree as stored, checked against the last checkpoint in the database and the last one remembered."""
        remembered = self.memory.read()
        marks = {parse_checkpoint(remembered).size} if remembered else set()
        with transaction.atomic(using=self.alias), self.connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(LAST_CHECKPOINT)
            last = cursor.fetchone()
            frontier, roots = self._stored_tree(marks)
            _complete_nodes(cursor, frontier)
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())")
            next_xid = int(cursor.fetchone()[0])
            self.rehash.load(cursor)
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
        with self.connection.cursor() as cursor:
            cursor.execute(INSERT_KEY, [self.signer.key_id.hex(), self.signer.vkey])
        self.frontier, self._seen, self._missing = frontier, 0.0, None
        log.info("Sequencing from leaf %d, signing as %s.", frontier.size, self.signer.vkey)

    def _stored_tree(self, marks: set[int]) -> tuple[Frontier, dict[int, bytes]]:
        """The tree over the stored leaves, and its root at the sizes ``marks`` and at its end."""
        frontier, roots = Frontier(), {}
        with self.connection.chunked_cursor() as cursor:
            cursor.execute(ALL_LEAVES)
            while rows := cursor.fetchmany(10_000):
                for index, stored in rows:
                    if index != frontier.size:
                        raise RefusesToSign(f"Leaf {frontier.size} is missing from the database. Run: audit verify.")
                    frontier.append(bytes(stored))
                    if frontier.size in marks:
                        roots[frontier.size] = frontier.root()
        roots[frontier.size] = frontier.root()
        return frontier, roots

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


def _complete_nodes(cursor: Any, frontier: Frontier) -> None:
    """Compare the stored interior nodes with the tree's, and store those that are missing (of an older release)."""
    cursor.execute(ALL_NODES)
    stored = {(level, position): bytes(value) for level, position, value in cursor.fetchall()}
    for node in frontier.completed:
        if stored.get((node.level, node.position), node.hash) != node.hash:
            raise RefusesToSign(f"Node {node.position} of level {node.level} does not belong to the tree.")
    _insert_nodes(cursor, [node for node in frontier.completed if (node.level, node.position) not in stored])
    frontier.completed.clear()


def _insert_nodes(cursor: Any, nodes: list[Node]) -> None:
    if nodes:
        cursor.execute(INSERT_NODES, [list(column) for column in zip(*nodes, strict=True)])


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
