"""`manage.py up` on the bare machine: as root and as a normal user, twice, and killed."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import psutil
import psycopg
import pytest

from config.embedded.state import ENVIRONMENT, borrow_environment
from tests.conftest import ROOT
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.faults

SOMEBODY = pwd.getpwnam("nobody").pw_uid
# A normal user in everything that counts, but for reading: the checkout of root may lie where others can't look.
READING = "-all,+dac_read_search"
AS_SOMEBODY = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]
AS_SOMEBODY += [f"--inh-caps={READING}", f"--ambient-caps={READING}", f"--bounding-set={READING}"]
AS_SOMEBODY += ["--securebits=+no_setuid_fixup"]  # lets access(2) answer as open(2) would
USERS = ["root", "normal user"] if os.geteuid() == 0 else ["normal user"]
PROGRAMS = {"database", "broker", "sequencer", "clock", "web", "worker-rollback", "worker-intake", "worker-compute"}
PROGRAMS |= {"worker-suites"}


@dataclass
class Installation:
    """One `manage.py up` of a test's own."""

    var: Path
    user: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    family: dict[str, psutil.Process] = field(default_factory=dict)

    @property
    def env(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.var),
            "LASTGOOD_VAR": str(self.var),
            "LASTGOOD_PORT": str(self.port),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @property
    def said(self) -> str:
        return (self.var / "said").read_text()

    @property
    def logs(self) -> str:
        files = sorted((self.var / "log").glob("*.log"))
        return "".join(f"\n{file.name}\n{file.read_text()[-1500:]}" for file in files)

    def up(self) -> None:
        """Start it and wait until it says that it answers."""
        command = [sys.executable, str(ROOT / "manage.py"), "up"]
        if os.geteuid() == 0 and self.user != "root":
            os.chown(self.var, SOMEBODY, SOMEBODY)
            command = [*AS_SOMEBODY, *command]
        with (self.var / "said").open("wb") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=said, stderr=subprocess.STDOUT)
        until(lambda: "answers at" in self.said or self.process.poll() is not None, seconds=180)
        assert self.process.poll() is None, self.said + self.logs
        self.look()

    def look(self) -> None:
        """Note every process that descends from it now."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # ended since it was listed
                self.family[self._name(child)] = child

    def end(self, number: int) -> int:
        """Send the signal, wait for the end, and make sure that no process of it is left."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        until(lambda: not any(child.is_running() for child in self.family.values()), seconds=90)
        return status

    def execute(self, statement: str, key: str = "DATABASE_URL") -> list[tuple[object, ...]]:
        known = json.loads((self.var / ENVIRONMENT).read_text())
        with psycopg.connect(known[key], autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @staticmethod
    def _name(process: psutil.Process) -> str:
        return f"{process.environ().get('LASTGOOD_PROGRAM', process.name())}-{process.pid}"

    def of(self, program: str) -> list[psutil.Process]:
        return [child for name, child in self.family.items() if name.rpartition("-")[0] == program]


@pytest.fixture(params=USERS)
def installation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    var = Path("/tmp") / f"lastgood-up-{free_port()}"
    var.mkdir(mode=0o755)
    installation = Installation(var, request.param)
    yield installation
    if installation.process is not None and installation.process.poll() is None:
        installation.process.kill()
        installation.process.wait()
        until(lambda: not any(child.is_running() for child in installation.family.values()), seconds=90)
    from config.embedded.stack import Stack

    Stack(var, given={}).remove_data()
    shutil.rmtree(var, ignore_errors=True)


def test_up_starts_everything_finds_its_data_again_and_leaves_nothing(installation):
    installation.up()
    _the_web_answers_and_knows_no_key(installation)
    _passwords_are_kept(installation)
    _what_dies_is_started_again(installation)
    assert "createadmin" in installation.said
    installation.execute("INSERT INTO django_session VALUES ('kept', '', now())")
    assert installation.end(signal.SIGINT) == 0
    assert not (installation.var / ENVIRONMENT).exists()

    installation.up()
    assert installation.execute("SELECT session_key FROM django_session") == [("kept",)]
    assert "createadmin" not in installation.said
    installation.end(signal.SIGKILL)


def _ready(installation: Installation) -> dict[str, str]:
    with urlopen(f"http://127.0.0.1:{installation.port}/readyz") as answer:
        said: dict[str, str] = json.load(answer)
    return said


def _the_web_answers_and_knows_no_key(installation: Installation) -> None:
    until(lambda: _ready(installation)["intake"] == "ok", seconds=60)
    assert _ready(installation) == dict.fromkeys(
        ("database", "migrations", "broker", "clock", "log", "intake", "artifacts"), "ok"
    )
    for program in ("web", "worker-rollback", "worker-intake", "worker-compute", "clock"):
        processes = installation.of(program)
        assert processes, program
        for process in processes:
            known = process.environ()
            assert "DATABASE_URL" in known
            assert not {"OWNER_DATABASE_URL", "SEQUENCER_DATABASE_URL", "LASTGOOD_LOG_KEY_FILE"} & set(known), program
    assert all("OWNER_DATABASE_URL" not in process.environ() for process in installation.of("sequencer"))
    for process in installation.of("web"):
        assert not [region.path for region in process.memory_maps() if "libtorch" in region.path]
    assert {process.username() for process in installation.of("postgres")} != {"root"}


def _passwords_are_kept(installation: Installation) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        installation.execute("SELECT rolpassword FROM pg_authid")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        installation.execute("SELECT pg_read_file('/etc/passwd')")
    for file in [*(installation.var / "secrets").iterdir(), *(installation.var / "run").glob("*.json")]:
        if file.name != "ports.json":
            assert file.stat().st_mode & 0o777 == 0o600, file


def _what_dies_is_started_again(installation: Installation) -> None:
    first = installation.of("clock")[0]
    first.kill()
    until(lambda: installation.look() or [clock for clock in installation.of("clock") if clock.pid != first.pid])
    with urlopen(f"http://127.0.0.1:{installation.port}/healthz") as answer:
        assert answer.read() == b"ok\n"


def test_a_second_up_in_the_same_place_is_refused(tmp_path):
    from config.embedded.stack import Stack, StackError

    first, second = (Stack(tmp_path / "var", port=free_port(), given={}) for _ in range(2))
    first._prepare()
    with pytest.raises(StackError, match="already runs"):
        second.start()
    with pytest.raises(StackError, match="already runs"):
        second.remove_data()
    assert (tmp_path / "var" / "run" / "ports.json").exists()
    first.stop()
    second.remove_data()
    assert not (tmp_path / "var").exists()


def test_given_servers_are_used_and_none_is_started(tmp_path):
    from config.embedded.stack import Stack

    given = {
        "DATABASE_URL": "postgresql://app@db/lastgood",
        "OWNER_DATABASE_URL": "postgresql://owner@db/lastgood",
        "REDIS_URL": "redis://broker/3",
        "SECRET_KEY": "k",
        "LASTGOOD_HOST_NETWORKS": "10.1.0.0/16",
    }
    stack = Stack(tmp_path / "var", port=free_port(), given=given)
    stack._prepare()
    assert (stack.cluster, stack.broker, stack.is_new) == (None, None, False)
    assert {name: stack.env[name] for name in given} == given
    assert stack.env["SEQUENCER_DATABASE_URL"] == "postgresql://app@db/lastgood"
    web = stack.programs()[-1]
    assert (web.name, web.env["DATABASE_URL"]) == ("web", "postgresql://app@db/lastgood")
    assert "OWNER_DATABASE_URL" not in web.env
    stack.stop()


def test_a_taken_port_is_refused_before_anything_starts(tmp_path):
    import socket

    from config.embedded.stack import Stack, StackError

    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        stack = Stack(tmp_path / "var", port=port, given={})
        with pytest.raises(StackError, match=f"Port {port} is taken; set LASTGOOD_PORT to a free one."):
            stack.start()
    assert not (tmp_path / "var" / "secrets" / "lastgood_app").exists()


def test_a_command_borrows_the_environment_of_the_running_stack(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / ENVIRONMENT).write_text(json.dumps({"DATABASE_URL": "postgresql://here/d", "SECRET_KEY": "k"}))
    environ = {"LASTGOOD_VAR": str(tmp_path), "SECRET_KEY": "mine"}
    borrow_environment(ROOT, ["manage.py", "createadmin"], environ)
    assert environ["DATABASE_URL"] == "postgresql://here/d"
    assert environ["SECRET_KEY"] == "mine"


def test_a_command_with_a_database_of_its_own_borrows_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / ENVIRONMENT).write_text(json.dumps({"DATABASE_URL": "postgresql://here/d", "SECRET_KEY": "k"}))
    environ = {"LASTGOOD_VAR": str(tmp_path), "DATABASE_URL": "postgresql://there/d"}
    borrow_environment(ROOT, ["manage.py", "createadmin"], environ)
    assert environ == {"LASTGOOD_VAR": str(tmp_path), "DATABASE_URL": "postgresql://there/d"}
