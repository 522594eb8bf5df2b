"""What each login may do, as the database itself answers."""

import psycopg
import pytest

from config import grants

REFUSED = psycopg.errors.InsufficientPrivilege


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_event SET actor = 'somebody else'",
        "DELETE FROM audit_event",
        "TRUNCATE audit_event",
        "INSERT INTO audit_leaf (leaf_index, leaf_hash) VALUES (0, '')",
        "TRUNCATE accounts_user CASCADE",
        "CREATE TABLE mine (id int)",
        "DELETE FROM django_migrations",
        "SELECT rolpassword FROM pg_authid",
        "SET ROLE lastgood_sequencer",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_may_not(committed_db, statement):
    with pytest.raises(REFUSED):
        committed_db.execute(statement, login="lastgood_app")


def test_the_application_may_work_on_ordinary_tables(committed_db):
    assert committed_db.execute("SELECT count(*) FROM accounts_user", login="lastgood_app") == [(0,)]
    assert committed_db.execute("DELETE FROM django_session RETURNING 1", login="lastgood_app") == []


@pytest.mark.parametrize("statement", ["SELECT password FROM accounts_user", "UPDATE audit_leaf SET leaf_hash = ''"])
def test_the_sequencer_may_not(committed_db, statement):
    with pytest.raises(REFUSED):
        committed_db.execute(statement, login="lastgood_sequencer")


def test_a_partition_has_the_grants_of_its_table(committed_db, monkeypatch):
    committed_db.execute("CREATE TABLE kept (at date) PARTITION BY RANGE (at)", login="lastgood_owner")
    committed_db.execute(
        "CREATE TABLE kept_2026 PARTITION OF kept FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        login="lastgood_owner",
    )
    monkeypatch.setitem(grants.OWN, "kept", {"app": ["SELECT", "INSERT"]})
    grants.apply()
    ask = "SELECT has_table_privilege('lastgood_app', 'kept_2026', %s)"
    answers = {verb: committed_db.execute(ask, verb)[0][0] for verb in ("SELECT", "INSERT", "UPDATE", "DELETE")}
    assert answers == {"SELECT": True, "INSERT": True, "UPDATE": False, "DELETE": False}


def test_grants_given_by_hand_are_taken_back(committed_db):
    committed_db.execute("GRANT UPDATE, TRUNCATE ON audit_event TO lastgood_app", login="lastgood_owner")
    committed_db.execute("GRANT ALL ON audit_leaf TO PUBLIC", login="lastgood_owner")
    assert grants.apply() > 20
    with pytest.raises(REFUSED):
        committed_db.execute("UPDATE audit_event SET actor = 'x'", login="lastgood_app")
    with pytest.raises(REFUSED):
        committed_db.execute("DELETE FROM audit_leaf", login="lastgood_app")


def test_nothing_is_granted_where_the_logins_are_one(committed_db, settings, monkeypatch):
    for options in settings.DATABASES.values():
        monkeypatch.setitem(options, "USER", "lastgood_owner")
    assert grants.apply() == 0
