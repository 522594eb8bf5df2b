"""Backup and restore: everything comes back, the log goes on, and no signed leaf is lost unseen."""

import gzip
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.models import User
from audit import integrity
from audit.integrity import verify_log
from audit.models import AuditCheckpoint, AuditEvent, AuditLeaf
from audit.note import checkpoint_text, read_key_file
from audit.queries import reason_of, record_of
from audit.sequencer import Sequencer
from config.restore import RestoreRefused, WouldShorten, restore_backup
from monitoring.models import PredictionBatch
from monitoring.windows import load_predictions
from registry import store
from registry.models import Artifact, Endpoint
from tests.accounts.people import person
from tests.audit.log import ORIGIN, check, event, exported, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase
from tests.monitoring import world
from tests.services import pointed_at

WORDS = "Jane asked for it"


@dataclass
class Installation:
    """One with people, an artifact, predictions and a signed log, and a backup of it; `newer` is a checkpoint that was
    signed after the backup."""

    backup: Path
    directory: Path
    names: list[str]
    size: int
    old_note: str
    newer: str
    services: Any

    @property
    def memory(self) -> Path:
        return self.directory / "log.key.last"

    def sequencer(self) -> Sequencer:
        return sequencer_in(self.directory)


def quiet(line: str) -> None:
    return None


@pytest.fixture
def installation(committed_db: CommittedDatabase, tmp_path: Path, settings: Any) -> Installation:
    settings.LASTGOOD_VAR = tmp_path / "var"
    settings.LASTGOOD_LOG_KEY_FILE = str(tmp_path / "log.key")
    person("ada", "administrator")
    endpoint = world.make_endpoint()
    (host,) = world.make_hosts("h1")
    world.log(endpoint, host, world.answers(world.part(2016, 0, 20)))
    sha256 = store.put_bytes(b"weights")
    Artifact.objects.create(sha256=sha256, size=7, media_type="application/octet-stream")
    event("incident.declare", incident="INC-1", reason=WORDS)
    sequencer = sequencer_in(tmp_path)
    size = sequence_all(sequencer)
    old_note = AuditCheckpoint.objects.latest("size").note
    event("incident.update", incident="INC-1")
    backup = tmp_path / "backup.tar"
    said = io.StringIO()
    call_command("backup", str(backup), wait=0, stdout=said)
    assert f"log of {size} leaves" in said.getvalue()
    assert holds_no_secret(backup)
    assert backup.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="is not written over"):
        call_command("backup", str(backup), wait=0, stdout=said)
    # The update and the backup's own event were not signed when it was made; what comes now is not in it.
    event("incident.close", incident="INC-1")
    newer_size = sequence_all(sequencer)
    assert newer_size == size + 3
    newer = AuditCheckpoint.objects.latest("size").note
    sequencer.connection.close()
    return Installation(backup, tmp_path, [], size, old_note, newer, committed_db.services)


@pytest.fixture
def empty(installation: Installation, settings: Any) -> Iterator[Installation]:
    """Another instance: an empty, migrated database, and no file. What the sequencer remembered stayed behind."""
    name = f"lastgood_r{uuid.uuid4().hex[:12]}"
    installation.services.clone(name)
    settings.LASTGOOD_VAR = installation.directory / "other"
    kept = installation.memory.read_text()
    installation.memory.unlink()
    assert kept == installation.newer
    with pointed_at(name):
        yield installation
    installation.services.drop(name)


def test_events_that_were_not_signed_when_the_backup_was_made_may_be_of_long_ago(
    empty: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "STALE_SECONDS", -1)
    said = io.StringIO()

    call_command("restore", str(empty.backup), stdout=said)

    assert "The log is whole." in said.getvalue()
    assert ["has waited" in problem for problem in verify_log().problems] == [True, True, True]


def test_everything_comes_back_and_the_log_goes_on(empty: Installation) -> None:
    said, old = io.StringIO(), empty.directory / "old.note"
    old.write_text(empty.old_note)
    call_command("restore", str(empty.backup), "--since", str(old), stdout=said)
    assert "The log is whole." in said.getvalue()
    assert User.objects.get().username == "ada"
    endpoint = Endpoint.objects.get()
    batch = PredictionBatch.objects.get()
    table = load_predictions(endpoint, batch.first_at, batch.last_at + timedelta(seconds=1))
    assert table.num_rows == 20
    assert [store.path(one).read_bytes() for one in Artifact.objects.values_list("sha256", flat=True)] == [b"weights"]
    declared = AuditEvent.objects.select_related("private__subject").get(action="incident.declare")
    assert reason_of(declared) == WORDS
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT xid::text FROM audit_event WHERE action <> 'log.restore' ORDER BY 1")
        assert [row[0] for row in cursor.fetchall()] == ["0", "1"]
    # The events that waited and the restore's own are signed, after what was signed before.
    person("bob", "viewer")
    sequencer = empty.sequencer()
    made = sequence_all(sequencer)
    assert made == AuditEvent.objects.count()
    told = record_of(AuditEvent.objects.get(action="log.restore"))
    assert (told["data"]["size"], told["data"]["transactions_rebased"]) == (empty.size, True)
    assert "shortened_from" not in told["data"]
    order = list(AuditLeaf.objects.order_by("leaf_index").values_list("event__action", flat=True))[empty.size :]
    assert order[:3] == ["incident.update", "log.backup", "log.restore"]
    report = verify_log(sequencer.signer.vkey)
    assert report.problems == []
    bundle = empty.directory / "whole.zip"
    exported(sequencer, bundle)
    status, words = check(bundle, "--key", sequencer.signer.vkey, "--since", str(old))
    assert status == 0, words
    sequencer.connection.close()


def test_signed_leaves_are_lost_only_by_name_and_on_record(empty: Installation) -> None:
    empty.memory.write_text(empty.newer)
    said = io.StringIO()
    signed, held = empty.size + 3, empty.size
    call_command("restore", str(empty.backup), "--shorten-log", f"{signed}-to-{held}", stdout=said)
    told = record_of(AuditEvent.objects.get(action="log.restore"))
    assert (told["data"]["shortened_from"], told["data"]["shortened_to"]) == (signed, held)
    assert (empty.directory / f"log.key.last.{signed}").read_text() == empty.newer
    sequencer = empty.sequencer()
    assert sequence_all(sequencer) == held + 3
    bundle = empty.directory / "whole.zip"
    exported(sequencer, bundle)
    newer = empty.directory / "newer.note"
    newer.write_text(empty.newer)
    status, words = check(bundle, "--key", sequencer.signer.vkey, "--since", str(newer))
    assert status == 1, words
    sequencer.connection.close()


def changed(backup: Path, name: str, content: bytes | None) -> Path:
    """A copy of the backup with one member replaced, or left out."""
    copy = backup.with_name("changed.tar")
    with tarfile.open(backup) as old, tarfile.open(copy, "w") as new:
        for member in old.getmembers():
            data = old.extractfile(member)
            body = data.read() if data else b""
            if member.name == name and content is None:
                continue
            if member.name == name and content is not None:
                body, member.size = content, len(content)
            new.addfile(member, io.BytesIO(body))
    return copy


def test_what_must_not_be_restored_is_refused_and_changes_nothing(empty: Installation) -> None:
    # Lost leaves: known from a checkpoint kept elsewhere, from the sequencer's memory, and named wrongly.
    with pytest.raises(WouldShorten):
        restore_backup(empty.backup, checkpoints=[empty.newer], say=quiet)
    empty.memory.write_text(empty.newer)
    with pytest.raises(CommandError, match=f"--shorten-log {empty.size + 3}-to-{empty.size}"):
        call_command("restore", str(empty.backup), stdout=io.StringIO())
    for wrong in ((empty.size + 3, empty.size - 1), (empty.size + 4, empty.size)):
        with pytest.raises(WouldShorten):
            restore_backup(empty.backup, shorten=wrong, say=quiet)
    assert empty.memory.read_text() == empty.newer
    empty.memory.unlink()
    with pytest.raises(RestoreRefused, match="Nothing would be lost"):
        restore_backup(empty.backup, shorten=(empty.size, empty.size), say=quiet)
    # Two histories of one length: each checkpoint that was given counts.
    text = checkpoint_text(ORIGIN, empty.size, b"\x01" * 32)
    other = read_key_file(empty.directory / "log.key").sign(text)
    for given in ([other, empty.old_note], [empty.old_note, other]):
        with pytest.raises(RestoreRefused, match="does not pass through a checkpoint that was given"):
            restore_backup(empty.backup, checkpoints=given, say=quiet)
    # Damaged and foreign files.
    with tarfile.open(empty.backup) as tar:
        manifest = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        artifact = next(name for name in tar.getnames() if name.startswith("artifacts/"))
    other_release = manifest | {"migrations": manifest["migrations"][:-1]}
    for name, content, words in [
        ("tables/accounts_user.copy.gz", gzip.compress(b"1\tmallory\n"), "accounts_user is damaged"),
        ("tables/accounts_user.copy.gz", None, "accounts_user is missing"),
        ("manifest.json", None, "manifest.json is missing"),
        ("manifest.json", json.dumps(other_release).encode(), "another release"),
        ("manifest.json", json.dumps(manifest | {"format": "other"}).encode(), "no backup of the format"),
        (artifact, b"WEIGHTS", "can't be stored"),
        ("checkpoint", empty.old_note.replace("\n", "\r\n", 1).encode(), "No key of the backup's log signed"),
    ]:
        with pytest.raises(RestoreRefused, match=words):
            restore_backup(changed(empty.backup, name, content), say=quiet)
    noise = empty.directory / "noise.tar"
    noise.write_bytes(b"x" * 2000)
    with pytest.raises(RestoreRefused, match="cannot be read"):
        restore_backup(noise, say=quiet)
    # An instance that is at work, or holds something.
    sequencer = empty.sequencer()
    with pytest.raises(RestoreRefused, match="A sequencer is running"):
        restore_backup(empty.backup, say=quiet)
    sequencer.connection.close()
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()
    person("eve", "viewer")
    with pytest.raises(RestoreRefused, match="Restore into an empty one"):
        restore_backup(empty.backup, say=quiet)
    assert User.objects.get().username == "eve"


def holds_no_secret(backup: Path) -> bool:
    """Neither a text in clear nor a key that signs or opens."""
    with tarfile.open(backup) as tar:
        whole = b"".join(
            gzip.decompress(body) if member.name.endswith(".gz") else body
            for member in tar.getmembers()
            for body in [tar.extractfile(member).read()]  # type: ignore[union-attr]
        )
    return not any(secret in whole for secret in (WORDS.encode(), b"PRIVATE+KEY", b"lastgood-seal-key"))
