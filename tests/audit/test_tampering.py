"""A thousand ways to tamper with the log, drawn with a fixed seed: the verifier finds every one.

Most of them are done to bundles of one log: the whole of it, an incident, a span, a model, a person; the rest to the
database itself, by its owner. What is only taken away is at least incomplete (2); what is changed is tampered with (1);
what is whole in itself, but not what others have seen, is found by an older checkpoint (1) or a witness (3).
"""

import base64
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from audit.canonical import canonical_bytes
from audit.integrity import verify_log
from audit.merkle import leaf_hash
from audit.note import create_key_file, read_key_file
from audit.sequencer import Sequencer
from audit.verify import INCOMPLETE, TAMPERED, UNANCHORED, verify_bundle
from tests.audit import story
from tests.audit.log import ORIGIN, resigned, restated, rezip, sequence_all, sequencer_in, without
from tests.audit.shelf import Shelf
from tests.conftest import CommittedDatabase

SEED = 20260301
BUNDLES, ROWS = 950, 50

Members = dict[str, bytes]
Found = tuple[Members | bytes, set[int]]


@dataclass
class Tamperer:
    """Draws one bundle, does one thing to it, and says what the verifier must find."""

    shelf: Shelf
    draw: random.Random

    def __post_init__(self) -> None:
        key = self.shelf.directory / "tamperer.key"
        self.forger = read_key_file(key) if key.exists() else create_key_file(key, ORIGIN)

    def bundle(self) -> tuple[str, Members]:
        kind = self.draw.choice(sorted(self.shelf.parts))
        return kind, dict(self.shelf.parts[kind])

    def lines(self, members: Members, name: str = "events.jsonl") -> list[bytes]:
        return members[name].splitlines(keepends=True)

    def flip_a_bit(self) -> Found:
        """In any file of the bundle, README and verifier as well."""
        _, members = self.bundle()
        name = self.draw.choice(sorted(name for name in members if members[name]))
        data = bytearray(members[name])
        data[self.draw.randrange(len(data))] ^= 1 << self.draw.randrange(8)
        return members | {name: bytes(data)}, {TAMPERED, INCOMPLETE, UNANCHORED}

    def flip_a_bit_of_the_record_and_adjust_the_manifest(self) -> Found:
        _, members = self.bundle()
        data = bytearray(members["events.jsonl"])
        data[self.draw.randrange(len(data))] ^= 1 << self.draw.randrange(8)
        return restated(members | {"events.jsonl": bytes(data)}), {TAMPERED}

    def drop_an_event(self) -> Found:
        _, members = self.bundle()
        lines = self.lines(members)
        del lines[self.draw.randrange(len(lines))]
        return members | {"events.jsonl": b"".join(lines)}, {INCOMPLETE}

    def leave_an_event_out_and_adjust_everything(self) -> Found:
        kind, members = self.bundle()
        lines = [json.loads(line)["record"]["event_id"] for line in self.lines(members)]
        gone = self.draw.choice(lines)
        fewer = without(members, lambda record: record["event_id"] == gone)
        return fewer, {TAMPERED, INCOMPLETE} if kind == "whole" else {TAMPERED}

    def leave_an_event_and_the_receipt_out(self) -> Found:
        members = self.leave_an_event_out_and_adjust_everything()[0]
        assert isinstance(members, dict)
        return restated({k: v for k, v in members.items() if k != "receipt.json"}, receipt=False), {INCOMPLETE}

    def insert_an_event(self) -> Found:
        """One that never happened, between two others or at the end."""
        _, members = self.bundle()
        lines = self.lines(members)
        entry = json.loads(self.draw.choice(lines))
        record = entry["record"] | {"actor": {"kind": "user", "id": "u-mallory", "auth": {}}}
        canon = canonical_bytes(record)
        index = json.loads(lines[-1])["leaf_index"] + 1 if self.draw.random() < 0.5 else entry["leaf_index"]
        line = b'{"leaf_index":%d,"leaf_hash":"%b","record":%b}\n' % (index, leaf_hash(canon).hex().encode(), canon)
        lines.insert(self.draw.randrange(len(lines) + 1), line)
        return restated(members | {"events.jsonl": b"".join(lines)}, events=len(lines)), {TAMPERED}

    def swap_two_events(self) -> Found:
        _, members = self.bundle()
        lines = self.lines(members)
        first, second = self.draw.sample(range(len(lines)), 2)
        lines[first], lines[second] = lines[second], lines[first]
        return restated(members | {"events.jsonl": b"".join(lines)}), {TAMPERED}

    def swap_two_records(self) -> Found:
        """Their leaves stay where they are."""
        _, members = self.bundle()
        lines = self.lines(members)
        places = self.draw.sample(range(len(lines)), 2)
        heads, records = zip(*(lines[place].split(b',"leaf_hash"', 1) for place in places), strict=True)
        for place, head, record in zip(places, heads, reversed(records), strict=True):
            lines[place] = head + b',"leaf_hash"' + record
        return restated(members | {"events.jsonl": b"".join(lines)}), {TAMPERED}

    def truncate_a_file(self) -> Found:
        _, members = self.bundle()
        name = self.draw.choice(sorted(name for name in members if members[name]))
        kept = members[name][: self.draw.randrange(len(members[name]))]
        return members | {name: kept}, {TAMPERED, INCOMPLETE, UNANCHORED}

    def truncate_the_zip(self) -> Found:
        data = self.zipped(self.bundle()[1])
        return data[: self.draw.randrange(len(data))], {TAMPERED}

    def remove_a_file(self) -> Found:
        _, members = self.bundle()
        del members[self.draw.choice(sorted(members))]
        return members, {INCOMPLETE}

    def put_a_file_in_twice(self) -> Found:
        members = self.bundle()[1]
        name = self.draw.choice(["events.jsonl", "manifest.json", "receipt.json", "checkpoint"])
        twin = "x" * len(name)
        return self.zipped(members | {twin: members[name]}).replace(twin.encode(), name.encode()), {TAMPERED}

    def sign_with_another_key(self) -> Found:
        """The checkpoint alone, or a whole tree that was made anew over a changed record."""
        members = dict(self.shelf.parts["whole"])
        if self.draw.random() < 0.5:
            text = members["checkpoint"].decode().rpartition("\n\n")[0] + "\n"
            return members | {"checkpoint": self.forger.sign(text).encode()}, {TAMPERED}
        return resigned(self.rewritten(members), self.forger), {TAMPERED}

    def rewritten(self, members: Members) -> Members:
        """One record changed, its leaf hash with it."""
        lines = self.lines(members)
        place = self.draw.randrange(len(lines))
        entry = json.loads(lines[place])
        record = entry["record"] | {"occurred_at": f"2026-01-01T00:00:00.{self.draw.randrange(10**6):06d}Z"}
        canon = canonical_bytes(record)
        lines[place] = b'{"leaf_index":%d,"leaf_hash":"%b","record":%b}\n' % (
            entry["leaf_index"],
            leaf_hash(canon).hex().encode(),
            canon,
        )
        return members | {"events.jsonl": b"".join(lines)}

    def change_a_record_carefully(self) -> Found:
        _, members = self.bundle()
        return restated(self.rewritten(members)), {TAMPERED}

    def swap_proofs(self) -> Found:
        """Two hashes of the tree, or two earlier checkpoints of the whole log for one another's."""
        kind, members = self.bundle()
        name = "checkpoints.jsonl" if kind == "whole" else "proofs.jsonl"
        lines = self.lines(members, name)
        first, second = self.draw.sample(range(len(lines)), 2)
        if kind == "whole":
            lines[first], lines[second] = lines[second], lines[first]
        else:
            one, two = json.loads(lines[first]), json.loads(lines[second])
            for place, entry, other in ((first, one, two), (second, two, one)):
                lines[place] = canonical_bytes([*entry[:2], other[2]]) + b"\n"
        return restated(members | {name: b"".join(lines)}), {TAMPERED}

    def edit_the_table(self) -> Found:
        _, members = self.bundle()
        lines = self.lines(members, "events.csv")
        place = self.draw.randrange(1, len(lines))
        cells = lines[place].split(b'","')
        cells[self.draw.randrange(1, len(cells) - 1)] = b"other"
        lines[place] = b'","'.join(cells)
        return restated(members | {"events.csv": b"".join(lines)}), {TAMPERED}

    def change_a_reason(self) -> Found:
        members = dict(self.shelf.parts["whole"])
        lines = self.lines(members, "reasons.jsonl")
        place = self.draw.randrange(len(lines))
        entry = json.loads(lines[place])
        lines[place] = canonical_bytes(entry | {"text": entry["text"] + "."}) + b"\n"
        return restated(members | {"reasons.jsonl": b"".join(lines)}), {TAMPERED}

    def hold_a_reason_back(self) -> Found:
        members = dict(self.shelf.parts["whole"])
        lines = self.lines(members, "reasons.jsonl")
        del lines[self.draw.randrange(len(lines))]
        return restated(members | {"reasons.jsonl": b"".join(lines)}), {TAMPERED}

    def take_the_receipt_of_another(self) -> Found:
        kind, members = self.bundle()
        other = self.draw.choice([one for one in sorted(self.shelf.parts) if one != kind])
        return members | {"receipt.json": self.shelf.parts[other]["receipt.json"]}, {TAMPERED}

    def say_it_is_of_something_else(self) -> Found:
        _, members = self.bundle()
        scope = self.draw.choice([{"kind": "incident", "incident": "INC-2"}, {"kind": "person", "person": "u-bob"}])
        return restated(members, scope=scope), {TAMPERED}

    def move_the_receipt(self) -> Found:
        """Its leaf, or what it says, by somebody who can't sign."""
        _, members = self.bundle()
        entry = json.loads(members["receipt.json"])
        if self.draw.random() < 0.5:
            entry["leaf_index"] += self.draw.choice([-1, 1])
        else:
            record = json.loads(base64.b64decode(entry["record"]))
            record["data"]["manifest"] = "0" * 64
            entry["record"] = base64.b64encode(canonical_bytes(record)).decode()
        return members | {"receipt.json": canonical_bytes(entry) + b"\n"}, {TAMPERED}

    def zipped(self, members: Members) -> bytes:
        return rezip(self.shelf.directory / "zipped.zip", members).read_bytes()

    def ways(self) -> list[Callable[[], Found]]:
        return [
            self.flip_a_bit,
            self.flip_a_bit,
            self.flip_a_bit_of_the_record_and_adjust_the_manifest,
            self.drop_an_event,
            self.leave_an_event_out_and_adjust_everything,
            self.leave_an_event_and_the_receipt_out,
            self.insert_an_event,
            self.swap_two_events,
            self.swap_two_records,
            self.truncate_a_file,
            self.truncate_the_zip,
            self.remove_a_file,
            self.put_a_file_in_twice,
            self.sign_with_another_key,
            self.change_a_record_carefully,
            self.swap_proofs,
            self.edit_the_table,
            self.change_a_reason,
            self.hold_a_reason_back,
            self.take_the_receipt_of_another,
            self.say_it_is_of_something_else,
            self.move_the_receipt,
        ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nine_hundred_and_fifty_tampered_bundles_are_all_found(shelf: Shelf) -> None:
    witness = [shelf.witness.vkey]
    for kind, members in shelf.parts.items():
        path = rezip(shelf.directory / f"{kind}.zip", members)
        verdict = verify_bundle(str(path), shelf.key, shelf.older, witness)
        assert (verdict.status(), verdict.bad, verdict.lacking) == (0, [], []), kind

    tamperer = Tamperer(shelf, random.Random(SEED))
    ways, done = tamperer.ways(), Counter[str]()
    path = shelf.directory / "tampered.zip"
    for number in range(BUNDLES):
        way = ways[number % len(ways)]
        tampered, expected = way()
        if isinstance(tampered, bytes):
            path.write_bytes(tampered)
        else:
            rezip(path, tampered)
        verdict = verify_bundle(str(path), shelf.key, "", witness)
        assert verdict.status() in expected, f"{number}: {way.__name__}: {verdict}"
        done[way.__name__] += 1
    assert min(done.values()) >= 40


def test_a_complete_older_state_is_found_by_a_newer_checkpoint_or_a_witness(shelf: Shelf) -> None:
    """Of a log that was set back and grew on otherwise, signed with its own key: whole in itself."""
    draw = random.Random(SEED)
    tamperer = Tamperer(shelf, draw)
    for _ in range(10):
        older = resigned(tamperer.rewritten(dict(shelf.early["bare"])), shelf.signer)
        path = str(rezip(shelf.directory / "older.zip", older))
        assert verify_bundle(path, shelf.key, shelf.newer).status() == TAMPERED
        assert verify_bundle(path, shelf.key, shelf.older).status() == TAMPERED
        assert verify_bundle(path, shelf.key, "", [shelf.witness.vkey]).status() in (TAMPERED, UNANCHORED)
    for kind in ("whole", "incident"):
        path = str(rezip(shelf.directory / "older.zip", shelf.early[kind]))
        assert verify_bundle(path, shelf.key).status() == 0, "it was true once"
        assert verify_bundle(path, shelf.key, shelf.newer).status() == TAMPERED


# In the database, by its owner

DISARM = "ALTER TABLE {table} DISABLE TRIGGER {table}_no_change"
ARM = "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change"
TABLES = ("audit_event", "audit_leaf", "audit_checkpoint")


@pytest.fixture
def signed(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    sequencer = sequencer_in(tmp_path)
    story.two_models()
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


def changes(draw: random.Random, ids: list[int], size: int) -> Iterator[str]:
    """Statements of somebody who may do everything in the database, without end."""
    columns = ("action", "actor", "target_kind", "target_id", "incident")
    while True:
        one, two = draw.sample(ids, 2)
        byte, bit = draw.randrange(20, 200), 1 << draw.randrange(7)
        flip = f"set_byte(canon, {byte}, get_byte(canon, {byte}) # {bit})"
        yield f"UPDATE audit_event SET canon = {flip} WHERE id = {one}"
        yield f"UPDATE audit_event SET {draw.choice(columns[:4])} = 'other' WHERE id = {one}"
        yield f"UPDATE audit_event SET occurred_at = occurred_at - interval '1 day' WHERE id = {one}"
        yield (f"WITH gone AS (DELETE FROM audit_leaf WHERE event_id = {one} RETURNING 1) SELECT * FROM gone")
        yield (f"UPDATE audit_leaf SET leaf_hash = sha256('x'::bytea || leaf_hash) WHERE event_id = {one}")
        yield (
            "UPDATE audit_event AS e SET canon = o.canon FROM audit_event AS o "
            f"WHERE (e.id, o.id) IN (({one}, {two}), ({two}, {one}))"
        )
        yield f"UPDATE audit_checkpoint SET root = sha256(root) WHERE size = {size}"
        place = draw.randrange(30, 60)
        other = f"CASE substr(note, {place}, 1) WHEN 'A' THEN 'B' ELSE 'A' END"
        note = f"overlay(note placing {other} from {place})"
        yield f"UPDATE audit_checkpoint SET note = {note} WHERE size = {size}"


def test_fifty_changes_in_the_database_are_all_found(signed: Sequencer, committed_db: CommittedDatabase) -> None:
    assert verify_log(signed.signer.vkey).ok
    with connections["owner"].cursor() as cursor:
        cursor.execute("SELECT l.event_id FROM audit_leaf AS l ORDER BY l.leaf_index")
        ids = [row[0] for row in cursor.fetchall()]
        draw = random.Random(SEED)
        todo = changes(draw, ids, signed.frontier.size)
        keep(cursor)
        for _ in range(ROWS):
            statement = next(todo)
            for table in TABLES:
                cursor.execute(DISARM.format(table=table))
            cursor.execute(statement)
            assert cursor.rowcount, statement
            for table in TABLES:
                cursor.execute(ARM.format(table=table))
            report = verify_log(signed.signer.vkey)
            assert not report.ok, statement
            put_back(cursor)
    assert verify_log(signed.signer.vkey).ok


def keep(cursor: Any) -> None:
    """Copies of the tables, to undo a change by."""
    for table in TABLES:
        cursor.execute(f"CREATE TEMPORARY TABLE kept_{table} AS SELECT * FROM {table}")


def put_back(cursor: Any) -> None:
    for table in TABLES:
        cursor.execute(DISARM.format(table=table))
    cursor.execute(
        "UPDATE audit_event AS e SET canon = k.canon, action = k.action, actor = k.actor, "
        "target_kind = k.target_kind, target_id = k.target_id, occurred_at = k.occurred_at "
        "FROM kept_audit_event AS k WHERE k.id = e.id"
    )
    cursor.execute("INSERT INTO audit_leaf SELECT * FROM kept_audit_leaf ON CONFLICT DO NOTHING")
    cursor.execute(
        "UPDATE audit_leaf AS l SET leaf_hash = k.leaf_hash FROM kept_audit_leaf AS k WHERE k.leaf_index = l.leaf_index"
    )
    cursor.execute(
        "UPDATE audit_checkpoint AS c SET root = k.root, note = k.note FROM kept_audit_checkpoint AS k "
        "WHERE k.size = c.size"
    )
    for table in TABLES:
        cursor.execute(ARM.format(table=table))
