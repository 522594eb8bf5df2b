import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connections

from audit.erasure import erase_reason
from audit.export import NothingToExport, write_bundle
from audit.merkle import leaf_hash
from audit.models import AuditEvent, AuditLeaf
from audit.sequencer import Sequencer
from tests.audit import story
from tests.audit.log import (
    ALICE,
    BOB,
    check,
    check_alone,
    event,
    exported,
    sequence_all,
    sequencer_in,
    unzip,
)
from tests.conftest import CommittedDatabase


@dataclass
class Log:
    sequencer: Sequencer
    directory: Path

    @property
    def key(self) -> str:
        return self.sequencer.signer.vkey

    def bundle(self, name: str = "bundle", **scope: object) -> Path:
        """With its receipt, which is a leaf more."""
        path = self.directory / f"{name}.zip"
        exported(self.sequencer, path, **scope)  # type: ignore[arg-type]
        return path

    def bare(self, name: str = "bare", **scope: object) -> Path:
        """Without a receipt."""
        path = self.directory / f"{name}.zip"
        write_bundle(path, **scope)  # type: ignore[arg-type]
        return path


@pytest.fixture
def log(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Log]:
    """Thirteen events: four of no incident, two roles, seven of INC-1 and their meaning; signed in two checkpoints."""
    sequencer = sequencer_in(tmp_path)
    for number in range(4):
        event("model.register", data={"number": number}, reason=f"reason {number}")
    sequence_all(sequencer)
    story.people()
    story.whole()
    sequence_all(sequencer)
    yield Log(sequencer, tmp_path)
    connections["sequencer"].close()


def test_a_whole_log_verifies_alone_with_the_key_from_outside(log: Log) -> None:
    root = log.sequencer.frontier.root().hex()
    status, words = check_alone(log.bundle(), "--key", log.key)
    assert (status, words.splitlines()[-1]) == (0, "Whole: every check passed.")
    assert f"All 13 leaves hash into the signed root {root}." in words
    assert "Exported by svc:manage at " in words
    assert "on record as leaf 13." in words
    assert "INC-1: events 1 to 7, none missing." in words
    assert "Seats: 2, each filled by a person who held the role; 2 rest on roles that a program" in words
    assert "4 reasons match their records; 0 were erased." in words
    assert "Runs: 1, each with the approvals its policy demanded" in words


def test_without_a_key_from_outside_the_bundle_is_unanchored(log: Log) -> None:
    status, words = check(log.bundle())
    assert status == 3
    assert "Unanchored" in words


def test_the_same_log_gives_the_same_bytes_and_the_readme_lists_the_layout(log: Log) -> None:
    first, second = log.bare("one"), log.bare("two")
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()
    members = unzip(first)
    assert {*members} == {
        "README.txt",
        "verify.py",
        "checkpoint",
        "checkpoints.jsonl",
        "events.csv",
        "events.jsonl",
        "manifest.json",
        "reasons.jsonl",
    }
    assert b"checkpoints.jsonl" in members["README.txt"]


def test_each_line_of_events_is_json_that_holds_the_records_exact_bytes(log: Log) -> None:
    lines = unzip(log.bare())["events.jsonl"].splitlines()
    canons = AuditLeaf.objects.order_by("leaf_index").values_list("event__canon", flat=True)
    for line, canon in zip(lines, canons, strict=True):
        assert bytes(canon) in line
        assert json.loads(line)["leaf_hash"] == leaf_hash(bytes(canon)).hex()


@pytest.mark.parametrize("scope", [{"incident": "INC-1"}, {"since": story.now(-60), "until": story.now(60)}])
def test_a_part_verifies_by_inclusion_proofs(log: Log, scope: dict[str, object]) -> None:
    path = log.bundle(**scope)
    status, words = check_alone(path, "--key", log.key)
    assert status == 0, words
    assert "proofs.jsonl" in unzip(path)


def test_an_incidents_bundle_holds_its_events_and_the_roles_that_they_rest_on(log: Log) -> None:
    event(incident="INC-2", reason="secret of another incident")
    story.held("u-mallory", "approver")
    sequence_all(log.sequencer)
    members = unzip(log.bundle(incident="INC-1"))
    manifest = json.loads(members["manifest.json"])
    indices = [json.loads(line)["leaf_index"] for line in members["events.jsonl"].splitlines()]
    assert (indices, manifest["context"]) == ([*range(4, 13)], [4, 5])
    assert b"INC-2" not in members["events.jsonl"]
    assert b"mallory" not in members["events.jsonl"]
    assert b"secret" not in members["reasons.jsonl"] + members["events.csv"]


def test_an_erased_reason_leaves_the_bundle_whole(log: Log) -> None:
    first = AuditEvent.objects.order_by("id")[0]
    assert erase_reason(event=first, actor=BOB, reason="request for erasure")
    sequence_all(log.sequencer)
    status, words = check(log.bundle(), "--key", log.key)
    assert status == 0
    assert "4 reasons match their records; 1 were erased." in words


def test_nothing_is_exported_where_nothing_matches(log: Log) -> None:
    with pytest.raises(NothingToExport, match="No event"):
        log.bundle(incident="INC-404")


def test_a_bundle_is_written_as_zip64_safe_members_only(log: Log) -> None:
    with zipfile.ZipFile(log.bundle()) as bundle:
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in bundle.infolist())
        assert bundle.testzip() is None
    assert ALICE.id.encode() in unzip(log.bundle())["events.jsonl"]


def test_a_role_that_was_dated_back_after_the_run_does_not_count(
    log: Log, committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner of the database can write any time into an event; its place in the tree is not theirs to choose."""
    seats = [{"by": "u-alice", "role": "approver"}, {"by": "u-bob", "role": "commander"}]
    story.opened(request="request-3", proposer="u-dora")
    for actor, role in ((ALICE, "approver"), (BOB, "commander")):
        story.decided(actor, role, request="request-3")
    story.consumed(request="request-3", seats=seats)
    story.started(request="request-3", run="run-3")
    committed_db.execute("ALTER TABLE audit_event DISABLE TRIGGER audit_event_stamp", login="lastgood_owner")
    with monkeypatch.context() as dated_back:
        dated_back.setattr("audit.actions._moment_and_number", lambda incident, count: (story.now(-60), None))
        story.held("u-alice", "approver")
    sequence_all(log.sequencer)
    status, words = check(log.bundle(), "--key", log.key)
    assert status == 1
    assert "u-alice as approver is on record after it only" in words
    assert "1 records bear a time more than 60 s before" in words
