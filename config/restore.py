"""Putting a backup into an empty, migrated instance. A log that would lose signed leaves is refused."""

import gzip
import hashlib
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

from audit.actions import Target, log_origin, record, service_actor
from audit.canonical import instant
from audit.clock import database_now
from audit.grants import APPEND_ONLY
from audit.integrity import Report, verify_log
from audit.merkle import Frontier
from audit.sequencer import LOCK, SignedMemory
from audit.verify import Checkpoint, open_note, parse_checkpoint
from config.backup import CHECKPOINT, CHUNK, FORMAT, LEFT_OUT, MANIFEST, MIGRATIONS, TABLES, Say
from monitoring import store as predictions
from registry import store as artifacts

OCCUPIED = "SELECT (SELECT count(*) FROM audit_event), (SELECT count(*) FROM accounts_user)"
LEAVES = "SELECT l.leaf_index, l.leaf_hash FROM audit_leaf AS l ORDER BY l.leaf_index"


class RestoreRefused(Exception):
    """The backup is not restored, and nothing was changed. The message says why and what to do."""


class WouldShorten(RestoreRefused):
    """More leaves were signed than the backup holds: what happened in between would be gone from the record."""


@dataclass
class Restored:
    """What was put back. `report` is the verification of the whole log as it now stands."""

    tables: int
    rows: int
    files: int
    missing: list[str]
    size: int
    root: str
    shortened_from: int | None = None
    kept_memory: Path | None = None
    report: Report = field(default_factory=Report)


def restore_backup(
    path: Path, *, checkpoints: list[str] | None = None, shorten: tuple[int, int] | None = None, say: Say = print
) -> Restored:
    """Put everything back, record it, and verify the log.

    `checkpoints` are notes that were signed earlier and kept elsewhere; what the sequencer remembers beside its key is
    always one. `shorten` names the two sizes (signed, in the backup) where leaves shall be lost all the same.
    Raises WouldShorten where one of them is longer and that is not named, RestoreRefused for every other refusal.
    """
    with _opened(path) as tar:
        manifest = _manifest(tar)
        note = _read(tar, CHECKPOINT).decode()
        known = _known(manifest, note, checkpoints or [])
        longest = max((checkpoint.size for checkpoint, _ in known), default=0)
        shortened = _may_shorten(longest, manifest["log"]["size"], shorten)
        memory = _memory()
        done = Restored(
            tables=len(manifest["tables"]),
            rows=sum(table["rows"] for table in manifest["tables"].values()),
            files=len(manifest["artifacts"]) + len(manifest["predictions"]),
            missing=manifest["missing"],
            size=manifest["log"]["size"],
            root=manifest["log"]["root"],
            shortened_from=longest if shortened else None,
        )
        with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SET LOCAL lastgood.restoring = 'on'")  # events keep the moments that they state
            _check_target(cursor, manifest)
            say("restoring the database")
            _fill(cursor, tar, manifest)
            _check_log(cursor, manifest, note, known)
            say(f"restoring {done.files} files")
            _files(tar, manifest)
    if shortened and memory is not None:
        done.kept_memory = _set_back(memory, longest, note)
    _tell(path, manifest, done)
    say("verifying the log")
    done.report = verify_log(sequencing=False)  # the backup's last events wait since it was made
    return done


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")
    except (OSError, tarfile.TarError) as error:
        raise RestoreRefused(f"{path} cannot be read as a backup: {error}.") from error


def _manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(_read(tar, MANIFEST))
    except ValueError as error:
        raise RestoreRefused(f"The backup's {MANIFEST} is damaged: {error}.") from error
    if manifest.get("format") != FORMAT:
        raise RestoreRefused(f"This is no backup of the format {FORMAT}. Restore it with the release that made it.")
    for table, facts in manifest["tables"].items():
        digest = hashlib.sha256()
        for piece in _unpacked(tar, table):
            digest.update(piece)
        if digest.hexdigest() != facts["sha256"]:
            raise RestoreRefused(f"The backup's table {table} is damaged: its SHA-256 is not the manifest's.")
    return manifest


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except (KeyError, tarfile.TarError) as error:
        raise RestoreRefused(f"The backup is cut off or is none: {name} is missing.") from error
    return file.read() if file else b""


def _unpacked(tar: tarfile.TarFile, table: str) -> Iterator[bytes]:
    """The COPY text of a table, piece by piece."""
    try:
        file = tar.extractfile(f"tables/{table}.copy.gz")
        with gzip.GzipFile(fileobj=file, mode="rb") as text:
            while piece := text.read(CHUNK):
                yield piece
    except (KeyError, OSError, EOFError, tarfile.TarError) as error:
        raise RestoreRefused(f"The backup's table {table} is missing or damaged: {error}.") from error


# --- the log: nothing that was signed is lost unseen -----------------------------------------------------------------


def _known(manifest: dict[str, Any], note: str, given: list[str]) -> list[tuple[Checkpoint, str]]:
    """What is known to have been signed, each opened by a key of this log, with words for where it comes from."""
    keys = manifest["log"]["keys"]
    if note:
        _open(note, keys, "the backup's own checkpoint")
    memory = _memory()
    remembered = memory.read() if memory else ""
    found = [(_open(one, keys, "a checkpoint that was given"), "a checkpoint that was given") for one in given]
    if memory and remembered:
        words = f"the checkpoint remembered in {memory.path}"
        found.append((_open(remembered, keys, words), words))
    return found


def _open(note: str, keys: list[str], what: str) -> Checkpoint:
    for key in keys:
        try:
            return parse_checkpoint(open_note(note, key))
        except ValueError:
            continue
    raise RestoreRefused(f"No key of the backup's log signed {what}. It belongs to another log, or was changed.")


def _may_shorten(longest: int, size: int, shorten: tuple[int, int] | None) -> bool:
    """Whether leaves are lost, as was named. Raises WouldShorten where they are and it was not."""
    if longest <= size:
        if shorten is not None:
            raise RestoreRefused(f"Nothing would be lost: {longest} leaves were signed, {size} are in the backup.")
        return False
    if shorten != (longest, size):
        raise WouldShorten(
            f"{longest} leaves were signed; the backup holds {size}. Restoring it would take {longest - size} events "
            f"out of the record. Look for a newer backup. If it must be: --shorten-log {longest}-to-{size}."
        )
    return True


def _memory() -> SignedMemory | None:
    """What the sequencer remembers beside the log's key, where this machine has it."""
    path = Path(settings.LASTGOOD_LOG_KEY_FILE) if settings.LASTGOOD_LOG_KEY_FILE else None
    return SignedMemory(path.with_name(f"{path.name}.last")) if path else None


def _set_back(memory: SignedMemory, longest: int, note: str) -> Path:
    """Let the sequencer go on from the backup's checkpoint; what it remembered is kept beside it."""
    kept = memory.path.with_name(f"{memory.path.name}.{longest}")
    if memory.path.exists():
        memory.path.rename(kept)
    if note:
        memory.write(note)
    return kept


def _check_log(cursor: Any, manifest: dict[str, Any], note: str, known: list[tuple[Checkpoint, str]]) -> None:
    """Every known checkpoint that the restored tree reaches must be one of its own."""
    marks: dict[int, list[tuple[bytes, str]]] = {}
    own = [(parse_checkpoint(note), "the backup's own checkpoint")] if note else []
    for checkpoint, words in [*known, *own]:
        marks.setdefault(checkpoint.size, []).append((checkpoint.root, words))
    frontier = Frontier()
    cursor.execute(LEAVES)
    for index, leaf in cursor.fetchall():
        if index != frontier.size:
            raise RestoreRefused(f"The backup's log is not whole: leaf {frontier.size} is missing.")
        frontier.append(bytes(leaf))
        for root, words in marks.get(frontier.size, []):
            if root != frontier.root():
                raise RestoreRefused(f"The backup's log does not pass through {words} ({frontier.size} leaves).")
    if frontier.size != manifest["log"]["size"]:
        raise RestoreRefused(f"The backup's log has {frontier.size} leaves, its checkpoint {manifest['log']['size']}.")


def _tell(path: Path, manifest: dict[str, Any], done: Restored) -> None:
    """On record: what was restored, and what was lost by it."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    data: dict[str, Any] = {
        "sha256": sha256,
        "size": done.size,
        "root": done.root,
        "made_at": manifest["made_at"],
        "restored_at": instant(database_now()),
        "transactions_rebased": True,
    }
    if done.shortened_from is not None:
        data |= {"shortened_from": done.shortened_from, "shortened_to": done.size}
    record(action="log.restore", target=Target("audit_log", log_origin()), actor=service_actor("manage"), data=data)


# --- rows and files --------------------------------------------------------------------------------------------------


def _check_target(cursor: Any, manifest: dict[str, Any]) -> None:
    cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
    if not cursor.fetchone()[0]:
        raise RestoreRefused("A sequencer is running. Stop Lastgood; with its own database start: up --database-only.")
    cursor.execute(OCCUPIED)
    events, people = cursor.fetchone()
    if events or people:
        raise RestoreRefused(f"This instance holds {events} events and {people} people. Restore into an empty one.")
    cursor.execute(MIGRATIONS)
    here = [list(row) for row in cursor.fetchall()]
    if here != manifest["migrations"]:
        one = next(iter({tuple(row) for row in here} ^ {tuple(row) for row in manifest["migrations"]}))
        raise RestoreRefused(
            f"The backup was made by another release: {'.'.join(one)} is not in both. Restore it with that release, "
            "then bring the database up to date."
        )


def _fill(cursor: Any, tar: tarfile.TarFile, manifest: dict[str, Any]) -> None:
    """Replace what the migrations have put there by the backup's rows, and set the sequences."""
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    cursor.execute(TABLES)
    here = [row[0] for row in cursor.fetchall() if row[0] not in LEFT_OUT]
    if set(here) != set(manifest["tables"]):
        raise RestoreRefused(f"The tables differ: {', '.join(sorted(set(here) ^ set(manifest['tables'])))}.")
    for table in here:
        if table not in APPEND_ONLY:
            cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
    for table, facts in manifest["tables"].items():
        _copy(cursor, tar, table, facts)
    for sequence, last in manifest["sequences"].items():
        cursor.execute("SELECT setval(%s::regclass, %s)", [f'public."{sequence}"', last])


def _copy(cursor: Any, tar: tarfile.TarFile, table: str, facts: dict[str, Any]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, facts["columns"]))
    target = sql.Identifier(table)
    if table in APPEND_ONLY:
        # A sequencer that has started before any event has put its public key there; rows of these are never deleted.
        target = sql.Identifier("restoring")
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE restoring ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                columns, sql.Identifier(table)
            )
        )
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(target, columns)) as copy:
        for piece in _unpacked(tar, table):
            copy.write(piece)
    if cursor.rowcount != facts["rows"]:
        raise RestoreRefused(f"The backup's table {table} has {cursor.rowcount} rows, its manifest {facts['rows']}.")
    if table in APPEND_ONLY:
        insert = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM restoring ON CONFLICT DO NOTHING")
        cursor.execute(insert.format(sql.Identifier(table), columns, columns))
        cursor.execute("DROP TABLE restoring")


def _files(tar: tarfile.TarFile, manifest: dict[str, Any]) -> None:
    """Write artifacts and predictions, each only if it is what the manifest says."""
    for sha256 in manifest["artifacts"]:
        content = tar.extractfile(f"artifacts/{sha256}")
        if content is None:
            raise RestoreRefused(f"The backup's artifact {sha256[:12]} is missing.")
        try:
            artifacts.put_stream(iter(partial(content.read, CHUNK), b""), sha256)
        except (artifacts.DigestMismatch, artifacts.TooLarge) as error:
            raise RestoreRefused(f"The backup's artifact {sha256[:12]} can't be stored: {error}") from error
    for relative, sha256 in manifest["predictions"].items():
        content_bytes = _read(tar, f"predictions/{relative}")
        if hashlib.sha256(content_bytes).hexdigest() != sha256:
            raise RestoreRefused(f"The backup's file of predictions {relative} is damaged.")
        predictions.put_back(relative, content_bytes)
