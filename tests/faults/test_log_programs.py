"""F34 to F36: sequencers that are killed or are two, a transaction that holds the log back, a witness that is down."""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import psycopg
import pytest
from django.db import connections

from accounts.actions import issue_token
from accounts.models import Role
from audit.models import AuditCosignature, AuditEvent, AuditLeaf
from audit.note import create_key_file
from audit.verify import open_note, parse_checkpoint
from audit.watch import lag
from tests.accounts.people import person
from tests.audit.log import event
from tests.conftest import CommittedDatabase
from tests.faults.conftest import wait_until
from tests.faults.log import SETUP, Programs, whole

pytestmark = pytest.mark.faults


@pytest.fixture
def programs(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Programs]:
    made = Programs(committed_db.env, tmp_path)
    yield made
    made.end()


class Writers:
    """Threads that record events until they are told to stop; ``acknowledged`` are those that were committed."""

    def __init__(self, many: int) -> None:
        self.stop = threading.Event()
        self.acknowledged: list[int] = []
        self.threads = [threading.Thread(target=self._write, args=(number,)) for number in range(many)]
        for thread in self.threads:
            thread.start()

    def _write(self, number: int) -> None:
        while not self.stop.wait(0.005):
            self.acknowledged.append(event(target=f"t-{number}", incident=f"INC-{number}").pk)
        connections.close_all()

    def end(self) -> set[int]:
        self.stop.set()
        for thread in self.threads:
            thread.join(30)
        return set(self.acknowledged)


def all_sequenced() -> bool:
    return AuditLeaf.objects.count() == AuditEvent.objects.count()


def test_f34_a_sequencer_killed_in_the_middle_of_a_batch_leaves_nothing_of_it(
    programs: Programs, committed_db: CommittedDatabase
) -> None:
    first = programs.sequencer()
    event()
    wait_until(all_sequenced, 60, "the first leaf")
    with psycopg.connect(committed_db.services.cluster.url("lastgood_super", committed_db.name)) as blocker:
        # The leaves of the batch are written; its checkpoint can't be.
        blocker.execute("LOCK TABLE audit_checkpoint IN SHARE MODE")
        for _ in range(20):
            event()
        blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_checkpoint'::regclass"
        # A lock that was taken by a write transaction holds the horizon back too; this one has written nothing.
        wait_until(lambda: committed_db.execute(blocked) == [(1,)], 60, "the sequencer is in the middle of a batch")
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert AuditLeaf.objects.count() == 1
    programs.sequencer("second")
    wait_until(all_sequenced, 60, "the second sequencer took over")
    assert whole(programs.vkey).size == 21


def test_f34_two_sequencers_killed_at_random_make_one_tree(programs: Programs) -> None:
    moments = random.Random(34)
    running = [programs.sequencer("a"), programs.sequencer("b")]
    writers = Writers(4)
    try:
        wait_until(lambda: AuditLeaf.objects.count() > 0, 60, "one of the two sequences")
        for turn in range(4):
            size = AuditLeaf.objects.count()
            running[turn % 2].send_signal(signal.SIGKILL)
            running[turn % 2].wait()
            running[turn % 2] = programs.sequencer("ab"[turn % 2])
            wait_until(lambda size=size: AuditLeaf.objects.count() > size, 60, "the log goes on")
            time.sleep(moments.random() * 0.3)  # so that the next kill comes at another moment of a batch
    finally:
        acknowledged = writers.end()
    wait_until(all_sequenced, 60, "everything has its leaf")
    assert whole(programs.vkey).size == len(acknowledged)
    assert set(AuditLeaf.objects.values_list("event_id", flat=True)) == acknowledged


def test_f35_a_long_transaction_elsewhere_raises_the_alarm_and_loses_nothing(
    programs: Programs, committed_db: CommittedDatabase, settings: object
) -> None:
    settings.LASTGOOD_LAG_ALARM_SECONDS = 1.0  # type: ignore[attr-defined]
    programs.sequencer()
    event()
    wait_until(all_sequenced, 60, "the first leaf")
    url = committed_db.services.cluster.url("lastgood_super", "postgres")
    with closing(psycopg.connect(url, application_name="nightly-report")) as elsewhere:
        elsewhere.execute("SELECT pg_current_xact_id()")
        writers = Writers(4)
        try:
            wait_until(lambda: lag().alarm, 60, "the alarm")
        finally:
            acknowledged = writers.end()
        held = lag()
        assert held.holder is not None
        assert (held.holder["pid"], held.holder["program"]) == (elsewhere.info.backend_pid, "nightly-report")
        assert f"SELECT pg_terminate_backend({elsewhere.info.backend_pid})" in held.sentence
        assert AuditLeaf.objects.count() < AuditEvent.objects.count()
        committed_db.execute("SELECT pg_terminate_backend(%s)", elsewhere.info.backend_pid)
    wait_until(all_sequenced, 60, "everything has its leaf")
    assert whole(programs.vkey).size == len(acknowledged) + 1
    assert lag().sentence == ""


def test_f36_a_witness_that_is_down_is_missed_and_a_second_history_is_refused(
    programs: Programs, committed_db: CommittedDatabase, tmp_path: Path
) -> None:
    witness_key = create_key_file(tmp_path / "witness.key", "witness.example/w1")
    url = programs.web(LASTGOOD_WITNESSES=witness_key.vkey, LASTGOOD_WITNESS_ALARM_SECONDS="2")
    sequencer = programs.sequencer()
    admin = person("ada", Role.ADMINISTRATOR)
    token = issue_token(owner=admin, name="w", scopes=["witness"], expires_at=None, actor=SETUP)[1]
    witness = programs.witness(url, token)
    wait_until(lambda: AuditCosignature.objects.exists() and all_sequenced(), 90, "the first cosignature")

    witness.send_signal(signal.SIGKILL)
    witness.wait()
    event()
    wait_until(lambda: _log_of(url) == "unwitnessed; see the auditors' page", 60, "the witness is missed")
    assert httpx.get(f"{url}/readyz").json()["database"] == "ok"
    witness = programs.witness(url, token)
    wait_until(lambda: _log_of(url) == "ok", 60, "the witness is back")

    # The operator, who holds every key, takes the last event out and signs another history of the same length.
    sequencer.terminate()
    sequencer.wait(30)
    _take_back(committed_db, 1)
    programs.memory.unlink()
    event(target="another")
    programs.sequencer("forged")
    wait_until(lambda: witness.poll() is not None, 60, "the witness stops")
    assert witness.returncode == 4
    assert "EQUIVOCATION" in programs.log("witness")
    evidence = json.loads((tmp_path / "witness.state.evidence").read_text())
    cosigned, shown = (
        parse_checkpoint(open_note(evidence[name], programs.vkey)) for name in ("cosigned_note", "shown_note")
    )
    assert (cosigned.size, cosigned.root) != (shown.size, shown.root)
    wait_until(lambda: _log_of(url) == "unwitnessed; see the auditors' page", 60, "nobody cosigns that")
    again = programs.witness(url, token)
    assert again.wait(60) == 4


def _log_of(url: str) -> str:
    try:
        return str(httpx.get(f"{url}/readyz", timeout=5).json()["log"])
    except httpx.TransportError:
        return ""


def _take_back(db: CommittedDatabase, leaves: int) -> None:
    """What somebody with the superuser's password can do, who covers the traces afterwards."""
    tables = ("audit_event", "audit_leaf", "audit_checkpoint", "audit_cosig")
    for table in tables:
        db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    size = AuditLeaf.objects.count() - leaves
    db.execute("DELETE FROM audit_cosig WHERE size > %s", size)
    db.execute("DELETE FROM audit_checkpoint WHERE size > %s", size)
    db.execute(
        "DELETE FROM audit_private WHERE event_id IN (SELECT event_id FROM audit_leaf WHERE leaf_index >= %s)", size
    )
    gone = db.execute("DELETE FROM audit_leaf WHERE leaf_index >= %s RETURNING event_id", size)
    db.execute("DELETE FROM audit_event WHERE id = ANY(%s)", [row[0] for row in gone])
    db.execute("ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_stamp")
    for table in tables:
        for name in (f"{table}_no_change", f"{table}_no_truncate"):
            db.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
    if not db.execute("SELECT 1 FROM audit_checkpoint WHERE size = %s", size):
        raise AssertionError("the history does not end at a checkpoint")
