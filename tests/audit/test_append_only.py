from pathlib import Path

import psycopg
import pytest

from tests.audit.log import event, sequence_all, sequencer_in
from tests.conftest import CommittedDatabase

COLUMNS = {"audit_event": "action", "audit_leaf": "leaf_hash", "audit_checkpoint": "note", "audit_log_key": "vkey"}
CHANGES = ["UPDATE {table} SET {column} = {column}", "DELETE FROM {table}", "TRUNCATE {table} CASCADE"]
EVERY = [(change.format(table=table, column=column), table) for table, column in COLUMNS.items() for change in CHANGES]


@pytest.fixture
def filled(committed_db: CommittedDatabase) -> CommittedDatabase:
    """One row in each of the four tables, written by the logins that may."""
    made = event()
    for statement in (
        f"INSERT INTO audit_leaf (leaf_index, event_id, leaf_hash) VALUES (0, {made.pk}, sha256(''))",
        "INSERT INTO audit_checkpoint (size, root, note, created_at, last_xid, last_id)"
        " VALUES (1, sha256(''), 'note', now(), '1', 1)",
        "INSERT INTO audit_log_key (key_id, vkey, first_used_at) VALUES ('00000000', 'vkey', now())",
    ):
        committed_db.execute(statement, login="lastgood_sequencer")
    return committed_db


def rows(db: CommittedDatabase) -> list[list[tuple[object, ...]]]:
    return [db.execute(f"SELECT * FROM {table}") for table in COLUMNS]


@pytest.mark.parametrize("login", ["lastgood_app", "lastgood_sequencer"])
def test_abuse_63_neither_the_application_nor_the_sequencer_may_change_the_log(
    filled: CommittedDatabase, login: str
) -> None:
    before = rows(filled)
    for statement, _ in EVERY:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            filled.execute(statement, login=login)
    assert rows(filled) == before


@pytest.mark.parametrize("login", ["lastgood_owner", "lastgood_super"])
def test_owner_and_superuser_meet_triggers(filled: CommittedDatabase, login: str) -> None:
    before = rows(filled)
    for statement, _ in EVERY:
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="append-only"):
            filled.execute(statement, login=login)
    assert rows(filled) == before


def test_the_triggers_fire_for_a_superuser_who_plays_replica_too(filled: CommittedDatabase) -> None:
    before = rows(filled)
    with psycopg.connect(filled.services.cluster.url("lastgood_super", filled.name), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement, _ in EVERY:
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
                connection.execute(statement)
    assert rows(filled) == before


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO audit_leaf (leaf_index, event_id, leaf_hash) SELECT 9, id, sha256('') FROM audit_event",
        "INSERT INTO audit_log_key (key_id, vkey, first_used_at) VALUES ('1', 'k', now())",
        "ALTER TABLE audit_event DISABLE TRIGGER ALL",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_can_neither_make_leaves_nor_disarm_the_triggers(
    filled: CommittedDatabase, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.execute(statement, login="lastgood_app")


@pytest.mark.parametrize("table", ["audit_private", "audit_incident_counter"])
def test_the_sequencer_reads_no_texts(filled: CommittedDatabase, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.execute(f"SELECT * FROM {table}", login="lastgood_sequencer")


def test_the_sequencer_records_no_events(filled: CommittedDatabase) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.execute(
            "INSERT INTO audit_event (event_uuid, canon, occurred_at, action, outcome, actor_kind, actor, target_kind,"
            " target_id, target_version, incident) VALUES"
            " (gen_random_uuid(), '{}', now(), 'a.b', 'success', 'user', 'u', 't', '1', '', '')",
            login="lastgood_sequencer",
        )


def inserted(**stated: str) -> str:
    """INSERT of an event whose record says what its columns say, but for what is given as SQL."""
    values = {
        "event_uuid": "'11111111-1111-4111-8111-111111111111'",
        "occurred_at": "m.moment",
        "action": "'a.b'",
        "outcome": "'success'",
        "actor_kind": "'user'",
        "actor": "'u'",
        "target_kind": "'t'",
        "target_id": "'1'",
        "target_version": "''",
        "incident": "''",
    } | stated
    at = """to_char(m.moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
    record = """'{"event_id":"11111111-1111-4111-8111-111111111111","occurred_at":"' || """ + at + """ || '"}'"""
    values = {"canon": f"convert_to({record}, 'UTF8')"} | values
    source = "(SELECT clock_timestamp() AS moment) AS m"
    return f"INSERT INTO audit_event ({', '.join(values)}) SELECT {', '.join(values.values())} FROM {source}"


def test_the_transaction_of_an_event_is_stated_by_the_database(committed_db: CommittedDatabase, tmp_path: Path) -> None:
    committed_db.execute(inserted(xid="'3'"), login="lastgood_app")
    ((xid, current),) = committed_db.execute(
        "SELECT xid::text::bigint, pg_current_xact_id()::text::bigint FROM audit_event"
    )
    assert 3 < xid < current
    assert sequence_all(sequencer_in(tmp_path)) == 1, "it is sequenced, and not passed over as older than the tree"


def test_neither_place_nor_moment_of_an_event_is_the_writers_to_choose(committed_db: CommittedDatabase) -> None:
    for stated, words in (
        ({"id": "nextval('audit_event_id_seq') + 5"}, "The id of an event is drawn by the database; 6 was given"),
        ({"occurred_at": "m.moment - interval '1 hour'"}, "it must have happened in this transaction"),
        ({"occurred_at": "m.moment + interval '1 hour'"}, "it must have happened in this transaction"),
        ({"occurred_at": "m.moment + interval '1 microsecond'"}, "states another id or moment than its row"),
        ({"event_uuid": "'22222222-2222-4222-8222-222222222222'"}, "states another id or moment than its row"),
        ({"canon": "'{}'"}, "states another id or moment than its row"),
    ):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=words):
            committed_db.execute(f"SET lastgood.restoring = 'on'; {inserted(**stated)}", login="lastgood_app")
    assert committed_db.execute("SELECT * FROM audit_event") == []
