"""`manage.py logins`, as a superuser, as an owner who may make logins, and as one who may not."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from django.core.management import CommandError, call_command

from config.logins import LoginsError, separate
from tests.conftest import CommittedDatabase
from tests.services import Services

REFUSED = psycopg.errors.InsufficientPrivilege


@dataclass
class Place:
    """An empty database with a person's login that owns it, and names for three logins that are not there yet."""

    services: Services
    name: str

    @property
    def wanted(self) -> dict[str, str]:
        return {role: f"{self.name}_{role}" for role in ("owner", "app", "sequencer")}

    def connect(self, login: str = "", password: str = "secret") -> psycopg.Connection:
        if not login:
            return self.services.cluster.connect(self.name)
        place = f"127.0.0.1:{self.services.database_port}/{self.name}"
        return psycopg.connect(f"postgresql://{login}:{password}@{place}", autocommit=True)

    def url(self, login: str) -> str:
        return f"postgresql://{login}:secret@127.0.0.1:{self.services.database_port}/{self.name}"


@pytest.fixture
def place(services: Services) -> Iterator[Place]:
    name = f"l{uuid.uuid4().hex[:10]}"
    with services.cluster.connect("postgres") as connection:
        for login, powers in ((f"{name}_dba", "CREATEROLE"), (f"{name}_plain", "")):
            connection.execute(f"CREATE ROLE {login} LOGIN {powers} PASSWORD 'secret'")
        connection.execute(f"CREATE DATABASE {name} OWNER {name}_dba")
        yield Place(services, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for (login,) in connection.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)", [f"{name}_"]
        ).fetchall():
            connection.execute(f"DROP ROLE {login}")


def owner_of(place: Place) -> str:
    with place.connect() as connection:
        row = connection.execute(
            "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return row[0]


def test_a_superuser_makes_all_three_and_a_second_time_nothing(place: Place) -> None:
    with place.connect() as connection:
        logins = separate(connection, place.wanted, {"app": "chosen"})
        again = separate(connection, place.wanted, {})
    assert logins.made == ["owner", "app", "sequencer"]
    assert (again.made, again.passwords) == ([], {})
    assert owner_of(place) == place.wanted["owner"]
    with place.connect(place.wanted["app"], "chosen") as application, pytest.raises(REFUSED):
        application.execute("CREATE TABLE mine (id int)")
    with place.connect(place.wanted["owner"], logins.passwords["owner"]) as owner:
        owner.execute("CREATE TABLE ours (id int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        place.connect(f"{place.name}_plain")


def test_an_owner_who_may_make_logins_stays_the_owner(place: Place) -> None:
    wanted = {role: place.wanted[role] for role in ("app", "sequencer")}
    with place.connect(f"{place.name}_dba") as connection:
        logins = separate(connection, wanted, {})
    assert logins.names["owner"] == f"{place.name}_dba" == owner_of(place)
    assert logins.made == ["app", "sequencer"]
    place.connect(wanted["sequencer"], logins.passwords["sequencer"]).close()


def test_who_may_not_gets_the_statements_for_who_may(place: Place) -> None:
    with place.connect(f"{place.name}_plain") as connection:
        with pytest.raises(LoginsError, match="may not do this") as refused:
            separate(connection, place.wanted, {"owner": "mine"})
        assert connection.execute(
            "SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", [list(place.wanted.values())]
        ).fetchone() == (0,)
    statements = refused.value.statements
    assert not any("mine" in statement for statement in statements)
    assert statements[0] == f"CREATE ROLE \"{place.wanted['owner']}\" LOGIN PASSWORD 'CHOOSE ONE';"
    with place.connect() as dba:
        for statement in statements:
            dba.execute(statement)
        assert separate(dba, place.wanted, {}).made == []
    assert owner_of(place) == place.wanted["owner"]


def test_three_roles_under_one_name_are_refused(place: Place) -> None:
    with place.connect() as connection, pytest.raises(LoginsError, match="each its own name"):
        separate(connection, {"app": "lastgood_sequencer"}, {})


def test_the_command_takes_an_installation_over_with_its_tables(
    committed_db: CommittedDatabase, place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One login owned everything; afterwards three have what they need and no more."""
    monkeypatch.setenv("ADMIN_DATABASE_URL", committed_db.services.cluster.url("lastgood_super", committed_db.name))
    monkeypatch.setenv("LASTGOOD_APP_PASSWORD", "for-the-app")
    names = [f"--{role}={login}" for role, login in place.wanted.items()]
    call_command("logins", *names)
    said = capsys.readouterr()
    app = f"postgresql://{place.wanted['app']}:for-the-app@127.0.0.1:{place.services.database_port}/{committed_db.name}"
    assert f"\nDATABASE_URL={app}\n" in f"\n{said.out}"
    assert "grants stated on" in said.err
    assert committed_db.execute("SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'") == [
        (place.wanted["owner"],)
    ]
    with psycopg.connect(app, autocommit=True) as application:
        application.execute("SELECT count(*) FROM accounts_user")
        for statement in (
            "DELETE FROM audit_event",
            "INSERT INTO audit_leaf (leaf_index, event_id, leaf_hash) VALUES (0, 1, sha256(''))",
            "TRUNCATE audit_cosig",
        ):
            with pytest.raises(REFUSED):
                application.execute(statement)
    call_command("logins", *names)
    assert "New logins: none; all three were there" in capsys.readouterr().err
    committed_db.services.drop(committed_db.name)


def test_the_embedded_logins_are_left_as_they_are(
    committed_db: CommittedDatabase, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OWNER_DATABASE_URL", committed_db.services.cluster.url("lastgood_owner", committed_db.name))
    call_command("logins")
    said = capsys.readouterr()
    assert "New logins: none; all three were there; grants stated on" in said.err
    assert said.out.count("# its password is as it was") == 3
    assert committed_db.execute("SELECT count(*) FROM audit_event", login="lastgood_app") == [(0,)]


def test_the_command_prints_the_statements_and_fails_where_it_may_not(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADMIN_DATABASE_URL", place.url(f"{place.name}_plain"))
    with pytest.raises(CommandError, match="Let somebody who may"):
        call_command("logins")
    assert f'REVOKE ALL ON DATABASE "{place.name}" FROM PUBLIC;' in capsys.readouterr().out
