"""What the tests of the log share: events, a sequencer stepped by hand, bundles taken apart and put together."""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

from audit.actions import Actor, Target, record
from audit.models import AuditEvent
from audit.note import create_key_file, read_key_file
from audit.sequencer import Sequencer, SignedMemory

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


def unzip(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as bundle:
        return {name: bundle.read(name) for name in bundle.namelist()}


def rezip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
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


def check(bundle: Path, *options: str) -> tuple[int, str]:
    """Run the bundle's own verifier, alone in an empty directory, by a plain Python; its exit status and words."""
    alone = bundle.parent / f"alone-{bundle.stem}"
    alone.mkdir(exist_ok=True)
    (alone / "verify.py").write_bytes(unzip(bundle)["verify.py"])
    command = [sys.executable, "-I", "verify.py", str(bundle), *options]
    run = subprocess.run(command, cwd=alone, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in run.stderr, run.stderr
    return run.returncode, run.stdout + run.stderr
