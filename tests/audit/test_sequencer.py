import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from django.db import connections, transaction

from audit.merkle import leaf_hash, root_of
from audit.models import AuditCheckpoint, AuditEvent, AuditLeaf, AuditLogKey
from audit.note import create_key_file
from audit.queries import status
from audit.refusal import RefusesToSign
from audit.sequencer import Sequencer, SignedMemory, wait_for_leaf
from audit.verify import open_note, parse_checkpoint
from tests.audit.log import ORIGIN, event, sequence_all, sequencer_in
from tests.conftest import ROOT, CommittedDatabase


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def test_committed_events_become_leaves_in_order_under_a_signed_root(
    committed_db: CommittedDatabase, tmp_path: Path
) -> None:
    made = [event(data={"number": number}) for number in range(5)]
    sequencer = sequencer_in(tmp_path)
    assert sequence_all(sequencer) == 5
    leaves = list(AuditLeaf.objects.order_by("leaf_index"))
    assert [leaf.event_id for leaf in leaves] == [one.pk for one in made]
    assert [bytes(leaf.leaf_hash) for leaf in leaves] == [leaf_hash(bytes(one.canon)) for one in made]
    checkpoint = AuditCheckpoint.objects.get()
    said = parse_checkpoint(open_note(checkpoint.note, sequencer.signer.vkey))
    assert (said.origin, said.size) == (ORIGIN, 5)
    assert said.root == bytes(checkpoint.root) == root_of(leaf_hash(bytes(one.canon)) for one in made)


def test_nothing_new_makes_no_checkpoint(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    event()
    sequencer = sequencer_in(tmp_path)
    assert sequence_all(sequencer) == 1
    assert sequencer.step() == 0
    assert AuditCheckpoint.objects.count() == 1


def test_a_late_committer_is_neither_lost_nor_overtaken(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    inserted, release = threading.Event(), threading.Event()

    def late() -> None:
        with transaction.atomic():
            event(target="late")
            inserted.set()
            assert release.wait(20)
        connections.close_all()

    thread = threading.Thread(target=late)
    thread.start()
    assert inserted.wait(20)
    event(target="early")
    sequencer = sequencer_in(tmp_path)
    assert sequencer.step() == 0, "an event behind an open transaction has to wait"
    assert status().lag_events == 1
    release.set()
    thread.join(20)
    assert sequence_all(sequencer) == 2
    order = AuditLeaf.objects.order_by("leaf_index").values_list("event__target_id", flat=True)
    assert list(order) == ["late", "early"]


def test_many_writers_slow_commits_and_aborts_lose_and_double_nothing(
    committed_db: CommittedDatabase, tmp_path: Path
) -> None:
    committed: list[str] = []
    stop = threading.Event()
    sequencer = sequencer_in(tmp_path)
    sequencer.connection.close()

    def sequence() -> None:
        sequencer.run(stop, interval=0.01)
        connections.close_all()

    def write(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            try:
                with transaction.atomic():
                    uuid = str(event(incident=chance.choice(["", "", "INC-1"])).event_uuid)
                    if chance.random() < 0.1:
                        time.sleep(0.03)
                    if chance.random() < 0.1:
                        raise InterruptedError
                committed.append(uuid)
            except InterruptedError:
                pass
        connections.close_all()

    sequencing = threading.Thread(target=sequence)
    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    for thread in (sequencing, *writers):
        thread.start()
    for thread in writers:
        thread.join(60)
    eventually(lambda: status().lag_events == 0)
    stop.set()
    sequencing.join(20)
    leaves = list(AuditLeaf.objects.order_by("leaf_index").select_related("event"))
    assert [leaf.leaf_index for leaf in leaves] == list(range(len(committed)))
    assert {str(leaf.event.event_uuid) for leaf in leaves} == set(committed)
    hashes = [bytes(leaf.leaf_hash) for leaf in leaves]
    for checkpoint in AuditCheckpoint.objects.all():
        assert bytes(checkpoint.root) == root_of(hashes[: checkpoint.size])


def test_commit_order_is_numeric_across_digit_boundaries(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    for xid in (100, 9, 99, 10):
        committed_db.execute(
            "SET lastgood.restoring = 'on';"
            " INSERT INTO audit_event (xid, event_uuid, canon, occurred_at, action, outcome, actor_kind, actor,"
            " target_kind, target_id, target_version, incident) VALUES"
            f" ('{xid}', gen_random_uuid(), '{{}}', now(), 'a.b', 'success', 'user', 'u', 't', '{xid}', '', '')",
        )
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    order = AuditLeaf.objects.order_by("leaf_index").values_list("event__target_id", flat=True)
    assert list(order) == ["9", "10", "99", "100"]
    assert (sequencer.position.xid, sequencer.frontier.size) == (100, 4)


def test_a_second_sequencer_waits_and_takes_over(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    event()
    first = sequencer_in(tmp_path)
    sequence_all(first)
    answers = []

    def second() -> None:
        other = Sequencer(first.signer, SignedMemory(tmp_path / "log.key.last"))
        answers.append(other.take_over())
        connections["sequencer"].close()

    for _ in range(2):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(20)
        first.connection.close()
    assert answers == [False, True]


def test_a_restarted_sequencer_goes_on_with_the_same_tree(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    for _ in range(7):
        event()
    first = sequencer_in(tmp_path)
    sequence_all(first)
    first.connection.close()
    for _ in range(4):
        event()
    second = sequencer_in(tmp_path)
    assert second.frontier.size == 7
    assert sequence_all(second) == 11
    hashes = AuditLeaf.objects.order_by("leaf_index").values_list("leaf_hash", flat=True)
    assert second.frontier.root() == root_of(bytes(one) for one in hashes)


def _disarmed(db: CommittedDatabase, *statements: str) -> None:
    """What somebody with the owner's password can do."""
    for table in ("audit_event", "audit_leaf", "audit_checkpoint"):
        db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER", login="lastgood_owner")
    for statement in statements:
        db.execute(statement, login="lastgood_owner")


def _signed_log(directory: Path, events: int) -> Sequencer:
    for _ in range(events):
        event()
    sequencer = sequencer_in(directory)
    sequence_all(sequencer)
    sequencer.connection.close()
    return sequencer


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["UPDATE audit_leaf SET leaf_hash = sha256('x') WHERE leaf_index = 2"], "does not extend the last checkpoint"),
        (["DELETE FROM audit_leaf WHERE leaf_index = 2"], "Leaf 2 is missing"),
        (["DELETE FROM audit_checkpoint"], "no checkpoint"),
        (["DELETE FROM audit_checkpoint", "DELETE FROM audit_leaf"], "set back in time"),
    ],
)
def test_a_tree_that_does_not_extend_what_was_signed_is_not_signed(
    committed_db: CommittedDatabase, tmp_path: Path, statements: list[str], words: str
) -> None:
    _signed_log(tmp_path, 5)
    _disarmed(committed_db, *statements)
    event()
    before = list(AuditCheckpoint.objects.values_list("size", flat=True))
    with pytest.raises(RefusesToSign, match=words):
        sequencer_in(tmp_path)
    assert list(AuditCheckpoint.objects.values_list("size", flat=True)) == before
    connections["sequencer"].close()


def test_another_key_does_not_go_on_with_the_log(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    _signed_log(tmp_path, 2)
    other = create_key_file(tmp_path / "other.key", ORIGIN)
    with pytest.raises(RefusesToSign, match="the log's own key"):
        Sequencer(other, SignedMemory(tmp_path / "other.key.last")).take_over()
    assert AuditLogKey.objects.count() == 1, "what has signed nothing is not named among the log's keys"
    connections["sequencer"].close()


def test_a_lost_connection_is_replaced(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    stop = threading.Event()
    sequencer = sequencer_in(tmp_path)
    sequencer.connection.close()
    thread = threading.Thread(target=lambda: (sequencer.run(stop, interval=0.02), connections.close_all()))
    thread.start()
    assert wait_for_leaf(event().pk, 60) == 0
    killed = committed_db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'lastgood_sequencer' AND datname = %s",
        committed_db.name,
    )
    assert killed == [(True,)]
    assert wait_for_leaf(event().pk, 60) == 1
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_the_program_sequences_survives_kill_and_stops_cleanly(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    key = tmp_path / "log.key"
    env = committed_db.env | {"LASTGOOD_LOG_KEY_FILE": str(key)}
    made = subprocess.run(
        [sys.executable, "manage.py", "audit", "key"], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    vkey = made.stdout.strip()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env)

    program = start()
    try:
        assert wait_for_leaf(event().pk, 60) == 0
        os.kill(program.pid, signal.SIGKILL)
        program.wait(20)
        late = event()
        program = start()
        assert wait_for_leaf(late.pk, 60) == 1
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
    finally:
        program.kill()
        program.wait()
    last = AuditCheckpoint.objects.latest("size")
    assert parse_checkpoint(open_note(last.note, vkey)).size == 2 == AuditEvent.objects.count()


def test_without_a_key_the_program_says_what_to_do(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    env = committed_db.env | {"LASTGOOD_LOG_KEY_FILE": str(tmp_path / "none.key")}
    run = subprocess.run(
        [sys.executable, "manage.py", "audit", "sequence"], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "audit key" in run.stderr
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        committed_db.execute("DELETE FROM audit_leaf", login="lastgood_sequencer")
