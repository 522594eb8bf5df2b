"""Export bundles: the log, a part of it, its proofs and the program that checks them, in one zip."""

import base64
import datetime
import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.db import connections, transaction

from audit import verify
from audit.actions import log_origin
from audit.canonical import canonical_bytes, instant
from audit.merkle import inclusion_proof, range_hash_of
from audit.private import open_row
from audit.verify import FORMAT, parse_checkpoint

ZIP_TIME = (1980, 1, 1, 0, 0, 0)
MOST_MARKS = 1000

EVENTS = """
    SELECT l.leaf_index, l.leaf_hash, e.canon, e.id, p.subject, p.sealed, k.wrapped
    FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id LEFT JOIN audit_private AS p ON p.event_id = e.id
    LEFT JOIN audit_subject_key AS k ON k.subject = p.subject
    WHERE l.leaf_index < %s AND {where} ORDER BY l.leaf_index
"""
SPAN = """
    SELECT min(l.leaf_index), max(l.leaf_index) FROM audit_leaf AS l JOIN audit_event AS e ON e.id = l.event_id
    WHERE l.leaf_index < %s AND e.occurred_at >= %s AND e.occurred_at < %s
"""
MARKS = """
    SELECT m.note FROM (SELECT c.note, c.size, row_number() OVER (ORDER BY c.size) AS n, count(*) OVER () AS total
                        FROM audit_checkpoint AS c WHERE c.size < %s) AS m
    WHERE m.n %% greatest(1, m.total / %s) = 0 ORDER BY m.size
"""

README = """Audit log of Lastgood: {scope}

{events} events of the log {origin}, whose tree had {size} leaves when its checkpoint was signed.

To check it, with Python 3.9 or later and the package "cryptography":

    python3 verify.py THIS.zip --key 'THE KEY OF THE LOG'

Get the key from the people who run the log, by another way than this file. The exit status is 0 when the record is
whole, 1 when it was tampered with, 2 when it is incomplete, 3 when no key was given. Somebody who distrusts this copy
of verify.py can take it from Lastgood's source code (audit/verify.py), or write another:

events.jsonl       one event a line: its leaf's index, its leaf's hash, and the record, byte for byte as it was hashed
                   (RFC 8785 canonical JSON). Leaf hash: SHA-256(0x00 || record). Tree: RFC 6962.
checkpoint         the signed size and root of the tree (C2SP signed note, Ed25519)
checkpoints.jsonl  earlier checkpoints, where the whole log was exported
proofs.jsonl       the inclusion proof of each leaf (hex, lowest sibling first), where a part was exported
reasons.jsonl      the free texts that people gave, each with the key of the commitment in its record
                   (reason_commit = HMAC-SHA256(key, text)). An erased one is missing here, and nothing else changes.
manifest.json      what was exported
"""


class NothingToExport(Exception):
    """No event in the tree matches; the message says what to do."""


@dataclass(frozen=True)
class BundleInfo:
    """What a bundle holds: number of events, tree size, root (hex), and the zip's own SHA-256 (hex)."""

    path: Path
    events: int
    size: int
    root: str
    sha256: str


def write_bundle(
    path: Path,
    *,
    incident: str = "",
    since: datetime.datetime | None = None,
    until: datetime.datetime | None = None,
    alias: str = "default",
) -> BundleInfo:
    """Write the whole log, one incident, or the leaves of a span of time, as of the last checkpoint.

    The same log at the same checkpoint gives the same bytes. Raises NothingToExport when no event matches.
    """
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT c.note FROM audit_checkpoint AS c ORDER BY c.size DESC LIMIT 1")
        row = cursor.fetchone()
        if row is None:
            raise NothingToExport("The log has no checkpoint yet. Start the sequencer, then export again.")
        checkpoint = parse_checkpoint(row[0])
        scope, where, parameters = _scope(cursor, checkpoint.size, incident, since, until)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
            writer = _Writer(bundle, alias)
            _put(bundle, "verify.py", Path(verify.__file__).read_bytes())
            _put(bundle, "checkpoint", row[0].encode())
            indices = writer.events(EVENTS.format(where=where), [checkpoint.size, *parameters])
            if not indices:
                raise NothingToExport("No event in the signed tree matches. Choose another incident or span.")
            if scope["kind"] == "whole":
                cursor.execute(MARKS, [checkpoint.size, MOST_MARKS])
                _put(bundle, "checkpoints.jsonl", b"".join(_line({"note": note}) for (note,) in cursor.fetchall()))
            else:
                _put(bundle, "proofs.jsonl", b"".join(_proofs(cursor, indices, checkpoint.size)))
            manifest = {
                "format": FORMAT,
                "scope": scope,
                "origin": log_origin(),
                "size": checkpoint.size,
                "root": base64.b64encode(checkpoint.root).decode(),
                "events": len(indices),
                "log_key": _log_key(cursor),
            }
            _put(bundle, "manifest.json", _line(manifest))
            _put(bundle, "README.txt", _readme(manifest).encode())
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return BundleInfo(path, len(indices), checkpoint.size, checkpoint.root.hex(), sha256)


def _scope(
    cursor: Any, size: int, incident: str, since: datetime.datetime | None, until: datetime.datetime | None
) -> tuple[dict[str, str], str, list[Any]]:
    """The scope's description, and a condition on ``e`` and ``l`` with its parameters."""
    if incident:
        return {"kind": "incident", "incident": incident}, "e.incident = %s", [incident]
    if since is None and until is None:
        return {"kind": "whole"}, "true", []
    low = since or datetime.datetime.min.replace(tzinfo=datetime.UTC)
    high = until or datetime.datetime.max.replace(tzinfo=datetime.UTC)
    cursor.execute(SPAN, [size, low, high])
    first, last = cursor.fetchone()
    if first is None:
        raise NothingToExport("No event in the signed tree lies in that span. Choose a longer one.")
    described = {"kind": "span", "since": instant(since) if since else "", "until": instant(until) if until else ""}
    return described, "l.leaf_index BETWEEN %s AND %s", [first, last]


class _Writer:
    """Streams events into the zip; the reasons, which are few, are kept until the events are written."""

    def __init__(self, bundle: zipfile.ZipFile, alias: str) -> None:
        self.bundle, self.alias = bundle, alias

    def events(self, sql: str, parameters: list[Any]) -> list[int]:
        """Write ``events.jsonl`` and ``reasons.jsonl``; returns the leaf indices."""
        indices, reasons = [], []
        with _member(self.bundle, "events.jsonl") as file:
            for index, leaf, canon, event_id, subject, sealed, wrapped in self._rows(sql, parameters):
                indices.append(index)
                head = f'{{"leaf_index":{index},"leaf_hash":"{bytes(leaf).hex()}","record":'
                file.write(head.encode() + bytes(canon) + b"}\n")
                opened = open_row(event_id, subject, wrapped, sealed) if sealed else None
                if opened:
                    reasons.append(_line({"leaf_index": index, "key": opened[0].hex(), "text": opened[1]}))
        _put(self.bundle, "reasons.jsonl", b"".join(reasons))
        return indices

    def _rows(self, sql: str, parameters: list[Any]) -> Iterator[tuple[Any, ...]]:
        with connections[self.alias].chunked_cursor() as cursor:
            cursor.execute(sql, parameters)
            while rows := cursor.fetchmany(2000):
                yield from rows


def _proofs(cursor: Any, indices: list[int], size: int) -> Iterator[bytes]:
    cursor.execute("SELECT l.leaf_hash FROM audit_leaf AS l WHERE l.leaf_index < %s ORDER BY l.leaf_index", [size])
    leaves = [bytes(row[0]) for row in cursor.fetchall()]
    of = range_hash_of(leaves)
    known: dict[tuple[int, int], bytes] = {}

    def remembered(low: int, high: int) -> bytes:
        if (low, high) not in known:
            known[low, high] = of(low, high)
        return known[low, high]

    for index in indices:
        hashes = [one.hex() for one in inclusion_proof(index, size, remembered)]
        yield _line({"leaf_index": index, "hashes": hashes})


def _log_key(cursor: Any) -> str:
    """The key that the database says signs; for reading on, not for trust."""
    cursor.execute("SELECT k.vkey FROM audit_log_key AS k ORDER BY k.first_used_at DESC LIMIT 1")
    row = cursor.fetchone()
    return row[0] if row else ""


def _readme(manifest: dict[str, Any]) -> str:
    scope = manifest["scope"]
    words = {
        "whole": "the whole log",
        "incident": f"incident {scope.get('incident')}",
        "span": f"from {scope.get('since') or 'the beginning'} to {scope.get('until') or 'the last checkpoint'}",
    }
    return README.format(scope=words[scope["kind"]], **{key: manifest[key] for key in ("events", "origin", "size")})


def _line(value: Any) -> bytes:
    return canonical_bytes(value) + b"\n"


def _member(bundle: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = zipfile.ZipInfo(name, ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    return bundle.open(info, "w", force_zip64=True)


def _put(bundle: zipfile.ZipFile, name: str, data: bytes) -> None:
    with _member(bundle, name) as file:
        file.write(data)
