from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from audit.models import AuditSequencer
from audit.refusal import RefusesToSign
from audit.rehash import Rehash
from audit.sequencer import Sequencer
from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase

FORGE = "UPDATE audit_event SET canon = canon || ' '::bytea WHERE id = (SELECT event_id FROM audit_leaf {where})"
BOTH = "UPDATE audit_leaf SET leaf_hash = sha256('\\x00'::bytea || (SELECT canon FROM audit_event WHERE id = event_id))"


@pytest.fixture
def sequencer(committed_db: CommittedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sequencer]:
    """A signed log of five events, whose re-hashing takes two leaves at a time."""
    monkeypatch.setattr("audit.rehash.LEAST", 2)
    for number in range(5):
        event(target=f"t-{number}")
    sequencer = sequencer_in(tmp_path)
    sequence_all(sequencer)
    sequencer.rehash.rest_seconds = 0
    yield sequencer
    connections["sequencer"].close()


def pieces(sequencer: Sequencer, many: int) -> list[int]:
    """The first leaf that is still to be re-hashed, after each piece."""
    places = []
    for _ in range(many):
        sequencer.rehash.last_piece = 0.0
        sequencer.look_back()
        places.append(AuditSequencer.objects.get().rehash_next)
    return places


def by_the_owner(db: CommittedDatabase, *statements: str) -> None:
    for table in ("audit_event", "audit_leaf", "audit_checkpoint"):
        db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER", login="lastgood_owner")
    for statement in statements:
        db.execute(statement, login="lastgood_owner")


def test_a_pass_over_the_log_goes_on_where_it_stood_after_a_restart(sequencer: Sequencer) -> None:
    assert pieces(sequencer, 2) == [2, 4]
    event()
    sequence_all(sequencer)
    again = Rehash(sequencer.signer)
    with connections["sequencer"].cursor() as cursor:
        again.load(cursor)
    sequencer.rehash = again
    assert pieces(sequencer, 1) == [0]
    state = AuditSequencer.objects.get()
    assert (state.rehashed_size, state.rehash_size, state.refused) == (5, 0, "")
    assert state.rehashed_at is not None


def test_the_next_pass_rests_first(sequencer: Sequencer) -> None:
    sequencer.rehash.rest_seconds = 3600
    assert pieces(sequencer, 5) == [2, 4, 0, 0, 0]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ([FORGE.format(where="WHERE leaf_index = 3")], "Leaf 3: the stored record is not the one"),
        ([FORGE.format(where="WHERE leaf_index = 3"), BOTH], "The first 5 leaves, hashed again, miss the root"),
        (["DELETE FROM audit_leaf WHERE leaf_index = 4"], "Leaf 4 is missing"),
        (["DELETE FROM audit_checkpoint WHERE size = 5"], "The checkpoint at 5 is not as this key signed it"),
    ],
)
def test_what_changed_after_it_was_signed_stops_the_signing(
    sequencer: Sequencer, committed_db: CommittedDatabase, statements: list[str], words: str
) -> None:
    by_the_owner(committed_db, *statements)
    with pytest.raises(RefusesToSign, match=words):
        pieces(sequencer, 3)


def test_what_was_not_stored_as_it_was_made_is_not_signed(
    sequencer: Sequencer, committed_db: CommittedDatabase
) -> None:
    committed_db.execute(
        "CREATE FUNCTION rot() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.leaf_hash = sha256('rot'); RETURN NEW; END $$"
    )
    committed_db.execute("CREATE TRIGGER rot BEFORE INSERT ON audit_leaf FOR EACH ROW EXECUTE FUNCTION rot()")
    event()
    with pytest.raises(RefusesToSign, match="Leaf 5 was not stored as it was made"):
        sequence_all(sequencer)
    assert committed_db.execute("SELECT max(size), count(*) FROM audit_checkpoint") == [(5, 1)]
    assert committed_db.execute("SELECT count(*) FROM audit_leaf") == [(5,)]
