from pathlib import Path

import psycopg
import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from audit.checks import findings, tell_at_start
from audit.integrity import verify_log
from audit.queries import status
from config import grants
from tests.audit.log import event, sequencer_in
from tests.conftest import CommittedDatabase

PARTITION = "CREATE TABLE audit_event_2026 () INHERITS (audit_event)"
INSERT = (
    "INSERT INTO audit_event_2026 (id, event_uuid, canon, occurred_at, action, outcome, actor_kind, actor, target_kind,"
    " target_id, target_version, incident) VALUES (1, gen_random_uuid(), '{}', now(), 'a.b', 'success', 'user', 'u',"
    " 't', '1', '', '')"
)
CHANGES = (
    "UPDATE audit_event_2026 SET actor = 'x'",
    "UPDATE audit_event SET actor = 'x'",
    "DELETE FROM audit_event_2026",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event_2026",
)


def said(**options: str) -> list[str]:
    return [f"{one.id} {one.msg}" for one in findings(**options)]


def test_an_installation_as_it_is_made_lacks_nothing(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    assert said() == said(alias="sequencer", role="sequencer") == []
    key = tmp_path / "log.key"
    assert said(key_file=str(key)) == []
    key.write_text("key")
    assert said(key_file=str(key)) == ["audit.W006 This process can read the log's signing key."]


def test_a_child_of_the_log_is_protected_as_the_log_itself(committed_db: CommittedDatabase) -> None:
    committed_db.execute("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO lastgood_app", login="lastgood_owner")
    committed_db.execute(PARTITION, login="lastgood_owner")
    committed_db.execute(INSERT, login="lastgood_owner")
    assert said() == [
        "audit.W001 The triggers that keep audit_event_2026 append-only are not all enabled.",
        "audit.W001 The trigger that states when an event came into audit_event_2026 is off.",
        "audit.W003 lastgood_app has DELETE, TRIGGER, TRUNCATE, UPDATE on audit_event_2026.",
        "audit.W004 The default privileges of lastgood_owner give lastgood_app DELETE, TRIGGER, TRUNCATE, UPDATE on "
        "every new table.",
    ]
    assert "The triggers that keep audit_event_2026 append-only are not all enabled." in verify_log().problems
    grants.apply()
    assert said() == []
    for statement in CHANGES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            committed_db.execute(statement, login="lastgood_app")
        for login in ("lastgood_owner", "lastgood_super"):
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
                committed_db.execute(statement, login=login)
    with psycopg.connect(committed_db.services.cluster.url("lastgood_super", committed_db.name)) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            connection.execute("TRUNCATE audit_event_2026")
    assert committed_db.execute("SELECT actor FROM audit_event_2026") == [("u",)]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="audit_event_id_seq"):
        committed_db.execute(INSERT, login="lastgood_app")
    committed_db.execute("CREATE TABLE later (id int)", login="lastgood_owner")
    assert committed_db.execute("SELECT has_table_privilege('lastgood_app', 'later', 'SELECT')") == [(False,)]


def test_a_real_partition_is_protected_and_its_truncation_refused(committed_db: CommittedDatabase) -> None:
    """The table of nodes made anew as a partitioned one, as an installation with many leaves might keep it."""
    owner = "lastgood_owner"
    committed_db.execute("DROP TABLE audit_node", login=owner)
    committed_db.execute(
        "CREATE TABLE audit_node (level smallint, position bigint, hash bytea) PARTITION BY LIST (level)", login=owner
    )
    committed_db.execute("CREATE TABLE audit_node_1 PARTITION OF audit_node FOR VALUES IN (1)", login=owner)
    for name, what in (("no_change", "UPDATE OR DELETE"), ("no_truncate", "TRUNCATE")):
        each = "ROW" if name == "no_change" else "STATEMENT"
        committed_db.execute(
            f"CREATE TRIGGER audit_node_{name} BEFORE {what} ON audit_node FOR EACH {each} "
            "EXECUTE FUNCTION audit_refuse_change()",
            login=owner,
        )
    committed_db.execute("INSERT INTO audit_node VALUES (1, 0, sha256('x'))", login=owner)
    assert [one.split()[5] for one in said()] == ["audit_node", "audit_node_1"]
    grants.apply()
    assert said() == []
    for statement in ("TRUNCATE audit_node_1", "DELETE FROM audit_node", "UPDATE audit_node_1 SET position = 2"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            committed_db.execute(statement, login="lastgood_super")
    assert committed_db.execute("SELECT count(*) FROM audit_node") == [(1,)]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE audit_leaf DISABLE TRIGGER audit_leaf_no_truncate", "keep audit_leaf append-only"),
        ("ALTER TABLE audit_leaf ENABLE TRIGGER audit_leaf_no_change", "keep audit_leaf append-only"),
        (
            "CREATE OR REPLACE TRIGGER audit_leaf_no_change BEFORE UPDATE OR DELETE ON audit_leaf FOR EACH ROW "
            "WHEN (OLD.leaf_index > 5) EXECUTE FUNCTION audit_refuse_change()",
            "keep audit_leaf append-only",
        ),
        ("GRANT UPDATE (actor) ON audit_event TO lastgood_app", "lastgood_app has UPDATE on audit_event"),
        ("GRANT DELETE ON audit_checkpoint TO PUBLIC", "everybody (PUBLIC) has DELETE on audit_checkpoint"),
        ("GRANT INSERT ON audit_leaf TO lastgood_app", "The app login lastgood_app may insert into audit_leaf"),
        (
            "CREATE OR REPLACE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN coalesce(NEW, OLD); END'",
            "audit_refuse_change, which the triggers call, does not refuse",
        ),
        ("ALTER TABLE audit_event ENABLE TRIGGER audit_event_stamp", "when an event came into audit_event is off"),
        (
            "CREATE OR REPLACE FUNCTION audit_stamp_event() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN NEW; END'",
            "audit_stamp_event, which the triggers call, does not state the transaction",
        ),
    ],
)
def test_what_is_missing_is_named(committed_db: CommittedDatabase, statement: str, words: str) -> None:
    committed_db.execute(statement, login="lastgood_owner")
    found = said()
    assert len(found) == 1
    assert words in found[0]


def test_an_application_that_is_the_owner_or_a_superuser_is_named(committed_db: CommittedDatabase) -> None:
    assert said(alias="owner") == ["audit.W005 The app login lastgood_owner owns the log's tables."]


def test_the_check_asks_the_database_where_it_is_named(committed_db: CommittedDatabase) -> None:
    committed_db.execute("ALTER TABLE audit_event DISABLE TRIGGER USER", login="lastgood_owner")
    assert [one.id for one in run_checks(databases=["default"]) if one.id.startswith("audit.")] == ["audit.W001"] * 2
    assert not [one for one in run_checks() if one.id.startswith("audit.")]
    call_command("grants")
    assert said() == []


def test_what_is_missing_is_told_at_start(committed_db: CommittedDatabase, caplog: pytest.LogCaptureFixture) -> None:
    event()
    committed_db.execute("ALTER TABLE audit_event DISABLE TRIGGER USER", login="lastgood_owner")
    tell_at_start("")
    told = "The triggers that keep audit_event append-only are not all enabled. Run as the owner: manage.py grants."
    assert f"{told} (audit.W001)" in caplog.text


def test_the_sequencer_sees_that_the_protection_was_taken_away_and_given_back(
    committed_db: CommittedDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.sequencer.PROTECTION_SECONDS", 0)
    event()
    sequencer = sequencer_in(tmp_path)

    def alarms() -> list[str]:
        sequencer.rehash.last_piece = 0.0
        sequencer.look_back()
        return status().alarms

    assert alarms() == []
    committed_db.execute("ALTER TABLE audit_leaf DISABLE TRIGGER USER", login="lastgood_owner")
    assert [alarm.split(" Run")[0] for alarm in alarms()] == [
        "The triggers that keep audit_leaf append-only are not all enabled."
    ]
    grants.apply()
    assert alarms() == []
    sequencer.connection.close()
