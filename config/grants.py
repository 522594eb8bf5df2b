"""Who may do what with which table, stated in full after every migration, on every partition."""

import logging
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connections, transaction
from psycopg import sql

log = logging.getLogger(__name__)

Grants = dict[str, dict[str, list[str]]]

EVERYTHING = ["SELECT", "INSERT", "UPDATE", "DELETE"]
OWN: Grants = {"django_migrations": {"app": ["SELECT"], "sequencer": []}}
# Every table with the tables at the roots of its partitioning or inheritance, whose grants hold for it as well.
TABLES = """
    WITH RECURSIVE family AS (
        SELECT c.oid, c.oid AS root FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v', 'm')
          AND NOT EXISTS (SELECT 1 FROM pg_inherits AS i WHERE i.inhrelid = c.oid)
        UNION
        SELECT i.inhrelid, f.root FROM pg_inherits AS i JOIN family AS f ON f.oid = i.inhparent
    )
    SELECT n.nspname, c.relname, array_agg(root.relname::text ORDER BY root.relname),
           pg_has_role(c.relowner, 'USAGE'), bool_or(f.oid <> f.root)
    FROM family AS f JOIN pg_class AS c ON c.oid = f.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_class AS root ON root.oid = f.root
    GROUP BY n.nspname, c.relname, c.relowner ORDER BY 1, 2
"""
CHILD_TRIGGERS = sql.SQL("""
    CREATE OR REPLACE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table}
        FOR EACH ROW EXECUTE FUNCTION public.audit_refuse_change();
    CREATE OR REPLACE TRIGGER append_only_statements BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
        FOR EACH STATEMENT EXECUTE FUNCTION public.audit_refuse_change();
""")
PRESENT = "SELECT t.tgname::text FROM pg_trigger AS t WHERE t.tgrelid = %s::regclass AND t.tgname = ANY(%s)"
SEQUENCES = "SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1"


def separated() -> bool:
    """Whether application, owner and sequencer sign in as three different logins."""
    users = {settings.DATABASES[alias].get("USER") for alias in ("default", "owner", "sequencer")}
    return len(users) == 3


def declared() -> Grants:
    """What apps declare in their `grants.py`: table -> {"app": [...], "sequencer": [...]}."""
    found: Grants = dict(OWN)
    for module in _declarations():
        found |= getattr(module, "GRANTS", {})
    return found


def append_only() -> set[str]:
    """Tables whose rows are never changed, as apps declare them in `grants.py`."""
    return {table for module in _declarations() for table in getattr(module, "APPEND_ONLY", ())}


def stamped() -> dict[str, str]:
    """The function that states what a writer of the table may not choose, as apps declare it in `grants.py`."""
    return {table: name for one in _declarations() for table, name in getattr(one, "STAMPED", {}).items()}


def _declarations() -> list[ModuleType]:
    names = [f"{app.name}.grants" for app in apps.get_app_configs() if app.name != "config"]
    return [import_module(name) for name in names if find_spec(name)]


def apply() -> int:
    """Replace every privilege of the application's and the sequencer's login, in one transaction of the owner, and arm
    the triggers of what is append-only.

    Returns the number of tables; 0, and nothing is changed, where the three logins are not separated.
    """
    if not separated():
        return 0
    logins = {"app": "default", "sequencer": "sequencer"}
    roles = {role: str(settings.DATABASES[alias]["USER"]) for role, alias in logins.items()}
    with transaction.atomic(using="owner"), connections["owner"].cursor() as cursor:
        return state(cursor, roles)


def state(cursor: Any, roles: dict[str, str]) -> int:
    """The same by a cursor of the owner (or of a superuser), for the logins that `roles` names: "app", "sequencer"."""
    rules, protected, stamps = declared(), append_only(), stamped()
    _start_from_nothing(cursor, list(roles.values()))
    cursor.execute(TABLES)
    tables = cursor.fetchall()
    for schema, table, roots, ours, child in tables:
        if not ours:
            log.warning("%s.%s belongs to another login. Give it to the owner, then run: grants.", schema, table)
            continue
        name = sql.Identifier(schema, table)
        for role, login in roles.items():
            held = [set(rules.get(root, {"app": EVERYTHING}).get(role, [])) for root in roots]
            if child:
                cursor.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM {}").format(name, sql.Identifier(login)))
            _grant(cursor, sorted(set.intersection(*held)), name, login)
        if protected.intersection(roots):
            _arm(cursor, name, child=child, root=roots[0])
        for root in set(roots) & set(stamps):
            _stamp(cursor, name, stamps[root], child=child, root=root)
    cursor.execute(SEQUENCES)
    for (sequence,) in cursor.fetchall():
        _grant(cursor, ["USAGE", "SELECT"], sql.Identifier("public", sequence), roles["app"], kind="SEQUENCE")
    return len(tables)


def _arm(cursor: Any, table: sql.Identifier, *, child: bool, root: str) -> None:
    """Triggers that fire for everybody, always. A child needs its own: TRUNCATE of a partition passes its parent's, and
    so does a change of rows that are only inherited from it."""
    if child:
        cursor.execute(CHILD_TRIGGERS.format(table=table))
        cursor.execute(sql.SQL("REVOKE ALL ON TABLE {} FROM PUBLIC").format(table))
        names = ["append_only_rows", "append_only_statements"]
    else:
        names = [f"{root}_no_change", f"{root}_no_truncate"]
    cursor.execute(PRESENT, [table.as_string(None), names])  # none before the migration that makes them
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(table, sql.Identifier(name)))


def _stamp(cursor: Any, table: sql.Identifier, function: str, *, child: bool, root: str) -> None:
    """The trigger that states place and moment of each new row, for everybody. A child by inheritance has none yet."""
    name = f"{root}_stamp"
    cursor.execute(PRESENT, [table.as_string(None), [name]])
    present = cursor.fetchone() is not None
    if child and not present:
        made = "CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION public.{}()"
        cursor.execute(sql.SQL(made).format(sql.Identifier(name), table, sql.Identifier(function)))
    if child or present:  # the root has none before the migration that makes it
        cursor.execute(sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(table, sql.Identifier(name)))


def _start_from_nothing(cursor: Any, logins: list[str]) -> None:
    """Take back what was given, and what the owner's default privileges would give with each new table."""
    for grantee in [sql.SQL("PUBLIC"), *map(sql.Identifier, logins)]:
        for objects in ("TABLES", "SEQUENCES"):
            revoke = sql.SQL("REVOKE ALL ON {} FROM {}")
            everywhere = sql.SQL("ALL {} IN SCHEMA public").format(sql.SQL(objects))
            cursor.execute(revoke.format(everywhere, grantee))
            for scope in ("", "IN SCHEMA public "):
                cursor.execute(
                    sql.SQL("ALTER DEFAULT PRIVILEGES {}").format(sql.SQL(scope))
                    + revoke.format(sql.SQL(objects), grantee)
                )
        cursor.execute(sql.SQL("REVOKE ALL ON SCHEMA public FROM {}").format(grantee))
    for login in logins:
        cursor.execute(sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(sql.Identifier(login)))


def _grant(cursor: Any, privileges: list[str], name: sql.Identifier, login: str, kind: str = "TABLE") -> None:
    if privileges:
        statement = sql.SQL("GRANT {} ON {} {} TO {}").format(
            sql.SQL(", ").join(map(sql.SQL, privileges)), sql.SQL(kind), name, sql.Identifier(login)
        )
        cursor.execute(statement)
