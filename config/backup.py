"""A backup in one file: every table of one moment, artifacts, predictions, and the log's public side. No secret key.

A tar with `tables/<name>.copy.gz` (PostgreSQL's COPY text format), `artifacts/`, `predictions/`, `checkpoint` and
`manifest.json`. Tables are read by COPY in one REPEATABLE READ transaction: pg_dump does not come with the embedded
PostgreSQL. The schema is not in it: whoever restores migrates first, to the same migrations.

Transaction ids mean nothing in another cluster. The log's commit order up to the last checkpoint is the order of its
leaves, so events that have one leave with transaction id 0, those that wait for one with 1, and the last checkpoint
points at (0, its last event): below everything that a cluster will ever hand out.
"""

import datetime
import gzip
import hashlib
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from django.db import connections, transaction
from psycopg import sql

from audit.actions import Target, log_origin, record, service_actor
from audit.sequencer import wait_for_leaf
from audit.verify import parse_checkpoint
from monitoring import store as predictions
from registry import store as artifacts

FORMAT = "lastgood-backup/1"
MANIFEST, CHECKPOINT = "manifest.json", "checkpoint"
# Sessions end with a restore; migrations are the schema's; the sequencer says anew how it is.
LEFT_OUT = ("django_migrations", "django_session", "usersessions_usersession", "audit_sequencer")
CHUNK = 1 << 20

TABLES = """
    SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""
COLUMNS = """
    SELECT a.attname FROM pg_attribute AS a
    WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
SEQUENCES = "SELECT s.sequencename, s.last_value FROM pg_sequences AS s WHERE s.schemaname = 'public' ORDER BY 1"
MIGRATIONS = "SELECT m.app, m.name FROM django_migrations AS m ORDER BY 1, 2"
ARTIFACTS = "SELECT a.sha256 FROM registry_artifact AS a ORDER BY 1"
PREDICTIONS = "SELECT b.path, b.sha256 FROM monitoring_predictionbatch AS b ORDER BY 1"
LOG = """
    SELECT c.note, (SELECT coalesce(max(l.event_id), 0) FROM audit_leaf AS l),
           (SELECT count(*) FROM audit_event AS e LEFT JOIN audit_leaf AS l ON l.event_id = e.id
            WHERE l.event_id IS NULL)
    FROM (SELECT 1) AS one LEFT JOIN audit_checkpoint AS c
        ON c.size = (SELECT max(d.size) FROM audit_checkpoint AS d)
"""
KEYS = "SELECT k.vkey FROM audit_log_key AS k ORDER BY k.first_used_at"
# What the two columns that hold transaction ids are read as; {last} is the last event that has a leaf.
REBASED = {
    ("audit_event", "xid"): "CASE WHEN EXISTS (SELECT FROM audit_leaf AS l WHERE l.event_id = t.id) "
    "THEN '0'::xid8 ELSE '1'::xid8 END",
    ("audit_checkpoint", "last_xid"): "'0'::xid8",
    ("audit_checkpoint", "last_id"): "{last}::bigint",
}

Say = Callable[[str], None]


@dataclass(frozen=True)
class BackupInfo:
    """What was written. `size` and `root` (hex) are the tree's; `waiting` events were in no checkpoint yet."""

    path: Path
    sha256: str
    tables: int
    rows: int
    files: int
    missing: list[str]
    size: int
    root: str
    waiting: int


def write_backup(path: Path, *, wait_seconds: float = 10, say: Say = lambda line: None) -> BackupInfo:
    """Write everything to a new file with mode 0600, whole or not at all.

    That it is made is recorded first, and waited for until it is signed: so the backup holds its own record, and
    nothing is missing from it where nothing else happens. A failure is recorded after it. Raises FileExistsError for a
    file that is there.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists. Give a new name: a backup is not written over.")
    about: dict[str, Any] = {
        "action": "log.backup",
        "target": Target("audit_log", log_origin()),
        "actor": service_actor("manage"),
    }
    wait_for_leaf(record(**about, outcome="intent").pk, wait_seconds)
    try:
        return _written(path, say)
    except Exception as error:
        record(**about, outcome="failed", reason=f"{type(error).__name__}: {error}"[:500])
        raise


def _written(path: Path, say: Say) -> BackupInfo:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with _private(draft) as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            manifest = _write(tar, path.parent, say)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    log = manifest["log"]
    return BackupInfo(
        path=path,
        sha256=sha256,
        tables=len(manifest["tables"]),
        rows=sum(table["rows"] for table in manifest["tables"].values()),
        files=len(manifest["artifacts"]) + len(manifest["predictions"]),
        missing=manifest["missing"],
        size=log["size"],
        root=log["root"],
        waiting=log["waiting"],
    )


@contextmanager
def _private(path: Path) -> Iterator[IO[bytes]]:
    """A new file that only its owner reads, on the disk when the block ends."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write(tar: tarfile.TarFile, spool: Path, say: Say) -> dict[str, Any]:
    """Tables in one transaction; then files, which never change once they are written."""
    say("reading the database")
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        manifest = _described(cursor)
        note, last = manifest["log"].pop("note"), manifest["log"].pop("last_event")
        for table in manifest.pop("names"):
            manifest["tables"][table] = _table(tar, cursor, table, last, spool)
        cursor.execute(ARTIFACTS)
        kept = [row[0] for row in cursor.fetchall()]
        cursor.execute(PREDICTIONS)
        batches = cursor.fetchall()
    say(f"copying {len(kept)} artifacts and {len(batches)} files of predictions")
    for sha256 in kept:
        _file(tar, manifest, "artifacts", sha256, _stored(sha256), sha256)
    for relative, sha256 in batches:
        _file(tar, manifest, "predictions", relative, predictions.root() / relative, sha256)
    _put(tar, CHECKPOINT, note.encode())
    _put(tar, MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode())
    return manifest


def _stored(sha256: str) -> Path:
    """An artifact on this machine, brought from the bucket where they are kept in one; else where it would be."""
    try:
        return artifacts.local(sha256)
    except (artifacts.ArtifactMissing, artifacts.ArtifactUnavailable, artifacts.ArtifactDamaged):
        return artifacts.path(sha256)


def _described(cursor: Any) -> dict[str, Any]:
    """The manifest without its tables and files; `names` and the log's `note` and `last_event` are taken out later."""
    cursor.execute(TABLES)
    names = [row[0] for row in cursor.fetchall() if row[0] not in LEFT_OUT]
    cursor.execute(MIGRATIONS)
    migrations = [list(row) for row in cursor.fetchall()]
    cursor.execute(SEQUENCES)
    sequences = {name: last for name, last in cursor.fetchall() if last is not None}
    cursor.execute(LOG)
    note, last, waiting = cursor.fetchone()
    cursor.execute(KEYS)
    keys = [row[0] for row in cursor.fetchall()]
    checkpoint = parse_checkpoint(note) if note else None
    return {
        "format": FORMAT,
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "origin": log_origin(),
        "migrations": migrations,
        "sequences": sequences,
        "names": names,
        "tables": {},
        "artifacts": {},
        "predictions": {},
        "missing": [],
        "log": {
            "note": note or "",
            "last_event": last,
            "size": checkpoint.size if checkpoint else 0,
            "root": checkpoint.root.hex() if checkpoint else hashlib.sha256(b"").hexdigest(),
            "keys": keys,
            "waiting": waiting,
        },
    }


def _table(tar: tarfile.TarFile, cursor: Any, table: str, last: int, spool: Path) -> dict[str, Any]:
    """Copy one table into the tar; its columns, number of rows, and the SHA-256 of the text before compression."""
    cursor.execute(COLUMNS, [table])
    columns = [row[0] for row in cursor.fetchall()]
    wanted = [
        sql.SQL(REBASED[table, column].format(last=last)) if (table, column) in REBASED else sql.Identifier("t", column)
        for column in columns
    ]
    select = sql.SQL("COPY (SELECT {} FROM {} AS t) TO STDOUT").format(
        sql.SQL(", ").join(wanted), sql.Identifier(table)
    )
    digest = hashlib.sha256()
    with tempfile.TemporaryFile(dir=spool) as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3, mtime=0) as packed, cursor.copy(select) as copy:
            for piece in copy:
                digest.update(piece)
                packed.write(piece)
        rows = cursor.rowcount
        size = file.tell()
        file.seek(0)
        tar.addfile(_member(f"tables/{table}.copy.gz", size), file)
    return {"columns": columns, "rows": rows, "sha256": digest.hexdigest()}


def _file(tar: tarfile.TarFile, manifest: dict[str, Any], kind: str, name: str, source: Path, sha256: str) -> None:
    """Copy one file; one that is not there, or is no longer what it was, is named instead of being passed on."""
    try:
        with source.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise OSError("damaged")
            file.seek(0)
            tar.addfile(_member(f"{kind}/{name}", source.stat().st_size), file)
    except OSError:
        manifest["missing"].append(f"{kind}/{name}")
        return
    manifest[kind][name] = sha256


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        tar.addfile(_member(name, len(content)), file)


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info
