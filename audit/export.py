"""Export bundles: the log, a part of it, its proofs and the program that checks them, in one zip."""

import base64
import hashlib
import json
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.db import connections, transaction
from django.utils.translation import gettext

from audit import verify
from audit.actions import Actor, log_origin, record_export
from audit.canonical import canonical_bytes
from audit.merkle import consistency_proof, inclusion_proof
from audit.models import AuditEvent
from audit.private import open_row
from audit.scopes import Chosen, NothingToExport, Scope, ScopeError, choose
from audit.sequencer import LOCK
from audit.tree import StoredTree
from audit.verify import COLUMNS, FORMAT, csv_line, csv_row, parse_checkpoint, peaks, split
from audit.watch import witness_keys

__all__ = ["BundleInfo", "NothingToExport", "Scope", "ScopeError", "export_bundle", "tlog_proof", "write_bundle"]

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
MOST_MARKS = 1000
MOST_EARLIER = 100
IN_MEMORY = 8 << 20
RECEIPT_SECONDS = 10.0

EVENTS = """
    SELECT l.leaf_index, l.leaf_hash, e.canon, e.id, p.subject, p.sealed, k.wrapped
    FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id LEFT JOIN audit_private AS p ON p.event_id = e.id
    LEFT JOIN audit_subject_key AS k ON k.subject = p.subject
    WHERE l.leaf_index < %s AND {where} ORDER BY l.leaf_index
"""
MARKS = """
    SELECT m.note FROM (SELECT c.note, c.size, row_number() OVER (ORDER BY c.size) AS n, count(*) OVER () AS total
                        FROM audit_checkpoint AS c WHERE c.size < %s) AS m
    WHERE m.n %% greatest(1, m.total / %s) = 0 ORDER BY m.size
"""
EARLIER = "SELECT e.canon FROM audit_event AS e WHERE e.action = 'audit.export' ORDER BY e.occurred_at DESC LIMIT %s"
NOTE = """
    SELECT c.size, c.note || coalesce((SELECT string_agg(s.note_line, '' ORDER BY s.witness)
                                       FROM audit_cosig AS s WHERE s.size = c.size AND s.witness = ANY(%s)), ''),
           (SELECT count(*) FROM audit_cosig AS s WHERE s.size = c.size AND s.witness = ANY(%s))
    FROM audit_checkpoint AS c WHERE c.size > %s ORDER BY c.size DESC LIMIT 50
"""
SIGNING = """
    SELECT EXISTS (SELECT FROM pg_locks AS k JOIN pg_database AS d ON d.oid = k.database
                   WHERE k.locktype = 'advisory' AND k.granted AND d.datname = current_database()
                   AND (k.classid::bigint << 32 | k.objid::bigint) = %s)
"""

README = """Audit log of Lastgood: {words}

{events} events of the log {origin}, whose tree had {size} leaves when its checkpoint was signed.

To check it, with Python 3.9 or later and the package "cryptography":

    python3 verify.py THIS.zip --key 'THE KEY OF THE LOG' --witness 'THE KEY OF A WITNESS'

Get the keys from the people who run the log and its witnesses, by another way than this file. The exit status is 0 when
the record is whole, 1 when it was tampered with, 2 when it is incomplete, 3 when no key was given, or a witness that
was asked for has not signed. Somebody who distrusts this copy of verify.py can take it from Lastgood's source code
(audit/verify.py), or write another:

events.jsonl       one event a line: its leaf's index, its leaf's hash, and the record, byte for byte as it was hashed
                   (RFC 8785 canonical JSON). Leaf hash: SHA-256(0x00 || record). Tree: RFC 6962.
events.csv         the same for spreadsheets; what would be taken for a formula has an apostrophe before it
checkpoint         the signed size and root of the tree (C2SP signed note, Ed25519), signed by witnesses as well where
                   there are any
checkpoints.jsonl  earlier checkpoints, where the whole log was exported
proofs.jsonl       where a part was exported, the part of the tree that its leaves hang in: [first leaf, leaf after the
                   last, hash of the subtree over them]. A node is SHA-256(0x01 || left || right).
reasons.jsonl      the free texts that people gave, each with the key of the commitment in its record
                   (reason_commit = HMAC-SHA256(key, text)). An erased one is missing here, and nothing else changes.
manifest.json      what was exported: the scope, the leaves that were added only to judge it by ("context"), the keys
                   that the log names, and the SHA-256 of each file
receipt.json       the log's own entry of this export, which holds the SHA-256 of manifest.json, with its proof in a
                   later signed tree: nothing can be left out of the bundle afterwards
"""


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle holds: the name of what it is of, number of events, tree size, root (hex), the SHA-256 (hex) of its
    manifest, and the leaf of its receipt, None where it has none (yet)."""

    path: Path
    name: str
    events: int
    size: int
    root: str
    manifest: str
    receipt: int | None = None


def export_bundle(path: Path, *, actor: Actor, extends: int = 0, alias: str = "default", **scope: Any) -> BundleInfo:
    """Write a bundle as ``write_bundle`` does, put it on record, and add the receipt that the log gives for it.

    The receipt is waited for, at most 10 s, where a sequencer is at work; without one the bundle says that it is
    incomplete. Raises NothingToExport, ScopeError.
    """
    info = write_bundle(path, extends=extends, alias=alias, receipt=True, **scope)
    facts = Scope(**scope).facts()
    event = record_export(manifest=info.manifest, events=info.events, size=info.size, scope=facts, actor=actor)
    return add_receipt(info, event, alias)


def add_receipt(info: BundleInfo, event: AuditEvent, alias: str = "default") -> BundleInfo:
    """Add the receipt to a bundle whose export is on record, when the log gives it in time."""
    receipt = _receipt(event, info, alias)
    if receipt is None:
        return info
    with zipfile.ZipFile(info.path, "a", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        _Writer(bundle).put("receipt.json", _line(receipt))
    return replace(info, receipt=receipt["leaf_index"])


def write_bundle(
    path: Path, *, extends: int = 0, receipt: bool = False, alias: str = "default", **scope: Any
) -> BundleInfo:
    """Write the whole log, or one part of it (keywords of ``Scope``), as of the last checkpoint.

    ``extends``: the size of an older checkpoint, of which a part shall show that the tree extends it. ``receipt``: say
    that one will be added. The same log at the same checkpoint gives the same bytes. Raises NothingToExport when no
    event matches, ScopeError when the scope names more than one thing.
    """
    of = Scope(**scope)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        if not connections[alias].savepoint_ids:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute(NOTE, _note_after(-1))
        row = cursor.fetchone()
        if row is None:
            raise NothingToExport(gettext("The log has no checkpoint yet. Start the sequencer, then export again."))
        note = row[1]
        size = parse_checkpoint(note).size
        chosen = Chosen(set()) if of.kind == "whole" else choose(cursor, of, size)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
            writer = _Writer(bundle)
            writer.put("verify.py", Path(verify.__file__).read_bytes())
            writer.put("checkpoint", note.encode())
            count = size if of.kind == "whole" else len(chosen.everything())
            writer.put("README.txt", _readme(of, count, size).encode())
            _events(writer, alias, of, chosen, size)
            if of.kind == "whole":
                cursor.execute(MARKS, [size, MOST_MARKS])
                lines = (_line({"note": mark}) for (mark,) in cursor.fetchall())
                writer.put("checkpoints.jsonl", b"".join(lines))
            else:
                sizes = _earlier(cursor) | {extends}
                writer.put("proofs.jsonl", b"".join(_proofs(chosen.everything(), sizes, size, alias)))
            manifest = _line(_manifest(cursor, of, chosen, note, count, receipt) | {"members": writer.digests})
            writer.put("manifest.json", manifest)
    root = parse_checkpoint(note).root.hex()
    return BundleInfo(path, of.name, count, size, root, hashlib.sha256(manifest).hexdigest())


def _manifest(cursor: Any, of: Scope, chosen: Chosen, note: str, count: int, receipt: bool) -> dict[str, Any]:
    checkpoint = parse_checkpoint(note)
    return {
        "format": FORMAT,
        "scope": of.facts(),
        "context": sorted(chosen.context),
        "origin": log_origin(),
        "size": checkpoint.size,
        "root": base64.b64encode(checkpoint.root).decode(),
        "events": count,
        "log_key": _log_key(cursor),
        "witness_keys": list(settings.LASTGOOD_WITNESSES),
        "receipt": receipt,
    }


class _Writer:
    """Members of the zip, one after the other, with the SHA-256 of each."""

    def __init__(self, bundle: zipfile.ZipFile) -> None:
        self.bundle = bundle
        self.digests: dict[str, str] = {}

    def put(self, name: str, data: bytes) -> None:
        with self.member(name) as write:
            write(data)

    @contextmanager
    def member(self, name: str) -> Iterator[Any]:
        """A function that writes bytes to the member."""
        info = zipfile.ZipInfo(name, ZIP_TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        digest = hashlib.sha256()
        with self.bundle.open(info, "w", force_zip64=True) as file:

            def write(data: bytes) -> None:
                digest.update(data)
                file.write(data)

            yield write
        self.digests[name] = digest.hexdigest()

    def copy(self, name: str, source: IO[bytes]) -> None:
        source.seek(0)
        with self.member(name) as write:
            while part := source.read(1 << 20):
                write(part)


def _events(writer: _Writer, alias: str, of: Scope, chosen: Chosen, size: int) -> None:
    """Write ``events.jsonl``, and beside it ``reasons.jsonl`` and ``events.csv``, in one pass."""
    where, parameters = "true", list[Any]([size])
    if of.kind != "whole":
        where, parameters = "l.leaf_index = ANY(%s)", [size, chosen.everything()]
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as reasons, tempfile.SpooledTemporaryFile(IN_MEMORY) as table:
        table.write(csv_line(COLUMNS))
        with writer.member("events.jsonl") as write:
            rows = _rows(alias, EVENTS.format(where=where), parameters)
            for index, leaf, canon, event_id, subject, sealed, wrapped in rows:
                record, text = bytes(canon), ""
                write(b'{"leaf_index":%d,"leaf_hash":"%b","record":%b}\n' % (index, leaf.hex().encode(), record))
                opened = open_row(event_id, subject, wrapped, sealed) if sealed else None
                if opened:
                    text = opened[1]
                    reasons.write(_line({"leaf_index": index, "key": opened[0].hex(), "text": text}))
                table.write(csv_row(index, json.loads(record), text))
        writer.copy("reasons.jsonl", reasons)
        writer.copy("events.csv", table)


def _rows(alias: str, sql: str, parameters: list[Any]) -> Iterator[tuple[Any, ...]]:
    with connections[alias].chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(2000):
            yield from rows


def _earlier(cursor: Any) -> set[int]:
    """Sizes of the trees of the last exports: who has one has its checkpoint, and may ask to see it extended."""
    cursor.execute(EARLIER, [MOST_EARLIER])
    return {json.loads(bytes(canon))["data"].get("size", 0) for (canon,) in cursor.fetchall()}


def _proofs(leaves: list[int], sizes: Iterable[int], size: int, alias: str) -> Iterator[bytes]:
    """The nodes that lie on, and beside, the ways from the root to the leaves and to the trees of those sizes."""
    ends = {place for one in sizes if 0 < one < size for place in peaks(one)} | {(leaf, leaf + 1) for leaf in leaves}
    hash_of = StoredTree(alias).range_hash
    for low, high in sorted(_ways(sorted(ends), size)):
        yield _line([low, high, hash_of(low, high).hex()])


def _ways(ends: list[tuple[int, int]], size: int) -> Iterator[tuple[int, int]]:
    """Both children of each node that has one of the sorted ``ends`` below it."""
    ahead = [(0, size, ends)]
    while ahead:
        low, high, below = ahead.pop()
        below = [end for end in below if end != (low, high)]
        if not below:
            continue
        middle = low + split(high - low)
        yield low, middle
        yield middle, high
        ahead.append((low, middle, [end for end in below if end[1] <= middle]))
        ahead.append((middle, high, [end for end in below if end[0] >= middle]))


def _receipt(event: AuditEvent, info: BundleInfo, alias: str) -> dict[str, Any] | None:
    """The event of the export with its proof in the tree of a later checkpoint, which the witnesses have signed where
    there are any and they are quick enough; None where it is not signed in time."""
    found = _signed_after(event, alias)
    if found is None:
        return None
    leaf, note = found
    size, hash_of = parse_checkpoint(note).size, StoredTree(alias).range_hash
    return {
        "leaf_index": leaf,
        "record": base64.b64encode(bytes(event.canon)).decode(),
        "note": note,
        "hashes": [one.hex() for one in inclusion_proof(leaf, size, hash_of)],
        "consistency": [one.hex() for one in consistency_proof(info.size, size, hash_of)],
    }


def _signed_after(event: AuditEvent, alias: str) -> tuple[int, str] | None:
    """The leaf of an event and the note of a checkpoint over it: the newest that all witnesses have signed, or after
    the time for waiting the newest at all. Nothing is waited for where it cannot come."""
    if connections[alias].in_atomic_block:
        return None
    deadline = time.monotonic() + RECEIPT_SECONDS
    while True:
        leaf, note, witnessed = _proven(event, alias)
        with connections[alias].cursor() as cursor:
            cursor.execute(SIGNING, [LOCK])
            hopeless = leaf < 0 and not cursor.fetchone()[0]
        if (note and witnessed) or hopeless or time.monotonic() > deadline:
            return (leaf, note) if note else None
        time.sleep(0.05)


def _proven(event: AuditEvent, alias: str) -> tuple[int, str, bool]:
    """The leaf of an event (-1 while it has none), the note of the newest checkpoint over it that all witnesses have
    signed, else of the newest, else empty, and whether they have."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT l.leaf_index FROM audit_leaf AS l WHERE l.event_id = %s", [event.pk])
        row = cursor.fetchone()
        if row is None:
            return -1, "", False
        cursor.execute(NOTE, _note_after(row[0]))
        notes = cursor.fetchall()
    witnessed = [note for _, note, count in notes if count >= len(witness_keys())]
    found = witnessed or [note for _, note, _ in notes]
    return row[0], found[0] if found else "", bool(witnessed)


def _note_after(leaf: int) -> list[Any]:
    """Parameters of NOTE: signatures of witnesses that are configured, whose keys a bundle states."""
    names = list(witness_keys())
    return [names, names, leaf]


def tlog_proof(event: AuditEvent, alias: str = "default") -> str:
    """The proof that the event is in the signed tree, as a file of c2sp.org/tlog-proof@v1 whose extra data is the
    record; empty while nothing is signed over it."""
    leaf, note, _ = _proven(event, alias)
    if not note:
        return ""
    hashes = inclusion_proof(leaf, parse_checkpoint(note).size, StoredTree(alias).range_hash)
    lines = [base64.b64encode(one).decode() for one in hashes]
    extra = base64.b64encode(bytes(event.canon)).decode()
    return "\n".join(["c2sp.org/tlog-proof@v1", f"extra {extra}", f"index {leaf}", *lines, "", note])


def _log_key(cursor: Any) -> str:
    """The key that the database says signs; for reading on, not for trust."""
    cursor.execute("SELECT k.vkey FROM audit_log_key AS k ORDER BY k.first_used_at DESC LIMIT 1")
    row = cursor.fetchone()
    return row[0] if row else ""


def _readme(of: Scope, events: int, size: int) -> str:
    return README.format(words=of.words(), events=events, origin=log_origin(), size=size)


def _line(value: Any) -> bytes:
    return canonical_bytes(value) + b"\n"
