"""Hosts without the seconds that importing torch takes: a process that has it loaded already, and forks.

Each host is a process of its own with its own environment, which runs `python -m host`'s main module and nothing else.
Run as `python -m tests.host.nursery` it reads orders, one JSON object a line, and answers each with a line.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from config.embedded.launch import PR_SET_PDEATHSIG

ROOT = Path(__file__).resolve().parents[2]
LOADED = ("torch", "numpy", "httpx", "uvicorn", "rfc8785")
"""What hosts import, but nothing of the host itself, and not pyarrow, which begins a thread at once."""


class Nursery:
    """The process that has everything loaded, as its owner sees it. It ends with its owner, and its hosts with it."""

    def __init__(self) -> None:
        # OpenBLAS would start threads when it is loaded, and a process with threads can't be forked.
        env = {"PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.host.nursery"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._lock = threading.Lock()

    def start(self, env: dict[str, str], log: Path) -> "Child":
        """A host with this environment and no other; what it says goes to the end of `log`."""
        return Child(self, int(self.ask(do="start", env=env, log=str(log))))

    def ask(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


@dataclass
class Child:
    """One host's process, with what tests use of Popen."""

    nursery: Nursery
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.nursery.ask(do="poll", pid=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Raises TimeoutExpired when it still runs after so many seconds."""
        deadline = time.monotonic() + timeout
        while (ended := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("python -m host", timeout)
            time.sleep(0.01)
        return ended

    def send_signal(self, number: int) -> None:
        """It is not reaped before it is asked for, so the number is its own until then."""
        if self.returncode is None:
            os.kill(self.pid, number)


@cache
def nursery() -> Nursery:
    """The one of this process of the tests."""
    return Nursery()


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads run after the imports: a fork would lose them"
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "start":
            answer = _fork()
            if answer == 0:
                _become(order["env"], order["log"])
        else:
            answer = _status(order["pid"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork() -> int:
    parent, child = os.getpid(), os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    return child


def _become(env: dict[str, str], log: str) -> None:
    """Never returns: the host's own exit ends the process."""
    os.environ.clear()
    os.environ.update(env)
    words = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (words, 1), (words, 2)):
        os.dup2(source, target)
    sys.argv = ["host"]
    runpy.run_module("host", run_name="__main__", alter_sys=True)
    sys.exit(0)


def _status(pid: int) -> int | None:
    """None while it runs, else its exit status or the negative number of the signal that ended it."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


if __name__ == "__main__":
    main()
