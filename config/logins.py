"""Three logins on one PostgreSQL: the owner (migrations), the application, and the sequencer (the log's tree)."""

import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

ROLES = ("owner", "app", "sequencer")
PLACEHOLDER = "CHOOSE ONE"

FACTS = """
    SELECT current_user::text, r.rolsuper, r.rolcreaterole, current_database()::text, o.rolname::text, o.rolsuper,
           pg_has_role(d.datdba, 'USAGE'), has_schema_privilege('public', 'CREATE')
    FROM pg_roles AS r, pg_database AS d JOIN pg_roles AS o ON o.oid = d.datdba
    WHERE r.rolname = current_user AND d.datname = current_database()
"""
KNOWN = "SELECT r.rolname::text FROM pg_roles AS r WHERE r.rolname = ANY(%s)"
# What somebody else made in our schema, extensions aside. A sequence of a column goes with its table.
FOREIGN = """
    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, c.oid::regclass::text
    FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND r.rolname <> %(owner)s
      AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
    UNION ALL
    SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc AS p JOIN pg_roles AS r ON r.oid = p.proowner
    WHERE p.pronamespace = 'public'::regnamespace AND r.rolname <> %(owner)s
      AND NOT EXISTS (SELECT 1 FROM pg_depend AS d WHERE d.objid = p.oid AND d.deptype = 'e')
"""


class LoginsError(RuntimeError):
    """The logins could not be made; ``statements`` is the SQL for somebody who may."""

    def __init__(self, sentence: str, statements: list[str]) -> None:
        super().__init__(sentence)
        self.statements = statements


@dataclass(frozen=True)
class Facts:
    """Who we are and what is there."""

    me: str
    superuser: bool
    makes_roles: bool
    database: str
    database_owner: str
    owned_by_superuser: bool
    owns_database: bool
    owner_creates: bool


@dataclass
class Logins:
    """The names of the three logins by role, and the passwords that are known: given, or drawn for a new login."""

    names: dict[str, str]
    passwords: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def url(self, role: str, place: str) -> str:
        """``postgresql://login:password@place``; without a password where it is not known."""
        password = f":{quote(self.passwords[role], safe='')}" if role in self.passwords else ""
        return f"postgresql://{quote(self.names[role], safe='')}{password}@{place}"


def role_statement(login: str, password: str, *, exists: bool) -> sql.Composed:
    """Make a login without powers, or give one that exists its password."""
    what = "ALTER ROLE {} LOGIN PASSWORD {}" if exists else "CREATE ROLE {} LOGIN PASSWORD {}"
    return sql.SQL(what).format(sql.Identifier(login), sql.Literal(password))


def database_statements(database: str, app: str, sequencer: str) -> list[sql.Composed]:
    """Nobody but the two, the owner and superusers may connect."""
    name = sql.Identifier(database)
    return [
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}").format(name, sql.Identifier(app), sql.Identifier(sequencer)),
    ]


def separate(connection: psycopg.Connection[Any], wanted: dict[str, str], given: dict[str, str]) -> Logins:
    """Make what is missing of the three logins and give the database and all in its schema to the owner; repeatable.

    ``wanted`` names logins by role where they shall not be the usual ones; ``given`` holds passwords by role. Without
    a name the owner is who owns the database already, unless that is a superuser. Raises LoginsError, with the
    statements for somebody who may, where this login may not; nothing has been changed then.
    """
    facts = Facts(*connection.execute(FACTS).fetchone())  # type: ignore[misc]
    owner = wanted.get("owner") or ("lastgood_owner" if facts.owned_by_superuser else facts.database_owner)
    names = {"app": "lastgood_app", "sequencer": "lastgood_sequencer"} | wanted | {"owner": owner}
    if len(set(names.values())) < len(ROLES):
        raise LoginsError("Owner, application and sequencer must be three logins; give each its own name.", [])
    logins = Logins(names, dict(given))
    known = {row[0] for row in connection.execute(KNOWN, [list(names.values())]).fetchall()}
    roles = _roles(logins, known)
    rest = _database(connection, facts, logins)
    refused = (roles and not (facts.superuser or facts.makes_roles)) or not (facts.superuser or facts.owns_database)
    if refused:
        shown = _roles(Logins(names, dict.fromkeys(given, PLACEHOLDER)), known, drawn=PLACEHOLDER)
        raise LoginsError(
            f"The login {facts.me} may not do this on the database {facts.database}. Let somebody who may run the "
            "statements below, with passwords of your own; then run this again.",
            [f"{statement.as_string(connection)};" for statement in [*shown, *rest]],
        )
    with connection.transaction():
        for statement in [*roles, *rest]:
            connection.execute(statement)
    return logins


def _roles(logins: Logins, known: set[str], drawn: str = "") -> list[sql.Composed]:
    """For logins that are missing, with a drawn password where none was given, and for those with a given one."""
    statements = []
    for role in ROLES:
        login = logins.names[role]
        if login not in known:
            logins.made.append(role)
            logins.passwords.setdefault(role, drawn or secrets.token_urlsafe(32))
        if role in logins.passwords:
            statements.append(role_statement(login, logins.passwords[role], exists=login in known))
    return statements


def _database(connection: psycopg.Connection[Any], facts: Facts, logins: Logins) -> list[sql.Composed]:
    names = logins.names
    owner = sql.Identifier(names["owner"])
    statements = []
    if facts.database_owner != names["owner"]:
        change = sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(facts.database), owner)
        statements.append(change)
    statements += database_statements(facts.database, names["app"], names["sequencer"])
    if facts.superuser:
        statements.append(sql.Composed([sql.SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC")]))
    if facts.superuser or not facts.owner_creates:
        statements.append(sql.SQL("GRANT USAGE, CREATE ON SCHEMA public TO {}").format(owner))
    for kind, name in connection.execute(FOREIGN, {"owner": names["owner"]}).fetchall():
        # Both come quoted from the catalogue.
        change = sql.SQL("ALTER {} {} OWNER TO ").format(sql.SQL(kind), sql.SQL(name)) + owner
        statements.append(change)
    return statements
