"""What the tests of the log share: events, a sequencer stepped by hand, bundles taken apart and put together."""

import base64
import hashlib
import io
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from django.db import connections

from audit.actions import Actor, Target, record, record_cosignature, record_export, service_actor
from audit.export import SIGNING, BundleInfo, Scope, add_receipt, write_bundle
from audit.merkle import root_of
from audit.models import AuditCheckpoint, AuditEvent
from audit.note import Signer, checkpoint_text, create_key_file, read_key_file
from audit.queries import note_of
from audit.sequencer import LOCK, Sequencer, SignedMemory
from audit.verify import COLUMNS, ROW_LEAF, UNLISTED, csv_line, csv_row, main

ORIGIN = "lastgood.local/log"
ALICE, BOB, CAROL = (Actor("user", f"u-{name}", {"method": "password"}) for name in ("alice", "bob", "carol"))


def event(action: str = "incident.update", *, actor: Actor = ALICE, target: str = "INC-1", **more: Any) -> AuditEvent:
    """One committed event."""
    return record(action=action, target=Target("incident", target), actor=actor, **more)


def sequencer_in(directory: Path) -> Sequencer:
    """A sequencer with a new key (or the one that is there), which has taken over the log."""
    key = directory / "log.key"
    signer = create_key_file(key, ORIGIN) if not key.exists() else read_key_file(key)
    sequencer = Sequencer(signer, SignedMemory(directory / "log.key.last"))
    assert sequencer.take_over()
    return sequencer


def sequence_all(sequencer: Sequencer) -> int:
    """Put every committed event into the tree, in one batch; returns the tree's size.

    The horizon is the cluster's, so an open transaction of another test may hold it back for a while.
    """
    deadline = time.monotonic() + 60
    with sequencer.connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT count(*) FROM audit_event WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())")
            if not cursor.fetchone()[0]:
                break
            assert time.monotonic() < deadline, "another transaction stayed open"
            time.sleep(0.02)
    while sequencer.step():
        pass
    return sequencer.frontier.size


def cosigned(witness: Signer) -> str:
    """The last checkpoint's note, with the signature of a witness that is configured."""
    last = AuditCheckpoint.objects.latest("size")
    text = last.note.rpartition("\n\n")[0] + "\n"
    record_cosignature(size=last.size, note_line=witness.sign(text)[len(text) + 1 :])
    return note_of(last)


def exported(
    sequencer: Sequencer, path: Path, *, extends: int = 0, witness: Signer | None = None, **scope: Any
) -> BundleInfo:
    """A bundle with its receipt, by a sequencer that is stepped by hand, and signed by the witness."""
    info = write_bundle(path, extends=extends, receipt=True, **scope)
    facts = Scope(**scope).facts()
    actor = service_actor("manage")
    event = record_export(manifest=info.manifest, events=info.events, size=info.size, scope=facts, actor=actor)
    sequence_all(sequencer)
    if witness:
        cosigned(witness)
    return add_receipt(info, event)


@contextmanager
def at_work(directory: Path) -> Iterator[None]:
    """A sequencer that runs beside the test, with the key in the directory."""
    connections["sequencer"].close()
    stop = threading.Event()
    sequencer = Sequencer(read_key_file(directory / "log.key"), SignedMemory(directory / "log.key.last"))
    thread = threading.Thread(target=sequencer.run, args=(stop, 0.02))
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not _at_work():
            assert thread.is_alive()
            assert time.monotonic() < deadline, "the sequencer did not take over"
            time.sleep(0.01)
        yield
    finally:
        stop.set()
        thread.join()


def _at_work() -> bool:
    with connections["default"].cursor() as cursor:
        cursor.execute(SIGNING, [LOCK])
        return bool(cursor.fetchone()[0])


def unzip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def rezip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as bundle:
        for name, data in members.items():
            bundle.writestr(name, data)
    return path


def edit_record(members: dict[str, bytes], leaf: int, old: bytes, new: bytes) -> dict[str, bytes]:
    """The members with one record changed in place."""
    lines = members["events.jsonl"].splitlines(keepends=True)
    at = next(place for place, line in enumerate(lines) if json.loads(line)["leaf_index"] == leaf)
    assert old in lines[at]
    lines[at] = lines[at].replace(old, new)
    return members | {"events.jsonl": b"".join(lines)}


def restated(members: dict[str, bytes], **change: Any) -> dict[str, bytes]:
    """The members with a manifest that knows of what was done to them."""
    digests = {name: hashlib.sha256(members[name]).hexdigest() for name in members if name not in UNLISTED}
    manifest = json.loads(members["manifest.json"]) | {"members": digests} | change
    return members | {"manifest.json": json.dumps(manifest).encode()}


def resigned(members: dict[str, bytes], signer: Signer) -> dict[str, bytes]:
    """The members of a whole log without receipt, over whose leaves, as they are, somebody signs a tree."""
    lines = [json.loads(line) for line in members["events.jsonl"].splitlines()]
    root = root_of(bytes.fromhex(line["leaf_hash"]) for line in lines)
    note = signer.sign(checkpoint_text(ORIGIN, len(lines), root))
    shorn = {name: data for name, data in members.items() if name not in ("receipt.json", "checkpoints.jsonl")}
    shorn |= {"checkpoint": note.encode()}
    stated = {"log_key": signer.vkey, "size": len(lines), "root": base64.b64encode(root).decode(), "receipt": False}
    return restated(shorn | {"events.csv": _table(members, lines)}, **stated)


def _table(members: dict[str, bytes], lines: list[dict[str, Any]]) -> bytes:
    entries = [json.loads(line) for line in members["reasons.jsonl"].splitlines()]
    texts = {entry["leaf_index"]: entry["text"] for entry in entries}
    rows = [csv_row(line["leaf_index"], line["record"], texts.get(line["leaf_index"], "")) for line in lines]
    return csv_line(COLUMNS) + b"".join(rows)


def without(members: dict[str, bytes], leave_out: Callable[[dict[str, Any]], bool]) -> dict[str, bytes]:
    """The members without some events, everything else adjusted to it."""
    lines = [json.loads(line) for line in members["events.jsonl"].splitlines()]
    gone = {line["leaf_index"] for line in lines if leave_out(line["record"])}
    assert gone

    def kept(name: str, leaf_of: Callable[[bytes], int]) -> bytes:
        return b"".join(line for line in members[name].splitlines(keepends=True) if leaf_of(line) not in gone)

    def row(line: bytes) -> int:
        match = ROW_LEAF.match(line)
        return int(match[1]) if match else -1

    def entry(line: bytes) -> int:
        return int(json.loads(line)["leaf_index"])

    fewer = {"events.jsonl": kept("events.jsonl", entry), "reasons.jsonl": kept("reasons.jsonl", entry)}
    return restated(members | fewer | {"events.csv": kept("events.csv", row)}, events=len(lines) - len(gone))


def check(bundle: Path, *options: str) -> tuple[int, str]:
    """The verifier's exit status and words, by its command line in this process."""
    said = io.StringIO()
    with redirect_stderr(said):
        try:
            status = main([str(bundle), *options], said.write)
        except SystemExit as end:
            status = int(str(end.code))
    return status, said.getvalue()


def check_alone(bundle: Path, *options: str) -> tuple[int, str]:
    """The same by the bundle's own verifier, alone in an empty directory, by a plain Python."""
    alone = bundle.parent / f"alone-{bundle.stem}"
    alone.mkdir(exist_ok=True)
    (alone / "verify.py").write_bytes(unzip(bundle)["verify.py"])
    command = [sys.executable, "-I", "verify.py", str(bundle), *options]
    run = subprocess.run(command, cwd=alone, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout + run.stderr
