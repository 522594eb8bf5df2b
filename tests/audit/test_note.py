import base64
from pathlib import Path

import pytest

from audit.merkle import EMPTY_ROOT
from audit.note import KeyFileError, checkpoint_text, create_key_file, read_key_file
from audit.verify import Checkpoint, open_note, parse_checkpoint, parse_vkey

# c2sp.org/signed-note, example
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
TEXT = "This is an example message.\n"
SIGNATURE = (
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
NOTE = f"{TEXT}\n{SIGNATURE}"


def test_the_published_note_opens_with_its_key() -> None:
    assert open_note(NOTE, VKEY) == TEXT
    assert parse_vkey(VKEY)[1].hex() == "530d903a"


def test_a_note_with_a_changed_text_does_not_open() -> None:
    with pytest.raises(ValueError, match="is wrong"):
        open_note(NOTE.replace("example message", "exemple message"), VKEY)


def test_a_note_does_not_open_with_another_key(tmp_path: Path) -> None:
    other = create_key_file(tmp_path / "key", "example.com/foo")
    with pytest.raises(ValueError, match="no signature by"):
        open_note(NOTE, other.vkey)


@pytest.mark.parametrize("note", ["", "text\n", "text\n\n", f"{TEXT}{SIGNATURE}", NOTE.rstrip("\n")])
def test_what_is_no_signed_note_does_not_open(note: str) -> None:
    with pytest.raises(ValueError, match=r"signed note|no signature"):
        open_note(note, VKEY)


@pytest.mark.parametrize("vkey", ["", "a+b", "example.com/foo+530d903b+" + VKEY.split("+")[2], VKEY[:-4] + "AAAA"])
def test_a_key_that_was_not_copied_whole_is_refused(vkey: str) -> None:
    with pytest.raises(ValueError, match=r"key|base64|id"):
        parse_vkey(vkey)


def test_an_unknown_signature_beside_ours_is_passed_over(tmp_path: Path) -> None:
    signer = create_key_file(tmp_path / "key", "lastgood.local/log")
    note = signer.sign("text\n") + "— witness.example " + base64.b64encode(bytes(68)).decode() + "\n"
    assert open_note(note, signer.vkey) == "text\n"


def test_a_checkpoint_says_origin_size_and_root() -> None:
    text = checkpoint_text("lastgood.local/log", 0, EMPTY_ROOT)
    assert text == "lastgood.local/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
    assert parse_checkpoint(text) == Checkpoint("lastgood.local/log", 0, EMPTY_ROOT)


@pytest.mark.parametrize(
    "text", ["", "a\nb\nc\n", "a\n1\nAAAA\n", "a\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"checkpoint|SHA-256"):
        parse_checkpoint(text)


def test_a_key_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "log.key"
    signer = create_key_file(path, "lastgood.local/log")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key_file(path).vkey == signer.vkey


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    before = create_key_file(path, "lastgood.local/log").vkey
    with pytest.raises(KeyFileError, match="exists"):
        create_key_file(path, "lastgood.local/log")
    assert read_key_file(path).vkey == before


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    create_key_file(path, "lastgood.local/log")
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="other users"):
        read_key_file(path)


def test_a_missing_or_damaged_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.key"
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_key_file(path)
    create_key_file(path, "lastgood.local/log")
    path.write_text(path.read_text().replace("lastgood.local/log", "other.example/log"))
    with pytest.raises(KeyFileError, match="damaged"):
        read_key_file(path)
    path.write_text("nonsense")
    with pytest.raises(KeyFileError, match="not a signing key"):
        read_key_file(path)
