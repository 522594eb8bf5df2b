"""What keeps the log append-only, asked of the database itself: at start, by ``manage.py check --database default``,
and by ``audit verify``."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from audit.grants import APPEND_ONLY, GRANTS, STAMPED
from audit.sealing import SealKeyError, key_ring

log = logging.getLogger(__name__)

# tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32 truncate. A trigger with a condition, or on some columns
# only, or that calls another function, protects nothing.
FAMILY = """
    WITH RECURSIVE family AS (
        SELECT c.oid, c.relname::text AS root FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'public' AND c.relname = ANY(%s)
        UNION
        SELECT i.inhrelid, f.root FROM pg_inherits AS i JOIN family AS f ON f.oid = i.inhparent
    )
"""
UNARMED = f"""
    {FAMILY}, armed AS (
        SELECT f.oid,
               coalesce(bool_or(t.tgtype & 19 = 19), false) AND coalesce(bool_or(t.tgtype & 11 = 11), false) AS rows,
               coalesce(bool_or(t.tgtype & 34 = 34), false) AS truncation
        FROM family AS f LEFT JOIN pg_trigger AS t ON t.tgrelid = f.oid AND t.tgenabled = 'A' AND t.tgqual IS NULL
             AND t.tgattr = ''::int2vector AND t.tgfoid = to_regproc('public.audit_refuse_change')
        GROUP BY f.oid
    )
    SELECT DISTINCT a.oid::regclass::text FROM armed AS a WHERE NOT (a.rows AND a.truncation) ORDER BY 1
"""  # noqa: S608  no value of anybody's
UNSTAMPED = f"""
    {FAMILY} SELECT f.oid::regclass::text FROM family AS f WHERE NOT EXISTS (
        SELECT 1 FROM pg_trigger AS t WHERE t.tgrelid = f.oid AND t.tgenabled = 'A' AND t.tgqual IS NULL
            AND t.tgtype & 7 = 7 AND t.tgfoid = to_regproc('public.' || %s)
    ) ORDER BY 1
"""  # noqa: S608
FUNCTION = """
    SELECT p.prosrc FROM pg_proc AS p WHERE p.oid = to_regproc('public.' || %s)
"""
EXCESS = f"""
    {FAMILY}, given AS (
        SELECT f.oid, c.relowner, a.grantee, a.privilege_type
        FROM family AS f JOIN pg_class AS c ON c.oid = f.oid, aclexplode(c.relacl) AS a
        UNION ALL
        SELECT f.oid, c.relowner, a.grantee, a.privilege_type
        FROM family AS f JOIN pg_class AS c ON c.oid = f.oid
        JOIN pg_attribute AS col ON col.attrelid = f.oid, aclexplode(col.attacl) AS a
    )
    SELECT CASE WHEN g.grantee = 0 THEN 'everybody (PUBLIC)' ELSE g.grantee::regrole::text END,
           string_agg(DISTINCT g.privilege_type, ', ' ORDER BY g.privilege_type), g.oid::regclass::text
    FROM given AS g
    WHERE g.grantee <> g.relowner AND g.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
    GROUP BY g.grantee, g.oid ORDER BY 1, 3
"""  # noqa: S608
LOGIN = """
    SELECT current_user::text, r.rolsuper, pg_has_role(c.relowner, 'MEMBER'),
           r.rolcreaterole AND current_setting('server_version_num')::int < 160000,
           (SELECT string_agg(w.rolname, ', ' ORDER BY w.rolname) FROM pg_roles AS w
            WHERE w.rolname IN ('pg_write_all_data', 'pg_write_server_files', 'pg_execute_server_program')
              AND pg_has_role(w.oid, 'MEMBER'))
    FROM pg_class AS c, pg_roles AS r WHERE c.oid = 'public.audit_event'::regclass AND r.rolname = current_user
"""
TOO_MUCH = "SELECT t.name FROM unnest(%s::text[]) AS t (name) WHERE has_table_privilege(t.name, 'INSERT')"
DEFAULTS = """
    SELECT d.defaclrole::regrole::text,
           CASE WHEN a.grantee = 0 THEN 'everybody (PUBLIC)' ELSE a.grantee::regrole::text END,
           string_agg(DISTINCT a.privilege_type, ', ' ORDER BY a.privilege_type)
    FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS a
    WHERE d.defaclobjtype = 'r' AND a.grantee <> d.defaclrole
      AND a.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER')
      AND d.defaclnamespace IN (0, 'public'::regnamespace)
    GROUP BY 1, 2 ORDER BY 1, 2
"""
REARM = "Run as the owner: manage.py grants."
APART = "Make three logins: manage.py logins."


def unarmed(cursor: Any) -> list[str]:
    """A sentence for each table of the log, partition or child of one, that a change would pass, or whose writer may
    choose an event's place and moment."""
    cursor.execute(UNARMED, [list(APPEND_ONLY)])
    found = [f"The triggers that keep {row[0]} append-only are not all enabled." for row in cursor.fetchall()]
    for table, function in STAMPED.items():
        cursor.execute(UNSTAMPED, [[table], function])
        found += [f"The trigger that states when an event came into {row[0]} is off." for row in cursor.fetchall()]
    return found


def findings(alias: str = "default", role: str = "app", *, key_file: str = "") -> list[checks.CheckMessage]:
    """What is missing for the login of ``alias``, which has the rights of ``role`` (app, sequencer) in ``GRANTS``.

    ``key_file``: the signing key, where this process must not be able to read it.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT to_regclass('public.audit_cosig') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return []  # not migrated yet
        found = [*_triggers(cursor), *_rights(cursor), *_login(cursor, role)]
    if role == "app":
        found += _seal_key()
    if key_file and os.access(key_file, os.R_OK):
        hint = "Run the sequencer as another system user; keep the key with mode 0400 for it alone."
        found.append(checks.Warning("This process can read the log's signing key.", hint=hint, id="audit.W006"))
    return found


def _seal_key() -> list[checks.CheckMessage]:
    """Without it no act that comes with a reason can be recorded, and so none happens."""
    try:
        key_ring()
    except SealKeyError as error:
        return [checks.Warning(str(error), hint="Reasons are sealed under it.", id="audit.W007")]
    return []


def _triggers(cursor: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = [
        checks.Warning(sentence, hint=REARM, id="audit.W001") for sentence in unarmed(cursor)
    ]
    source = _source(cursor, "audit_refuse_change")
    if "RAISE EXCEPTION" not in source or "RETURN" in source:
        words = "The function audit_refuse_change, which the triggers call, does not refuse."
        hint = "Restore it from audit/migrations/0002_append_only.py."
        found.append(checks.Warning(words, hint=hint, id="audit.W002"))
    for function in STAMPED.values():
        if "NEW.xid := pg_current_xact_id()" not in _source(cursor, function):
            words = f"The function {function}, which the triggers call, does not state the transaction."
            hint = "Restore it from audit/migrations/0007_stamp_events.py."
            found.append(checks.Warning(words, hint=hint, id="audit.W002"))
    return found


def _source(cursor: Any, function: str) -> str:
    """What the database runs under that name; empty where there is no such function."""
    cursor.execute(FUNCTION, [function])
    row = cursor.fetchone()
    return row[0] if row else ""


def _rights(cursor: Any) -> list[checks.CheckMessage]:
    cursor.execute(EXCESS, [list(APPEND_ONLY)])
    found: list[checks.CheckMessage] = [
        checks.Warning(f"{login} has {rights} on {table}.", hint=REARM, id="audit.W003")
        for login, rights, table in cursor.fetchall()
    ]
    cursor.execute(DEFAULTS)
    found += [
        checks.Warning(
            f"The default privileges of {maker} give {login} {rights} on every new table.",
            hint=f"ALTER DEFAULT PRIVILEGES FOR ROLE {maker} REVOKE {rights} ON TABLES FROM {login};",
            id="audit.W004",
        )
        for maker, login, rights in cursor.fetchall()
    ]
    return found


def _login(cursor: Any, role: str) -> list[checks.CheckMessage]:
    cursor.execute(LOGIN)
    login, superuser, owner, makes_roles, mighty = cursor.fetchone()
    power = {
        "is a superuser": superuser,
        "owns the log's tables": owner and not superuser,
        "may make itself a member of any role (CREATEROLE before PostgreSQL 16)": makes_roles and not superuser,
        f"is a member of {mighty}": mighty and not superuser,
    }
    found: list[checks.CheckMessage] = [
        checks.Warning(f"The {role} login {login} {what}.", hint=APART, id="audit.W005")
        for what, holds in power.items()
        if holds
    ]
    barred = [table for table in APPEND_ONLY if "INSERT" not in GRANTS[table][role]]
    cursor.execute(TOO_MUCH, [barred])
    tables = [row[0] for row in cursor.fetchall()]
    if tables and not (superuser or owner):
        words = f"The {role} login {login} may insert into {', '.join(tables)}."
        found.append(checks.Warning(words, hint=REARM, id="audit.W005"))
    return found


def in_lines(found: Sequence[checks.CheckMessage]) -> list[str]:
    return [f"{one.msg} {one.hint} ({one.id})" for one in found]


def tell_at_start(key_file: str) -> None:
    """A line in the web process's log for each thing that is missing. A database that is away does not stop it."""
    try:
        found = findings(key_file=key_file)
    except DatabaseError as error:
        log.warning("What keeps the log append-only could not be checked: %s", str(error).strip())
        return
    for line in in_lines(found):
        log.warning("%s", line)


@checks.register(checks.Tags.security, checks.Tags.database)
def check_log(
    *, app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **options: Any
) -> list[checks.CheckMessage]:
    """Asks the database only where the command names it, as Django's own database checks do."""
    if "default" not in (databases or ()) or not settings.DATABASE_URL:
        return []
    return findings()
