"""Started as a program of its own, outside of Lastgood: runs the command of a suite within limits, and ends all of it.

Arguments: the parent's process id, bytes of address space, bytes of any one file, then the command. It imports nothing
of Lastgood and runs isolated (`python -I -S`). What the command starts and leaves behind becomes its child
(PR_SET_CHILD_SUBREAPER), in whatever session and with whatever environment, and is killed before it ends. It ends as
the command did; on SIGTERM it ends everything at once.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
NO_PROGRAM = 127


class Called(Exception):
    """It was told to end."""


def main(arguments: list[str]) -> int:
    parent, memory, largest_file = (int(word) for word in arguments[:3])
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _called)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return NO_PROGRAM  # the worker died before the signal was asked for
    child = os.fork()
    if child == 0:
        os._exit(_become(arguments[3:], library, memory, largest_file))
    try:
        status = _ended(child)
    except Called:
        status = -signal.SIGTERM
    _end_all()
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _called(number: int, frame: Any) -> None:
    raise Called


def _become(command: list[str], library: Any, memory: int, largest_file: int) -> int:
    supervisor = os.getppid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:
        return NO_PROGRAM
    os.umask(0o077)
    for what, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, largest_file), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (limit, limit))
    try:
        os.execv(command[0], command)  # noqa: S606  that there is no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]} can't be run: {error.strerror}\n")
        sys.stderr.flush()
    return NO_PROGRAM


def _ended(child: int) -> int:
    """How the command ended: its status, or below zero the signal that ended it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def _end_all() -> None:
    """Kill what is left, until nothing is: what a killed process had started comes to us in turn."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        for pid in _children():
            os.kill(pid, signal.SIGKILL)  # ours and not buried yet, so that no other can have its number
        try:
            os.wait()
        except ChildProcessError:
            return


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
