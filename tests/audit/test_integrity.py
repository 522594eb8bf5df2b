from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from pytest_django.fixtures import Settings

from audit.export import _proven
from audit.integrity import verify_log
from audit.models import AuditEvent
from audit.note import create_key_file
from audit.sequencer import Sequencer
from audit.watch import witnessed
from tests.audit.log import cosigned, event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase


@pytest.fixture
def sequencer(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Sequencer]:
    """Six events, three of them of one incident, in two checkpoints."""
    sequencer = sequencer_in(tmp_path)
    for number in range(6):
        event(incident="INC-1" if number % 2 else "", data={"number": number}, target=f"t-{number}")
        if number == 2:
            sequence_all(sequencer)
    sequence_all(sequencer)
    yield sequencer
    connections["sequencer"].close()


def test_a_whole_log_is_whole(sequencer: Sequencer, capsys: pytest.CaptureFixture[str]) -> None:
    report = verify_log(sequencer.signer.vkey)
    assert (report.problems, report.size, report.checkpoints) == ([], 6, 2)
    assert report.root == sequencer.frontier.root()
    call_command("audit", "verify", key=sequencer.signer.vkey)
    assert "The log is whole: 6 leaves" in capsys.readouterr().out


REHASH = (
    "UPDATE audit_leaf SET leaf_hash = sha256('\\x00'::bytea || (SELECT canon FROM audit_event WHERE id = event_id))"
)
FORGE = (
    "UPDATE audit_event SET canon = replace(convert_from(canon, 'UTF8'), 't-2', 't-9')::bytea WHERE target_id = 't-2'"
)


@pytest.mark.parametrize(
    ("statements", "leaf", "words"),
    [
        ([FORGE], 2, "Leaf 2: the stored record is not the one"),
        (
            [FORGE, REHASH, "UPDATE audit_event SET target_id = 't-9' WHERE target_id = 't-2'"],
            0,
            "at 3: a leaf from 0 on",
        ),
        (
            ["UPDATE audit_event SET actor = 'u-mallory' WHERE target_id = 't-4'"],
            4,
            "the column actor says 'u-mallory'",
        ),
        (["UPDATE audit_event SET occurred_at = now() WHERE target_id = 't-4'"], 4, "the column occurred_at"),
        (["DELETE FROM audit_leaf WHERE leaf_index = 1"], 1, "Leaf 1 is missing."),
        (
            ["DELETE FROM audit_leaf WHERE leaf_index = 5"],
            None,
            "The tree has 5 leaves; the last checkpoint was signed at 6",
        ),
        (["UPDATE audit_checkpoint SET note = replace(note, 'log', 'lag') WHERE size = 3"], None, "at 3 is not signed"),
        (["UPDATE audit_checkpoint SET note = 'nothing' WHERE size = 3"], None, "The checkpoint at 3 can't be read"),
        (
            ["UPDATE audit_checkpoint SET root = sha256('x') WHERE size = 3"],
            None,
            "at 3 does not say what its row says",
        ),
    ],
)
def test_abuse_64_what_an_owner_changed_behind_disabled_triggers_is_named(
    sequencer: Sequencer, committed_db: CommittedDatabase, statements: list[str], leaf: int | None, words: str
) -> None:
    tables = ("audit_event", "audit_leaf", "audit_checkpoint")
    for table in tables:
        committed_db.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER", login="lastgood_owner")
    for statement in statements:
        committed_db.execute(statement, login="lastgood_owner")
    for table in tables:
        committed_db.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_change", login="lastgood_owner")
        committed_db.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_truncate", login="lastgood_owner")
    report = verify_log(sequencer.signer.vkey)
    assert any(words in problem for problem in report.problems), report.problems
    assert report.first_bad_leaf == leaf
    assert not any("triggers" in problem for problem in report.problems)


def test_the_command_names_the_first_bad_leaf_and_fails(sequencer: Sequencer, committed_db: CommittedDatabase) -> None:
    committed_db.execute("ALTER TABLE audit_event DISABLE TRIGGER USER", login="lastgood_owner")
    committed_db.execute(FORGE, login="lastgood_owner")
    with pytest.raises(CommandError, match=r"not whole. The first bad leaf is 2\."):
        call_command("audit", "verify")


def test_disabled_triggers_alone_are_found(sequencer: Sequencer, committed_db: CommittedDatabase) -> None:
    committed_db.execute("ALTER TABLE audit_leaf DISABLE TRIGGER audit_leaf_no_truncate", login="lastgood_owner")
    assert verify_log().problems == ["The triggers that keep audit_leaf append-only are not all enabled."]


def test_an_event_that_its_owner_slipped_in_behind_the_tree_is_found(
    sequencer: Sequencer, committed_db: CommittedDatabase
) -> None:
    committed_db.execute(
        "SET lastgood.restoring = 'on';"
        " INSERT INTO audit_event (xid, event_uuid, canon, occurred_at, action, outcome, actor_kind, actor,"
        " target_kind, target_id, target_version, incident) VALUES"
        " ('5', gen_random_uuid(), '{}', now(), 'a.b', 'success', 'user', 'u', 't', '1', '', '')",
        login="lastgood_owner",
    )
    assert [problem.split(" ", 2)[2] for problem in verify_log().problems] == [
        "was committed before the last checkpoint and has no leaf."
    ]


def test_signatures_of_another_key_are_found(sequencer: Sequencer, tmp_path: Path) -> None:
    other = create_key_file(tmp_path / "other.key", "lastgood.local/log")
    assert len(verify_log(other.vkey).problems) == 2


def test_a_witness_that_has_a_new_key_has_still_signed_by_its_old_one(
    sequencer: Sequencer, tmp_path: Path, settings: Settings
) -> None:
    name = "witness.example/w1"
    old, new = (create_key_file(tmp_path / f"{age}.key", name) for age in ("old", "new"))
    settings.LASTGOOD_WITNESSES = [old.vkey]
    cosigned(old)
    event()
    sequence_all(sequencer)
    settings.LASTGOOD_WITNESSES = [old.vkey, new.vkey]
    note = cosigned(new)
    assert verify_log(sequencer.signer.vkey).problems == []
    found = witnessed()
    assert (found.size, found.forged, found.configured) == (sequencer.frontier.size, [], [name])
    assert _proven(AuditEvent.objects.latest("id"), "default") == (sequencer.frontier.size - 1, note, True)

    settings.LASTGOOD_WITNESSES = [new.vkey]
    assert verify_log(sequencer.signer.vkey).problems == [
        f"The checkpoint at 6 was not signed by {name}, whose signature is kept beside it."
    ]
    settings.LASTGOOD_WITNESSES = [old.vkey]
    assert witnessed().forged == [name]
