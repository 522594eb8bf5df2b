import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import connections

from audit.erasure import erase_reason
from audit.export import NothingToExport, write_bundle
from audit.merkle import leaf_hash
from audit.models import AuditCheckpoint, AuditEvent, AuditLeaf
from audit.note import checkpoint_text, create_key_file
from audit.sequencer import Sequencer
from tests.audit import story
from tests.audit.log import (
    ALICE,
    BOB,
    ORIGIN,
    check,
    check_alone,
    edit_record,
    event,
    exported,
    restated,
    rezip,
    sequence_all,
    sequencer_in,
    unzip,
    without,
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


# Tampered with: 1


def test_a_changed_record_is_named_by_leaf(log: Log) -> None:
    members = edit_record(unzip(log.bundle()), 2, b'"number":2', b'"number":9')
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "Leaf 2: the record's bytes do not hash to its leaf." in words


def _rewritten(members: dict[str, bytes], leaf: int, old: bytes, new: bytes) -> dict[str, bytes]:
    """Somebody careful changes the record and its leaf hash."""
    members = edit_record(members, leaf, old, new)
    lines = members["events.jsonl"].splitlines()
    place = next(at for at, line in enumerate(lines) if json.loads(line)["leaf_index"] == leaf)
    canon = lines[place].split(b'"record":', 1)[1][:-1]
    stated = json.loads(lines[place])["leaf_hash"].encode()
    lines[place] = lines[place].replace(stated, leaf_hash(canon).hex().encode())
    return members | {"events.jsonl": b"\n".join(lines) + b"\n"}


def test_a_careful_change_is_found_between_two_checkpoints(log: Log) -> None:
    members = _rewritten(unzip(log.bundle()), 2, b'"number":2', b'"number":9')
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "A leaf before 4 is not the one that an earlier checkpoint (size 4) was signed over." in words


def test_a_careful_change_in_a_part_is_named_by_leaf(log: Log) -> None:
    members = _rewritten(unzip(log.bundle(incident="INC-1")), 8, b"u-carol", b"u-mallo")
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "Leaf 8 is not in the signed tree." in words


def test_a_tree_signed_by_another_key_is_tampered_with(log: Log) -> None:
    forger = create_key_file(log.directory / "forger.key", ORIGIN)
    note = forger.sign(checkpoint_text(ORIGIN, 13, log.sequencer.frontier.root()))
    members = unzip(log.bare())
    members |= {"checkpoint": note.encode(), "checkpoints.jsonl": b""}
    path = rezip(log.directory / "bad.zip", restated(members, log_key=forger.vkey))
    assert check(path, "--key", log.key)[0] == 1
    assert check(path)[0] == 3, "it is whole in itself; only the key from outside tells"


def test_a_changed_reason_is_tampered_with(log: Log) -> None:
    members = unzip(log.bundle())
    members["reasons.jsonl"] = members["reasons.jsonl"].replace(b"reason 1", b"reason 7")
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "Leaf 1: its reason is not the text" in words


def test_a_log_set_back_in_time_does_not_extend_an_old_checkpoint(log: Log) -> None:
    early = log.bundle("early")
    event()
    sequence_all(log.sequencer)
    old = log.directory / "old.note"
    old.write_text(AuditCheckpoint.objects.latest("size").note)
    status, words = check(early, "--key", log.key, "--since", str(old))
    assert status == 1
    assert "history was taken back" in words
    assert check(log.bundle("late"), "--key", log.key, "--since", str(old))[0] == 0


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"events.jsonl", b"../../x.json"),
        lambda data: b"not a zip",
    ],
)
def test_what_is_no_bundle_is_refused_without_a_trace(log: Log, break_it: Callable[[bytes], bytes]) -> None:
    good = log.bundle()
    bad = log.directory / "bad.zip"
    bad.write_bytes(break_it(good.read_bytes()))
    (log.directory / "verify.py").write_bytes(unzip(good)["verify.py"])
    from audit.verify import main

    said: list[str] = []
    assert main([str(bad), "--key", log.key], said.append) == 1
    assert said[-1] == "Tampered with.\n"


def test_a_line_of_endless_length_is_refused(log: Log) -> None:
    members = unzip(log.bundle()) | {"reasons.jsonl": b" " * (2 << 20)}
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "longer than" in words


def test_a_key_that_was_not_copied_whole_is_no_verdict(log: Log) -> None:
    assert check(log.bundle(), "--key", log.key[:-3])[0] == 64


# Incomplete: 2


@pytest.mark.parametrize(("leaf", "words"), [(3, "Leaf 3 is missing."), (12, "Leaves 12 to 12 are missing.")])
def test_a_missing_event_makes_the_whole_log_incomplete(log: Log, leaf: int, words: str) -> None:
    members = unzip(log.bundle())
    lines = members["events.jsonl"].splitlines(keepends=True)
    members["events.jsonl"] = b"".join(line for line in lines if json.loads(line)["leaf_index"] != leaf)
    status, said = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 2
    assert words in said


def test_a_missing_event_of_an_incident_shows_by_its_number(log: Log) -> None:
    members = unzip(log.bundle(incident="INC-1"))
    lines = members["events.jsonl"].splitlines(keepends=True)
    fewer = b"".join(line for line in lines if json.loads(line)["record"].get("incident_seq") != 3)
    path = rezip(log.directory / "bad.zip", members | {"events.jsonl": fewer})
    status, words = check(path, "--key", log.key)
    assert status == 2
    assert "INC-1: event number 3 is missing." in words
    assert "events.csv tells of leaves that are missing, such as 8." in words


@pytest.mark.parametrize("number", [1, 4, 7])
def test_who_leaves_an_event_out_and_adjusts_everything_is_found_by_the_receipt(log: Log, number: int) -> None:
    """Also the last event of the incident, which no number misses."""
    members = without(unzip(log.bundle(incident="INC-1")), lambda record: record.get("incident_seq") == number)
    status, words = check(rezip(log.directory / "bad.zip", members), "--key", log.key)
    assert status == 1
    assert "The receipt is of another bundle" in words
    members.pop("receipt.json")
    status, words = check(rezip(log.directory / "worse.zip", members), "--key", log.key)
    assert status == 2
    assert "The bundle has no receipt" in words


def test_a_missing_proof_or_file_makes_it_incomplete(log: Log) -> None:
    members = unzip(log.bundle(incident="INC-1"))
    fewer = b"".join(line for line in members["proofs.jsonl"].splitlines(keepends=True) if b"[4,5," not in line)
    status, words = check(rezip(log.directory / "a.zip", members | {"proofs.jsonl": fewer}), "--key", log.key)
    assert (status, "Leaf 4 has no inclusion proof." in words) == (2, True)
    for name in ("checkpoint", "events.csv", "README.txt", "receipt.json", "reasons.jsonl"):
        fewer_files = {key: value for key, value in members.items() if key != name}
        assert check(rezip(log.directory / "b.zip", fewer_files), "--key", log.key)[0] == 2, name


def test_a_reason_that_is_held_back_is_missing_and_one_that_was_erased_is_not(log: Log) -> None:
    members = unzip(log.bare())
    fewer = b"".join(members["reasons.jsonl"].splitlines(keepends=True)[1:])
    rows = members["events.csv"].replace(b"reason 0", b"")
    held_back = restated(members | {"reasons.jsonl": fewer, "events.csv": rows})
    status, words = check(rezip(log.directory / "bad.zip", held_back), "--key", log.key)
    assert (status, "Leaf 0: its reason is missing, and no erasure of it is on record." in words) == (2, True)


def test_a_bundle_is_written_as_zip64_safe_members_only(log: Log) -> None:
    with zipfile.ZipFile(log.bundle()) as bundle:
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in bundle.infolist())
        assert bundle.testzip() is None
    assert ALICE.id.encode() in unzip(log.bundle())["events.jsonl"]
