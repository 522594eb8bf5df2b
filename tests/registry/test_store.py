"""The artifact store: what is in it is what its name says, or it is said that it is not."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from registry import store


@pytest.fixture(autouse=True)
def _store_of_its_own(settings: Any, tmp_path: Path) -> None:
    settings.LASTGOOD_VAR = tmp_path / "var"


def test_bytes_are_found_again_under_their_sha256() -> None:
    sha256 = store.put_bytes(b"weights")

    assert sha256 == hashlib.sha256(b"weights").hexdigest()
    assert store.path(sha256) == store.root() / sha256[:2] / sha256
    with store.open_verified(sha256) as file:
        assert file.read() == b"weights"


def test_storing_the_same_bytes_again_keeps_one_file_and_no_drafts() -> None:
    store.put_bytes(b"weights")
    store.put_bytes(b"weights")

    assert len([path for path in store.root().rglob("*") if path.is_file()]) == 1


def test_a_damaged_file_is_named_and_not_handed_out() -> None:
    sha256 = store.put_bytes(b"weights")
    store.path(sha256).write_bytes(b"weightz")

    with pytest.raises(store.ArtifactDamaged, match=sha256[:12]), store.open_verified(sha256):
        pass


def test_a_damaged_file_is_mended_by_storing_it_again() -> None:
    sha256 = store.put_bytes(b"weights")
    store.path(sha256).write_bytes(b"weightz")

    store.put_bytes(b"weights")

    with store.open_verified(sha256) as file:
        assert file.read() == b"weights"


def test_a_missing_file_is_an_os_error_that_says_what_to_do() -> None:
    with pytest.raises(store.ArtifactMissing, match="Upload it again") as raised, store.open_verified("ab" * 32):
        pass
    assert isinstance(raised.value, OSError)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n"])
def test_only_a_sha256_is_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        store.path(name)


def test_a_stream_that_is_not_what_was_promised_is_not_stored() -> None:
    with pytest.raises(store.DigestMismatch, match="Nothing was stored"):
        store.put_stream([b"wei", b"ghtz"], hashlib.sha256(b"weights").hexdigest())

    assert [path for path in store.root().rglob("*") if path.is_file()] == []


def test_a_stream_in_pieces_is_stored_whole() -> None:
    sha256 = hashlib.sha256(b"weights").hexdigest()

    assert store.put_stream([b"wei", b"ghts"], sha256) == 7
    assert store.path(sha256).read_bytes() == b"weights"


def test_what_died_half_written_goes_after_a_while_and_what_is_in_hand_stays() -> None:
    drafts = store.root() / "drafts"
    drafts.mkdir(parents=True)
    for name in ("dead", "young", "locked.part"):
        (drafts / name).write_bytes(b"half")
        os.utime(drafts / name, (1000, 1000 if name != "young" else 3000))

    with (drafts / "locked.part").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert store.drop_drafts(2000) == 1

    assert sorted(path.name for path in drafts.iterdir()) == ["locked.part", "young"]
