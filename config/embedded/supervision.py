"""supervisord, told by XML-RPC over a private socket what to run. It keeps order; we decide what comes next."""

import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from pathlib import Path

from config.embedded.programs import Program, plain_environment, write_private

STOP_SECONDS = 90.0
LONGEST_RUN = 70  # bytes left for the socket's name, and for what supervisord appends to it while it binds

DAEMON = """\
[supervisord]
nodaemon = true
silent = true
logfile = {log}/supervisor.log
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {run}/supervisor.pid
childlogdir = {log}
strip_ansi = false
{user}

[unix_http_server]
file = {socket}
chmod = 0700
username = lastgood
password = {password}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[include]
files = {run}/programs/*.conf
"""

# startretries: a program that can't start yet (its database is down) is tried again, a second later each time.
PROGRAM = """\
[program:{name}]
command = {command}
autostart = false
autorestart = unexpected
exitcodes = {final_status}
startsecs = 0
startretries = 1000000
priority = {priority}
stopsignal = {stop_signal}
stopwaitsecs = {stop_seconds}
redirect_stderr = true
stdout_logfile = {log}/{name}.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 2
"""


class SupervisionError(RuntimeError):
    """supervisord did not do what it was told."""


class Supervisor:
    """One supervisord with its programs. Programs stop in the opposite order of their start."""

    def __init__(self, run: Path, log: Path) -> None:
        self.run = run
        self.log = log
        self.password = secrets.token_urlsafe(24)
        self.started = 0
        self.process: subprocess.Popen[bytes] | None = None
        # A Unix socket's path has at most 107 bytes, and `run` may lie deeper than that.
        self.short_directory = tempfile.mkdtemp(prefix="lastgood-") if len(str(run)) > LONGEST_RUN else ""
        self.socket = Path(self.short_directory or run) / "supervisor.sock"

    def open(self) -> None:
        """Start supervisord with no program yet. Raises SupervisionError when it does not answer."""
        programs = self.run / "programs"
        programs.mkdir(mode=0o700, exist_ok=True)
        for leftover in programs.glob("*.conf"):
            leftover.unlink()
        configuration = self.run / "supervisor.conf"
        text = DAEMON.format(
            log=_escaped(self.log),
            run=_escaped(self.run),
            socket=_escaped(self.socket),
            password=self.password,
            user="user = root" if os.geteuid() == 0 else "",
        )
        write_private(configuration, text)
        daemon = Program(
            name="supervisor",
            argv=[sys.executable, "-m", "supervisor.supervisord", "--configuration", str(configuration)],
            env=plain_environment(),
            cwd=self.run,
            death_signal=signal.SIGTERM,
        )
        self.process = daemon.spawn(self.run, self.log / "supervisor.out")
        self._wait_until_it_answers()

    def start(self, program: Program) -> None:
        """Start one program, and from now on again whenever it ends, but for its ``final_status``.

        Raises SupervisionError.
        """
        self.started += 1
        command = " ".join(f'"{_escaped(part)}"' for part in program.write(self.run))
        section = PROGRAM.format(
            name=program.name,
            command=command,
            priority=self.started,
            stop_signal=program.stop_signal,
            stop_seconds=program.stop_seconds,
            final_status=program.final_status,
            log=_escaped(self.log),
        )
        write_private(self.run / "programs" / f"{program.name}.conf", section)
        self._call("reloadConfig")
        self._call("addProcessGroup", program.name)
        self._call("startProcess", program.name)

    def pid(self, name: str) -> int:
        """The process of a program now; 0 while it is not running. Raises SupervisionError for an unknown name."""
        found = self._call("getProcessInfo", name)
        assert isinstance(found, dict)
        return int(found["pid"])

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Stop everything and wait for the end. What does not end in time is killed with supervisord."""
        if self.process is not None:
            if self.alive:
                self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.short_directory:
            shutil.rmtree(self.short_directory, ignore_errors=True)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                self._call("getState")
            except (OSError, http.client.HTTPException):
                if not self.alive or time.monotonic() > deadline:
                    raise SupervisionError(f"supervisord does not answer; look into {self.log}.") from None
                time.sleep(0.05)
            else:
                return

    def _call(self, method: str, *arguments: object) -> object:
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket, self.password))
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            raise SupervisionError(f"supervisord refused {method} {arguments}: {fault.faultString}") from None


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, password: str) -> None:
        super().__init__()
        self.path = path
        self.password = password

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(60)
        connection.sock.connect(str(self.path))
        return connection

    def send_headers(self, connection: http.client.HTTPConnection, headers: list[tuple[str, str]]) -> None:
        from base64 import b64encode

        credentials = b64encode(f"lastgood:{self.password}".encode()).decode()
        super().send_headers(connection, [*headers, ("Authorization", f"Basic {credentials}")])


def _escaped(value: object) -> str:
    """supervisord expands % in every value of its configuration."""
    return str(value).replace("%", "%%")
