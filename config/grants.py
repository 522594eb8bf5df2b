"""Who may do what with which table, stated in full after every migration, on every partition."""

from importlib import import_module
from importlib.util import find_spec

from django.apps import apps
from django.conf import settings
from django.db import connections, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

Grants = dict[str, dict[str, list[str]]]

EVERYTHING = ["SELECT", "INSERT", "UPDATE", "DELETE"]
OWN: Grants = {"django_migrations": {"app": ["SELECT"], "sequencer": []}}
# A table's name with the name whose grants hold for it: a partition's is the one of the table at its root.
TABLES = """
    SELECT c.relname, coalesce(root.relname, c.relname)
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    LEFT JOIN pg_class root ON root.oid = pg_partition_root(c.oid)
    WHERE c.relkind IN ('r', 'p', 'v', 'm')
    ORDER BY 1
"""
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"


def separated() -> bool:
    """Whether application, owner and sequencer sign in as three different logins."""
    users = {settings.DATABASES[alias].get("USER") for alias in ("default", "owner", "sequencer")}
    return len(users) == 3


def declared() -> Grants:
    """What apps declare in their `grants.py`: table -> {"app": [...], "sequencer": [...]}."""
    found: Grants = dict(OWN)
    for app in apps.get_app_configs():
        name = f"{app.name}.grants"
        if app.name != "config" and find_spec(name):
            found |= getattr(import_module(name), "GRANTS", {})
    return found


def apply() -> int:
    """Replace every privilege of the application's and the sequencer's login, in one transaction of the owner.

    Returns the number of tables; 0, and nothing is changed, where the three logins are not separated.
    """
    if not separated():
        return 0
    logins = {"app": "default", "sequencer": "sequencer"}
    roles = {role: str(settings.DATABASES[alias]["USER"]) for role, alias in logins.items()}
    rules = declared()
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        _start_from_nothing(cursor, list(roles.values()))
        cursor.execute(TABLES)
        tables = cursor.fetchall()
        for table, ruled_by in tables:
            rule = rules.get(ruled_by, {"app": EVERYTHING})
            for role, login in roles.items():
                _grant(cursor, rule.get(role, []), table, login)
        cursor.execute(SEQUENCES)
        for (sequence,) in cursor.fetchall():
            _grant(cursor, ["USAGE", "SELECT"], sequence, roles["app"], kind="SEQUENCE")
    return len(tables)


def _start_from_nothing(cursor: CursorWrapper, logins: list[str]) -> None:
    for grantee in [sql.SQL("PUBLIC"), *map(sql.Identifier, logins)]:
        for objects in ("TABLES", "SEQUENCES"):
            cursor.execute(
                sql.SQL("REVOKE ALL ON ALL {} IN SCHEMA public FROM {}").format(sql.SQL(objects), grantee)
            )
        cursor.execute(sql.SQL("REVOKE ALL ON SCHEMA public FROM {}").format(grantee))
    for login in logins:
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(login)))


def _grant(cursor: CursorWrapper, privileges: list[str], name: str, login: str, kind: str = "TABLE") -> None:
    if privileges:
        statement = sql.SQL("GRANT {} ON {} {} TO {}").format(
            sql.SQL(", ").join(map(sql.SQL, privileges)), sql.SQL(kind), sql.Identifier(name), sql.Identifier(login)
        )
        cursor.execute(statement)
