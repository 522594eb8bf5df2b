import stat
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from audit.actions import service_actor
from audit.checks import findings
from audit.erasure import rotate_seal_key
from audit.models import AuditEvent, AuditPrivate, AuditSubjectKey
from audit.queries import reason_of
from audit.sealing import (
    SealBroken,
    SealKeyError,
    add_key,
    create_key_file,
    decrypt,
    encrypt,
    key_ring,
    read_key_file,
)
from tests.audit.log import ALICE, BOB, event


@pytest.fixture
def own_key(tmp_path: Path, settings: Any) -> Path:
    """A seal key of this test's own."""
    path = tmp_path / "seal" / "key"
    create_key_file(path)
    settings.LASTGOOD_SEAL_KEY_FILE = str(path)
    return path


def test_what_is_sealed_opens_at_its_own_place_under_its_own_key_alone() -> None:
    sealed = encrypt(b"k" * 32, b"Jane", "audit_private:sealed:7")
    assert decrypt(b"k" * 32, sealed, "audit_private:sealed:7") == b"Jane"
    assert sealed != encrypt(b"k" * 32, b"Jane", "audit_private:sealed:7")
    for key, value, place in [
        (b"x" * 32, sealed, "audit_private:sealed:7"),
        (b"k" * 32, sealed, "audit_private:sealed:8"),
        (b"k" * 32, sealed[:-1] + bytes([sealed[-1] ^ 1]), "audit_private:sealed:7"),
        (b"k" * 32, sealed[:20], "audit_private:sealed:7"),
        (b"k" * 32, b"", "audit_private:sealed:7"),
    ]:
        with pytest.raises(SealBroken, match=f"sealed in {place}"):
            decrypt(key, value, place)


def test_the_seal_keys_file_is_its_owners_alone_and_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = create_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert read_key_file(path) == made
    with pytest.raises(SealKeyError, match="exists"):
        create_key_file(path)
    path.chmod(0o440)
    with pytest.raises(SealKeyError, match="chmod 400"):
        read_key_file(path)


@pytest.mark.parametrize("content", ["", "lastgood-seal-key 00000000 AAAA\n", "what?\n", "\n"])
def test_a_damaged_seal_key_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o400)
    with pytest.raises(SealKeyError):
        read_key_file(path)


def test_a_new_key_stands_first_and_keeps_the_one_before_it_for_opening(tmp_path: Path) -> None:
    path = tmp_path / "key"
    first = create_key_file(path)
    second = add_key(path)
    assert list(second.keys)[1:] == [first.current]
    third = add_key(path)
    assert list(third.keys)[1:] == [second.current]
    assert first.current not in third.keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


@pytest.mark.django_db
def test_the_database_holds_neither_the_text_nor_the_key_that_opens_it(own_key: Path) -> None:
    made = event(reason="Jane Doe asked for it")
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed FROM audit_private WHERE event_id = %s", [made.pk])
        sealed = bytes(cursor.fetchone()[0])
        cursor.execute("SELECT wrapped FROM audit_subject_key WHERE subject = 'u-alice'")
        wrapped = bytes(cursor.fetchone()[0])
    assert b"Jane" not in sealed
    data_key = key_ring().unwrap(wrapped, "u-alice")
    assert data_key not in sealed + wrapped
    assert own_key.read_bytes() not in sealed + wrapped
    assert decrypt(data_key, sealed, f"audit_private:sealed:{made.pk}")[32:] == b"Jane Doe asked for it"


@pytest.mark.django_db
def test_each_person_has_one_key_for_all_texts() -> None:
    for actor in (ALICE, ALICE, BOB):
        event(actor=actor, reason="why")
    assert sorted(AuditSubjectKey.objects.values_list("subject", flat=True)) == ["u-alice", "u-bob"]


@pytest.mark.django_db
def test_a_text_about_somebody_else_is_sealed_under_that_persons_key() -> None:
    made = event(actor=ALICE, reason="Bob left the company", subject="u-bob")
    assert AuditPrivate.objects.get(event=made).subject_id == "u-bob"


@pytest.mark.django_db
def test_a_text_moved_to_another_event_does_not_open() -> None:
    first, second = event(reason="mine"), event(reason="yours")
    sealed = AuditPrivate.objects.get(event=first).sealed
    moved = AuditPrivate.objects.get(event=second)
    moved.sealed = sealed
    with pytest.raises(SealBroken):
        moved.opened()


@pytest.mark.django_db
def test_under_a_new_seal_key_every_text_still_opens_and_the_change_is_recorded(own_key: Path) -> None:
    before = key_ring().current
    made = [event(actor=actor, reason=f"of {actor.id}") for actor in (ALICE, BOB)]
    ring, wrapped = rotate_seal_key(actor=service_actor("manage"))
    assert wrapped == 2
    assert ring.current != before
    rows = AuditSubjectKey.objects.filter(subject__in=["u-alice", "u-bob"])
    assert {bytes(row.wrapped or b"")[:4] for row in rows} == {ring.current}
    assert [reason_of(AuditEvent.objects.get(pk=one.pk)) for one in made] == ["of u-alice", "of u-bob"]
    latest = AuditEvent.objects.latest("id")
    assert (latest.action, latest.target_id) == ("seal.rotate", ring.current.hex())
    rotate_seal_key(actor=service_actor("manage"))
    assert before not in key_ring().keys
    assert reason_of(AuditEvent.objects.get(pk=made[0].pk)) == "of u-alice"


@pytest.mark.django_db
def test_a_rotation_that_was_killed_loses_no_text_when_it_is_run_again(own_key: Path) -> None:
    made = event(reason="why")
    add_key(own_key)  # killed before any key of a person's was wrapped anew
    ring, _ = rotate_seal_key(actor=service_actor("manage"))
    rows = AuditSubjectKey.objects.filter(subject="u-alice")
    assert [bytes(row.wrapped or b"")[:4] for row in rows] == [ring.current]
    assert reason_of(AuditEvent.objects.get(pk=made.pk)) == "why"


@pytest.mark.django_db
def test_a_rotation_is_refused_while_a_key_is_wrapped_by_none_of_the_files(own_key: Path) -> None:
    event(reason="why")
    add_key(own_key)
    held = add_key(own_key)
    with pytest.raises(SealBroken, match="Put the file back"):
        rotate_seal_key(actor=service_actor("manage"))
    assert read_key_file(own_key) == held


@pytest.mark.django_db
def test_without_the_seal_key_nothing_opens_and_the_sentence_says_which_key_is_wanted(
    own_key: Path, tmp_path: Path, settings: Any
) -> None:
    made, wanted = event(reason="why"), key_ring().current.hex()
    settings.LASTGOOD_SEAL_KEY_FILE = str(tmp_path / "other")
    create_key_file(tmp_path / "other")
    with pytest.raises(SealBroken, match=wanted):
        reason_of(AuditEvent.objects.get(pk=made.pk))


@pytest.mark.django_db
def test_a_start_without_the_seal_key_is_warned_of(tmp_path: Path, settings: Any) -> None:
    settings.LASTGOOD_SEAL_KEY_FILE = str(tmp_path / "none")
    words = [str(one.msg) for one in findings() if one.id == "audit.W007"]
    assert len(words) == 1
    assert "manage.py sealkey" in words[0]
    create_key_file(tmp_path / "none")
    assert not [one for one in findings() if one.id == "audit.W007"]
