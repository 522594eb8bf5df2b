"""Bundles that somebody changed, or took something out of."""

import json
from collections.abc import Callable

import pytest

from audit.merkle import leaf_hash, root_of
from audit.note import create_key_file
from tests.audit.log import ORIGIN, check, edit_record, resigned, restated, rezip, without
from tests.audit.shelf import Shelf

# Tampered with: 1


def test_the_bundles_on_the_shelf_are_whole(shelf: Shelf) -> None:
    for kind in ("whole", "incident"):
        status, words = shelf.verified(shelf.early[kind], "--witness", shelf.witness.vkey)
        assert (status, words.splitlines()[-1]) == (0, "Whole: every check passed."), words


def test_a_changed_record_is_named_by_leaf(shelf: Shelf) -> None:
    status, words = shelf.verified(edit_record(shelf.early["whole"], 2, b'"number":2', b'"number":9'))
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


def test_a_careful_change_is_found_between_two_checkpoints(shelf: Shelf) -> None:
    status, words = shelf.verified(_rewritten(shelf.early["whole"], 2, b'"number":2', b'"number":9'))
    assert status == 1
    assert "A leaf before 4 is not the one that an earlier checkpoint (size 4) was signed over." in words


def test_a_careful_change_in_a_part_is_named_by_leaf(shelf: Shelf) -> None:
    status, words = shelf.verified(_rewritten(shelf.early["incident"], 8, b"u-carol", b"u-mallo"))
    assert status == 1
    assert "Leaf 8 is not in the signed tree." in words


def test_a_wrong_hash_within_the_tree_of_a_part_is_named_with_the_leaves_under_it(shelf: Shelf) -> None:
    lines = shelf.early["incident"]["proofs.jsonl"].splitlines(keepends=True)
    at, line = next((at, line) for at, line in enumerate(lines) if line.startswith(b"[8,10,"))
    lines[at] = line[:-6] + (b"00" if line[-6:-4] != b"00" else b"11") + line[-4:]
    status, words = shelf.verified(shelf.early["incident"] | {"proofs.jsonl": b"".join(lines)})
    assert status == 1
    assert "Leaf 8 is not in the signed tree: wrong hashes over leaves 8 to 11." in words
    assert words.count("wrong hashes") == 1


def test_a_tree_signed_by_another_key_is_tampered_with(shelf: Shelf) -> None:
    forger = create_key_file(shelf.directory / "forger.key", ORIGIN)
    members = resigned(shelf.early["bare"], forger)
    assert shelf.verified(members)[0] == 1
    assert shelf.verified(members, key="")[0] == 3, "it is whole in itself; only the key from outside tells"


def test_a_changed_reason_is_tampered_with(shelf: Shelf) -> None:
    reasons = shelf.early["whole"]["reasons.jsonl"].replace(b"reason 1", b"reason 7")
    status, words = shelf.verified(shelf.early["whole"] | {"reasons.jsonl": reasons})
    assert status == 1
    assert "Leaf 1: its reason is not the text" in words


def test_a_row_of_the_table_that_says_something_else_is_tampered_with(shelf: Shelf) -> None:
    table = shelf.early["whole"]["events.csv"].replace(b'"u-bob"', b'"u-rob"')
    status, words = shelf.verified(restated(shelf.early["whole"] | {"events.csv": table}))
    assert status == 1
    assert "its row of events.csv does not say what the record says." in words


@pytest.mark.parametrize(
    "break_it",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"events.jsonl", b"../../x.json"),
        lambda data: b"not a zip",
    ],
)
def test_what_is_no_bundle_is_refused_without_a_trace(shelf: Shelf, break_it: Callable[[bytes], bytes]) -> None:
    bad = rezip(shelf.directory / "bad.zip", shelf.early["whole"])
    bad.write_bytes(break_it(bad.read_bytes()))
    status, words = check(bad, "--key", shelf.key)
    assert (status, words.splitlines()[-1]) == (1, "Tampered with.")


def test_a_line_of_endless_length_is_refused(shelf: Shelf) -> None:
    status, words = shelf.verified(shelf.early["whole"] | {"reasons.jsonl": b" " * (2 << 20)})
    assert status == 1
    assert "longer than" in words


def test_a_key_that_was_not_copied_whole_is_no_verdict(shelf: Shelf) -> None:
    assert shelf.verified(shelf.early["whole"], key=shelf.key[:-3])[0] == 64


def test_a_log_set_back_in_time_does_not_extend_an_old_checkpoint(shelf: Shelf) -> None:
    since = shelf.directory / "since.note"
    for kind in ("whole", "incident"):
        since.write_text(shelf.newer)
        status, words = shelf.verified(shelf.early[kind], "--since", str(since))
        assert (status, "history was taken back" in words) == (1, True)
        since.write_text(shelf.older)
        assert shelf.verified(shelf.parts[kind], "--since", str(since))[0] == 0


def test_a_history_that_was_written_anew_is_found_by_an_old_checkpoint_or_a_witness(shelf: Shelf) -> None:
    """By the operator, who holds the log's own key: nothing in the bundle itself is wrong."""
    rewritten = resigned(_rewritten(shelf.early["bare"], 11, b'"fence":4', b'"fence":5'), shelf.signer)
    assert shelf.verified(rewritten)[0] == 0
    since = shelf.directory / "since.note"
    since.write_text(shelf.older)
    status, words = shelf.verified(rewritten, "--since", str(since))
    assert (status, "the old checkpoint given by --since (size 13)" in words) == (1, True)
    assert shelf.verified(rewritten, "--witness", shelf.witness.vkey)[0] == 3


# Incomplete: 2


@pytest.mark.parametrize(("leaf", "words"), [(3, "Leaf 3 is missing."), (12, "Leaves 12 to 12 are missing.")])
def test_a_missing_event_makes_the_whole_log_incomplete(shelf: Shelf, leaf: int, words: str) -> None:
    lines = shelf.early["whole"]["events.jsonl"].splitlines(keepends=True)
    fewer = b"".join(line for line in lines if json.loads(line)["leaf_index"] != leaf)
    status, said = shelf.verified(shelf.early["whole"] | {"events.jsonl": fewer})
    assert status == 2
    assert words in said


def test_a_missing_event_of_an_incident_shows_by_its_number(shelf: Shelf) -> None:
    lines = shelf.early["incident"]["events.jsonl"].splitlines(keepends=True)
    fewer = b"".join(line for line in lines if json.loads(line)["record"].get("incident_seq") != 3)
    status, words = shelf.verified(shelf.early["incident"] | {"events.jsonl": fewer})
    assert status == 2
    assert "INC-1: event number 3 is missing." in words
    assert "events.csv tells of leaves that are missing, such as 8." in words


@pytest.mark.parametrize("number", [1, 4, 7])
def test_who_leaves_an_event_out_and_adjusts_everything_is_found_by_the_receipt(shelf: Shelf, number: int) -> None:
    """Also the last event of the incident, which no number misses."""
    members = without(shelf.early["incident"], lambda record: record.get("incident_seq") == number)
    status, words = shelf.verified(members)
    assert status == 1
    assert "The receipt is of another bundle" in words
    members.pop("receipt.json")
    status, words = shelf.verified(members)
    assert status == 2
    assert "The bundle has no receipt" in words


def test_a_missing_proof_or_file_makes_it_incomplete(shelf: Shelf) -> None:
    members = shelf.early["incident"]
    fewer = b"".join(line for line in members["proofs.jsonl"].splitlines(keepends=True) if b"[4,5," not in line)
    status, words = shelf.verified(members | {"proofs.jsonl": fewer})
    assert (status, "Leaf 4 has no inclusion proof." in words) == (2, True)
    for name in ("checkpoint", "events.csv", "README.txt", "receipt.json", "reasons.jsonl"):
        assert shelf.verified({key: value for key, value in members.items() if key != name})[0] == 2, name


def test_a_reason_that_is_held_back_is_missing(shelf: Shelf) -> None:
    members = shelf.early["bare"]
    fewer = b"".join(members["reasons.jsonl"].splitlines(keepends=True)[1:])
    rows = members["events.csv"].replace(b"reason 0", b"")
    status, words = shelf.verified(restated(members | {"reasons.jsonl": fewer, "events.csv": rows}))
    assert (status, "Leaf 0: its reason is missing, and no erasure of it is on record." in words) == (2, True)


def test_the_shelf_is_of_the_tree_that_was_signed(shelf: Shelf) -> None:
    lines = [json.loads(line) for line in shelf.early["bare"]["events.jsonl"].splitlines()]
    root = root_of(bytes.fromhex(line["leaf_hash"]) for line in lines)
    assert json.loads(shelf.early["bare"]["manifest.json"])["size"] == len(lines) == 13
    assert shelf.older.split("\n")[1] == "13"
    assert root.hex() in shelf.verified(shelf.early["bare"])[1]
