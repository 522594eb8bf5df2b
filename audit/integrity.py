"""Verification of the log inside the database: everything is computed again from the stored bytes."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connections, transaction

from audit.checks import unarmed
from audit.merkle import Frontier, leaf_hash
from audit.verify import parse_checkpoint
from audit.watch import signed_by, witness_keys

MAX_PROBLEMS = 100
STALE_SECONDS = 30

LEAVES = """
    SELECT l.leaf_index, l.leaf_hash, e.id, e.xid, e.canon, e.event_uuid, e.occurred_at, e.action, e.outcome,
           e.actor_kind, e.actor, e.target_kind, e.target_id, e.target_version, e.incident, e.incident_seq
    FROM audit_leaf AS l LEFT JOIN audit_event AS e ON e.id = l.event_id ORDER BY l.leaf_index
"""
UNSEQUENCED = """
    SELECT e.id, extract(epoch FROM clock_timestamp() - e.occurred_at)::bigint,
           (e.xid, e.id) <= (%s::xid8, %s)
    FROM audit_event AS e LEFT JOIN audit_leaf AS l ON l.event_id = e.id
    WHERE l.event_id IS NULL AND e.xid < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY e.xid, e.id LIMIT 100
"""
COSIGNED = """
    SELECT s.size, c.note || s.note_line FROM audit_cosig AS s JOIN audit_checkpoint AS c ON c.size = s.size
    WHERE s.witness = %s ORDER BY s.size
"""
NODES = "SELECT n.level, n.position, n.hash FROM audit_node AS n"


@dataclass
class Report:
    """``problems`` name the leaf where there is one; ``first_bad_leaf`` is the lowest of them."""

    size: int = 0
    root: bytes = b""
    checkpoints: int = 0
    problems: list[str] = field(default_factory=list)
    first_bad_leaf: int | None = None

    @property
    def ok(self) -> bool:
        return not self.problems

    def add(self, sentence: str, leaf: int | None = None) -> None:
        if leaf is not None and (self.first_bad_leaf is None or leaf < self.first_bad_leaf):
            self.first_bad_leaf = leaf
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(sentence)


def verify_log(vkey: str = "", alias: str = "default", *, sequencing: bool = True) -> Report:
    """Recompute every leaf, the tree, each checkpoint's root and signature, the index columns, the incidents' numbers.

    With ``vkey`` signatures are checked by that key, else by the keys that the database itself names. Unless a
    sequencer is at work (``sequencing``), an event may wait for its leaf as long as it likes.
    """
    report = Report()
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        marks = _checkpoints(cursor, vkey, report)
        _nodes(cursor, _tree(alias, marks, report), report)
        _cosignatures(cursor, report)
        _unsequenced(cursor, report, sequencing)
        _triggers(cursor, report)
    return report


def _checkpoints(cursor: Any, vkey: str, report: Report) -> dict[int, bytes]:
    """Signed root by size."""
    cursor.execute("SELECT k.vkey FROM audit_log_key AS k ORDER BY k.first_used_at")
    keys = [vkey] if vkey else [row[0] for row in cursor.fetchall()]
    cursor.execute("SELECT c.size, c.root, c.note FROM audit_checkpoint AS c ORDER BY c.size")
    marks = {}
    for size, root, note in cursor.fetchall():
        report.checkpoints += 1
        try:
            checkpoint = parse_checkpoint(note)
        except ValueError as error:
            report.add(f"The checkpoint at {size} can't be read: {error}")
            continue
        if (checkpoint.size, checkpoint.root) != (size, bytes(root)):
            report.add(f"The checkpoint at {size} does not say what its row says.")
        if not signed_by(note, keys):
            report.add(f"The checkpoint at {size} is not signed by the log's key.")
        marks[checkpoint.size] = checkpoint.root
    return marks


def _cosignatures(cursor: Any, report: Report) -> None:
    """What is kept as a configured witness's signature must be one, by any of its keys, over that very checkpoint."""
    for name, keys in witness_keys().items():
        cursor.execute(COSIGNED, [name])
        for size, note in cursor.fetchall():
            if not signed_by(note, keys):
                report.add(f"The checkpoint at {size} was not signed by {name}, whose signature is kept beside it.")


def _tree(alias: str, marks: dict[int, bytes], report: Report) -> Frontier:
    frontier, missed = Frontier(), False
    numbers: dict[str, list[int]] = defaultdict(list)
    before = (0, 0)
    for row in _stream(alias):
        index, stored = row["leaf_index"], bytes(row["leaf_hash"])
        if index != frontier.size:
            report.add(f"Leaf {frontier.size} is missing.", frontier.size)
            return frontier
        frontier.append(stored)
        if row["id"] is None:
            report.add(f"Leaf {index} has lost its event.", index)
            continue
        if leaf_hash(bytes(row["canon"])) != stored:
            report.add(f"Leaf {index}: the stored record is not the one that the leaf was made from.", index)
        _columns(row, report)
        order = (int(row["xid"]), row["id"])
        # Transaction id 0: restored from a backup, in the order of the leaves.
        if order <= before and before[0]:
            report.add(f"Leaf {index} is out of commit order.", index)
        before = order
        if row["incident"]:
            numbers[row["incident"]].append(row["incident_seq"])
        if not missed and frontier.size in marks and marks[frontier.size] != frontier.root():
            missed = True
            first = max((size for size in marks if size < frontier.size), default=0)
            report.add(f"The tree misses the checkpoint at {frontier.size}: a leaf from {first} on was changed.", first)
    report.size, report.root = frontier.size, frontier.root()
    if marks and max(marks) != frontier.size:
        report.add(f"The tree has {frontier.size} leaves; the last checkpoint was signed at {max(marks)}.")
    for incident, taken in numbers.items():
        if sorted(taken) != list(range(1, len(taken) + 1)):
            missing = next(number for number in range(1, len(taken) + 2) if number not in taken)
            report.add(f"{incident}: event number {missing} is missing.")
    return frontier


def _stream(alias: str) -> Iterator[dict[str, Any]]:
    """Leaves with their events, in the tree's order, by a cursor on the server."""
    connection = connections[alias]
    with connection.chunked_cursor() as cursor:
        cursor.execute(LEAVES)
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(2000):
            for row in rows:
                yield dict(zip(names, row, strict=True))


def _columns(row: dict[str, Any], report: Report) -> None:
    """The columns that pages search by must say what the record says."""
    index = row["leaf_index"]
    try:
        record = json.loads(bytes(row["canon"]))
        stated = {
            "event_uuid": record["event_id"],
            "action": record["action"],
            "outcome": record["outcome"],
            "actor_kind": record["actor"]["kind"],
            "actor": record["actor"]["id"],
            "target_kind": record["target"]["kind"],
            "target_id": record["target"]["id"],
            "target_version": record["target"]["version"],
            "incident": record.get("incident", ""),
            "incident_seq": record.get("incident_seq"),
            "occurred_at": record["occurred_at"],
        }
    except (ValueError, KeyError, TypeError) as error:
        report.add(f"Leaf {index} is not a record: {error!r}", index)
        return
    row["event_uuid"] = str(row["event_uuid"])
    row["occurred_at"] = row["occurred_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for name, value in stated.items():
        if row[name] != value:
            report.add(f"Leaf {index}: the column {name} says {row[name]!r}, the record {value!r}.", index)


def _unsequenced(cursor: Any, report: Report, sequencing: bool) -> None:
    """Events that were committed and have no leaf: passed over, or waiting for a sequencer that does not run."""
    cursor.execute("SELECT c.last_xid, c.last_id FROM audit_checkpoint AS c ORDER BY c.size DESC LIMIT 1")
    xid, last = cursor.fetchone() or (0, 0)
    cursor.execute(UNSEQUENCED, [str(xid), last])
    for event_id, age, passed in cursor.fetchall():
        if passed:
            report.add(f"Event {event_id} was committed before the last checkpoint and has no leaf.")
        elif sequencing and age > STALE_SECONDS:
            report.add(f"Event {event_id} has waited {age} s for its leaf; is the sequencer running?")


def _triggers(cursor: Any, report: Report) -> None:
    for sentence in unarmed(cursor):
        report.add(sentence)


def _nodes(cursor: Any, frontier: Frontier, report: Report) -> None:
    """Interior nodes, of which proofs are made, must be the tree's."""
    cursor.execute(NODES)
    stored = {(level, position): bytes(value) for level, position, value in cursor.fetchall()}
    for node in frontier.completed:
        if stored.pop((node.level, node.position), node.hash) != node.hash:
            report.add(f"Node {node.position} of level {node.level} does not belong to the tree.")
    for level, position in stored:
        report.add(f"Node {position} of level {level} stands for leaves that are not there.")
