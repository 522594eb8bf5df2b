"""The whole product as processes of this machine under one supervisor: for `manage.py up`, for the demo, for tests.

    stack = Stack(Path("var"), port=8420)
    stack.start()        # database, broker, migrations, sequencer, clock, workers, web; returns when /readyz says so
    stack.env            # what a manage.py command on this stack needs
    stack.stop()         # in the opposite order

Programs start one after the other, each when the one before it answers. supervisord restarts what dies. It dies with
this process, and every program with it, whatever kills them: start() must therefore be called from a thread that lives
as long as the stack. `up` killed with -9 leaves nothing behind.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from config.embedded import postgres
from config.embedded.account import database_user
from config.embedded.broker import Broker
from config.embedded.ports import free_port, is_free
from config.embedded.postgres import Cluster
from config.embedded.programs import NEVER, Program, plain_environment, write_private
from config.embedded.state import ENVIRONMENT
from config.embedded.supervision import Supervisor

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT_TO_THEMSELVES = frozenset(
    {
        "DATABASE_URL",
        "OWNER_DATABASE_URL",
        "OWNER_DATABASE_URL_FILE",
        "SEQUENCER_DATABASE_URL",
        "SEQUENCER_DATABASE_URL_FILE",
        "REDIS_URL",
        "LASTGOOD_LOG_KEY_FILE",
        "SECRET_KEY",
        "SECRET_KEY_FILE",
    }
)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
Say = Callable[[str], None]


class StackError(RuntimeError):
    """The stack did not start. The sentence says what to do about it."""


class Stack:
    """One installation in one directory `var`. What `given` names (DATABASE_URL with its OWNER and SEQUENCER forms,
    REDIS_URL, SECRET_KEY) is used instead of an embedded one; everything else in `given` reaches every program."""

    def __init__(
        self,
        var: Path,
        *,
        port: int = 8420,
        given: Mapping[str, str] | None = None,
        say: Say = lambda line: None,
    ) -> None:
        self.var = var.resolve()
        self.port = port
        self.given = dict(os.environ if given is None else given)
        self.say = say
        self.cluster: Cluster | None = None
        self.broker: Broker | None = None
        self.supervisor: Supervisor | None = None
        self._lock: IO[str] | None = None

    # --- what others ask for --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return self.given.get("LASTGOOD_PUBLIC_URL") or f"http://127.0.0.1:{self.port}"

    @property
    def urls(self) -> dict[str, str]:
        """The addresses of the product and of the servers under it, passwords included."""
        return {"web": self.url, "database": self.env["DATABASE_URL"], "broker": self.env["REDIS_URL"]}

    @property
    def env(self) -> dict[str, str]:
        """The environment of a command that a person runs on this stack: all keys."""
        return self._shared() | self._owner_keys() | self._sequencer_keys()

    @property
    def is_new(self) -> bool:
        """Whether the embedded database has not been made yet."""
        return not self.given.get("DATABASE_URL") and not (self._database_home() / "data" / "PG_VERSION").exists()

    def start(self, *, database_only: bool = False) -> None:
        """Start everything and wait until it answers; or nothing but the database, brought up to date, for a restore.
        Raises StackError, after stopping what had been started."""
        self._prepare()
        try:
            self._start_in_order(database_only)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the programs in the opposite order and wait for the last. Data stays."""
        if self.supervisor is not None:
            self.supervisor.stop()
            self.supervisor = None
        (self.var / ENVIRONMENT).unlink(missing_ok=True)
        self._release_lock()

    def add(self, program: Program) -> None:
        """Start one more program under the same supervisor."""
        if self.supervisor is None:
            raise StackError("Start the stack before adding a program to it.")
        self.supervisor.start(program)

    def pid(self, program: str) -> int:
        """The process that runs a program now; 0 while it is being started again."""
        if self.supervisor is None:
            raise StackError("The stack is not running.")
        return self.supervisor.pid(program)

    def remove_data(self) -> None:
        """Delete `var` and the embedded database with it. Raises StackError while a stack runs in it."""
        self._make_directories()
        self._take_lock()
        shutil.rmtree(self._database_home(), ignore_errors=True)
        shutil.rmtree(self.var, ignore_errors=True)
        self._release_lock()

    def wait_ready(self, seconds: float = 120.0) -> None:
        """Return when /readyz answers 200. Raises StackError with its last answer when it does not in time."""
        deadline = time.monotonic() + seconds
        while True:
            ready, answer = _readiness(f"http://127.0.0.1:{self.port}/readyz", host=urlsplit(self.url).netloc)
            if ready:
                return
            if time.monotonic() > deadline:
                raise StackError(f"Lastgood does not become ready: {answer}. Look into {self.var / 'log'}.")
            time.sleep(0.1)

    def manage(self, *arguments: str, env: Mapping[str, str] | None = None) -> str:
        """Run a manage.py command to its end and return what it said. Raises StackError when it fails."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            cwd=ROOT,
            env=dict(self.env if env is None else env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise StackError(f"manage.py {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
        return done.stdout

    # --- starting -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self._make_directories()
        self._take_lock()
        if not is_free(self.port):
            self._release_lock()
            raise StackError(f"Port {self.port} is taken; set LASTGOOD_PORT to a free one.")
        self._draw_ports()

    def _make_directories(self) -> None:
        for part in ("", "run", "log", "secrets"):
            directory = self.var / part
            directory.mkdir(parents=True, exist_ok=True)
            if part in ("run", "secrets"):
                directory.chmod(0o700)

    def _take_lock(self) -> None:
        lock = (self.var / "run" / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StackError(f"Lastgood already runs in {self.var}; stop it first, or set LASTGOOD_VAR.") from None
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start_in_order(self, database_only: bool) -> None:
        self.supervisor = supervisor = Supervisor(self.var / "run", self.var / "log")
        supervisor.open()
        if self.cluster is not None:
            self.say("starting PostgreSQL")
            self.cluster.prepare()
            supervisor.start(self.cluster.program())
            self.cluster.wait()
            self.cluster.make_logins()
            self.cluster.make_database()
        if self.broker is not None and not database_only:
            self.say("starting Redis")
            supervisor.start(self.broker.program())
            self.broker.wait()
        self._prepare_seal_key()
        self.say("bringing the database up to date")
        self.manage("migrate", "--verbosity", "0", "--no-input", "--skip-checks")
        write_private(self.var / ENVIRONMENT, json.dumps(self.env))
        if database_only:
            return
        self._prepare_log_key()
        self._collect_static()
        self.say("starting sequencer, clock, workers and web")
        for program in self.programs():
            supervisor.start(program)
        self.wait_ready()

    def _prepare_log_key(self) -> None:
        if not Path(self._sequencer_keys()["LASTGOOD_LOG_KEY_FILE"]).exists():
            self.manage("audit", "key", env=self._shared() | self._sequencer_keys())

    def _prepare_seal_key(self) -> None:
        if not Path(self._seal_key_file()).exists():
            self.manage("sealkey", env=self._shared())

    def _collect_static(self) -> None:
        """Gather and compress the static files when one of them, or a package that brings some, has changed."""
        stamp = self.var / "static" / ".stamp"
        state = _state_of_static()
        if not stamp.exists() or stamp.read_text() != state:
            self.say("compressing static files")
            quiet = ["--skip-checks", "--no-input", "--verbosity", "0"]
            self.manage("collectstatic", "--clear", *quiet, env=self._shared())
            stamp.write_text(state)

    # --- the programs ---------------------------------------------------------------------------------------------

    def programs(self) -> list[Program]:
        """What runs beside database and broker, in the order of starting. Only the sequencer knows the log's key."""
        return [
            self._manage_program("sequencer", ["audit", "sequence"], self._sequencer_keys(), final_status=3),
            self._manage_program("clock", ["clock"]),
            self._worker("rollback", ["--pool", "threads", "--concurrency", "8"], ONE_THREAD),
            # What comes in is taken before what came is read.
            self._worker("intake", ["--pool", "threads", "--concurrency", "4"], ONE_THREAD, nice=5),
            self._worker("compute", ["--pool", "solo"], ONE_THREAD, nice=10),
            self._worker("suites", ["--pool", "solo"], ONE_THREAD, nice=10),
            self._web(),
        ]

    def _manage_program(
        self, name: str, arguments: list[str], env: Mapping[str, str] | None = None, final_status: int = NEVER
    ) -> Program:
        argv = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return self._program(name, argv, env, final_status=final_status)

    def _worker(self, queue: str, pool: list[str], env: Mapping[str, str], nice: int = 0) -> Program:
        options = ["--queues", queue, "--hostname", f"{queue}@lastgood", "--loglevel", "INFO"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        argv = [sys.executable, "-m", "celery", "-A", "config", "worker", *pool, *options, *quiet]
        return self._program(f"worker-{queue}", argv, env, nice=nice)

    def _web(self) -> Program:
        options = ["--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        address = ["--bind", f"127.0.0.1:{self.port}", "--worker-tmp-dir", _memory_directory()]
        ending = ["--graceful-timeout", "10", "--no-control-socket"]
        argv = [sys.executable, "-m", "gunicorn", *options, *address, *ending, "config.wsgi"]
        # Each web process counts its requests in a file of this folder: see config/latency.py.
        counted = self.var / "run" / "requests"
        shutil.rmtree(counted, ignore_errors=True)
        counted.mkdir(mode=0o700, parents=True)
        env = {"PROMETHEUS_MULTIPROC_DIR": str(counted)}
        return self._program("web", argv, env, death_signal=signal.SIGTERM, stop_seconds=15)

    def _program(
        self,
        name: str,
        argv: list[str],
        env: Mapping[str, str] | None = None,
        *,
        nice: int = 0,
        death_signal: int = signal.SIGKILL,
        stop_seconds: int = 10,
        final_status: int = NEVER,
    ) -> Program:
        return Program(
            name=name,
            argv=argv,
            env=self._shared() | {"LASTGOOD_PROGRAM": name} | dict(env or {}),
            cwd=ROOT,
            nice=nice,
            death_signal=death_signal,
            stop_seconds=stop_seconds,
            final_status=final_status,
        )

    # --- who knows what -------------------------------------------------------------------------------------------

    def _shared(self) -> dict[str, str]:
        """What every program may know: everything that was given but the keys, and the application's own login."""
        passed = {name: value for name, value in self.given.items() if name not in KEPT_TO_THEMSELVES}
        return {
            **plain_environment(),
            **passed,
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": self.given.get("DJANGO_SETTINGS_MODULE", "config.settings"),
            "LASTGOOD_VAR": str(self.var),
            "LASTGOOD_PORT": str(self.port),
            "LASTGOOD_PUBLIC_URL": self.url,
            "SECRET_KEY": self._secret_key(),
            "LASTGOOD_SEAL_KEY_FILE": self._seal_key_file(),
            "DATABASE_URL": self._login("DATABASE_URL", "lastgood_app"),
            "REDIS_URL": self.given.get("REDIS_URL") or (self.broker.url if self.broker else ""),
        }

    def _owner_keys(self) -> dict[str, str]:
        return {"OWNER_DATABASE_URL": self._login("OWNER_DATABASE_URL", "lastgood_owner")}

    def _sequencer_keys(self) -> dict[str, str]:
        key_file = self.given.get("LASTGOOD_LOG_KEY_FILE") or str(self.var / "secrets" / "log-key")
        return {
            "SEQUENCER_DATABASE_URL": self._login("SEQUENCER_DATABASE_URL", "lastgood_sequencer"),
            "LASTGOOD_LOG_KEY_FILE": key_file,
        }

    def _login(self, variable: str, login: str) -> str:
        if self.cluster is not None:
            return self.cluster.url(login)
        return self.given.get(variable) or self.given["DATABASE_URL"]

    def _secret_key(self) -> str:
        if self.given.get("SECRET_KEY"):
            return self.given["SECRET_KEY"]
        if self.given.get("SECRET_KEY_FILE"):
            return Path(self.given["SECRET_KEY_FILE"]).read_text().strip()
        path = self.var / "secrets" / "secret-key"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(50))
        return path.read_text()

    def _seal_key_file(self) -> str:
        """Apart from the log's key: every program opens texts, and none but the sequencer signs."""
        return self.given.get("LASTGOOD_SEAL_KEY_FILE") or str(self.var / "seal" / "key")

    # --- where things lie -----------------------------------------------------------------------------------------

    def _database_home(self) -> Path:
        """Beside the other data; as root in a place that the database's own system user can reach."""
        if os.geteuid() != 0:
            return self.var / "postgres"
        digest = hashlib.sha256(str(self.var).encode()).hexdigest()[:12]
        return postgres.SHARED / f"{self.var.parent.name}-{digest}"

    def _draw_ports(self) -> None:
        """The servers' ports: those of the last start where they are still free."""
        path = self.var / "run" / "ports.json"
        before: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        ports: dict[str, int] = {}
        for name in ("database", "broker"):
            known = before.get(name, 0)
            taken = frozenset({self.port, *ports.values()})
            ports[name] = known if known and is_free(known) else free_port(not_in=taken)
        path.write_text(json.dumps(ports))
        secrets_dir = self.var / "secrets"
        if not self.given.get("DATABASE_URL"):
            database_user()
            self.cluster = Cluster(self._database_home(), secrets_dir, ports["database"])
        if not self.given.get("REDIS_URL"):
            self.broker = Broker(self.var / "redis", secrets_dir, ports["broker"])


def _readiness(url: str, host: str) -> tuple[bool, str]:
    request = Request(url, headers={"Host": host})  # noqa: S310  our own address
    try:
        with urlopen(request, timeout=5) as answer:  # noqa: S310
            return True, answer.read().decode()
    except HTTPError as error:
        return False, error.read().decode(errors="replace")[:1000]
    except (URLError, OSError) as error:
        return False, f"no answer: {error}"


def _memory_directory() -> str:
    """Gunicorn's heartbeat files belong into memory: a busy disk must not look like a hung worker."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # noqa: S108  gunicorn makes private files there


def _state_of_static() -> str:
    files: Sequence[Path] = sorted(path for path in (ROOT / "static").rglob("*") if path.is_file())
    digest = hashlib.sha256((ROOT / "constraints.txt").read_bytes() if (ROOT / "constraints.txt").exists() else b"")
    for path in files:
        status = path.stat()
        digest.update(f"{path.relative_to(ROOT)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
