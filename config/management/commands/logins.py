import sys
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from psycopg import sql

from config import grants
from config.env import Env
from config.logins import ROLES, Logins, LoginsError, separate

VARIABLES = {"owner": "OWNER_DATABASE_URL", "app": "DATABASE_URL", "sequencer": "SEQUENCER_DATABASE_URL"}
WORDS = {"owner": "owns the tables", "app": "application", "sequencer": "appends to the log's tree"}


class Command(BaseCommand):
    help = (
        "Makes the three logins that keep the log apart (owner, application, sequencer) and prints their addresses. "
        "Connects by ADMIN_DATABASE_URL: a superuser, or who owns the database and has CREATEROLE; without it by "
        "OWNER_DATABASE_URL or DATABASE_URL. Passwords come from LASTGOOD_OWNER_PASSWORD, LASTGOOD_APP_PASSWORD and "
        "LASTGOOD_SEQUENCER_PASSWORD (each also as _FILE), or are drawn for logins that are new. Repeatable."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        for role in ROLES:
            parser.add_argument(f"--{role}", default="", help=f"name of the login that is the {role} ({WORDS[role]})")
        parser.add_argument(
            "--passwords-from-stdin", action="store_true", help="three lines: owner, app, sequencer; empty keeps it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        env = Env()
        url = next((env.secret(name, "") for name in ("ADMIN_DATABASE_URL", *VARIABLES.values())
                    if env.secret(name, "")), "")  # fmt: skip
        if not url:
            raise CommandError("Set ADMIN_DATABASE_URL to postgresql://login:password@host:5432/lastgood.")
        wanted = {role: options[role] for role in ROLES if options[role]}
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                logins = separate(connection, wanted, self._passwords(env, options["passwords_from_stdin"]))
                tables = self._grant(connection, logins)
        except LoginsError as error:
            for statement in error.statements:
                self.stdout.write(statement)
            raise CommandError(str(error)) from None
        except psycopg.Error as error:
            raise CommandError(f"PostgreSQL refuses: {str(error).strip()}") from None
        self._tell(logins, url, tables)

    def _passwords(self, env: Env, from_stdin: bool) -> dict[str, str]:
        if from_stdin:
            found = dict(zip(ROLES, (line.rstrip("\n") for line in sys.stdin), strict=False))
        else:
            found = {role: env.secret(f"LASTGOOD_{role.upper()}_PASSWORD", "") for role in ROLES}
        return {role: password for role, password in found.items() if password}

    def _grant(self, connection: psycopg.Connection[Any], logins: Logins) -> int:
        """State the grants, where the tables are there already and we are their owner; migrate does it for the rest."""
        with connection.transaction(), connection.cursor() as cursor:
            owner = logins.names["owner"]
            cursor.execute("SELECT to_regclass('public.audit_cosig') IS NOT NULL AND pg_has_role(%s, 'USAGE')", [owner])
            row = cursor.fetchone()
            if not row or not row[0]:
                return 0
            # What is granted by the owner, and the default privileges that are taken back, are the owner's own.
            cursor.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(owner)))
            return grants.state(cursor, {role: logins.names[role] for role in ("app", "sequencer")})

    def _tell(self, logins: Logins, url: str, tables: int) -> None:
        parts = urlsplit(url)
        place = f"{parts.netloc.rpartition('@')[2]}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        for role, variable in VARIABLES.items():
            known = "" if role in logins.passwords else "   # its password is as it was"
            self.stdout.write(f"{variable}={logins.url(role, place)}{known}")
        made = ", ".join(logins.names[role] for role in logins.made) or "none; all three were there"
        done = f"grants stated on {tables} tables" if tables else "now run manage.py migrate with these"
        self.stderr.write(f"New logins: {made}; {done}. Give the sequencer's address to the sequencer alone.")
