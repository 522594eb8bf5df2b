"""A command of an owner's suite: run without a shell, within limits, and ended whole."""

import contextlib
import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from incidents.rollback.gating.junit import MOST_BYTES

LAUNCH = Path(__file__).with_name("launch.py")
MARK = "LASTGOOD_SUITE"
"""Stands in the environment of a suite's processes, by which those are found that left its process group."""
LARGEST_FILE = 256 * 2**20
LOOK_SECONDS = 0.1
SWEEP_SECONDS = 10.0
PR_SET_DUMPABLE = 4
OUTPUT_CHARACTERS = 8000


@dataclass(frozen=True)
class Ended:
    """How a command ended. `why` is why it was killed, else empty; `report` is None where it wrote none."""

    status: int
    why: str
    seconds: float
    report: bytes | None
    output: str


def run_command(
    argv: Sequence[str],
    *,
    mark: str,
    told: Mapping[str, str],
    seconds: float,
    memory_bytes: int,
    goes_on: Callable[[], bool],
) -> Ended:
    """Run the command in an empty folder of its own and wait for its end.

    `mark` is the asking's, and after a colon that of the attempt: what earlier attempts left is ended at the beginning.
    `told` is its whole environment, with MARK and LASTGOOD_REPORT, where it writes its report ("$report" in an argument
    stands for that). It is killed after `seconds`, where its processes hold more than `memory_bytes` together (each
    may reserve as much, too), and as soon as `goes_on()`, which is asked all the while, is false. Nothing of it is left
    when this returns.
    """
    hide_memory()
    sweep(mark.partition(":")[0])
    with tempfile.TemporaryDirectory(prefix="lastgood-suite-") as folder:
        report, output = Path(folder) / "report.xml", Path(folder) / "output.txt"
        limits = [str(os.getpid()), str(memory_bytes), str(LARGEST_FILE)]
        command = [word.replace("$report", str(report)) for word in argv]
        begun = time.monotonic()
        with output.open("wb") as printed:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCH), *limits, *command],
                cwd=folder,
                env={**told, MARK: mark, "LASTGOOD_REPORT": str(report), "HOME": folder, "TMPDIR": folder},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                why = _wait(process, mark, begun + seconds, seconds, memory_bytes, goes_on)
            finally:
                _end(process)
                sweep(mark)
        taken = time.monotonic() - begun
        return Ended(process.returncode, why, taken, _read(report), _tail(output))


def _wait(
    process: subprocess.Popen[bytes],
    mark: str,
    deadline: float,
    seconds: float,
    memory_bytes: int,
    goes_on: Callable[[], bool],
) -> str:
    """Why it has to be killed; empty when it has ended by itself."""
    while process.poll() is None:
        if time.monotonic() > deadline:
            return f"it was ended after {seconds:g} s"
        if _held(process.pid) > memory_bytes:
            return f"it held more than {memory_bytes // 2**20} MiB"
        if not goes_on():
            return "it was called off"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LOOK_SECONDS)
    return ""


def _held(pid: int) -> int:
    """Bytes of memory that a process and what it started hold."""
    held = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for one in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                held += one.memory_info().rss
    return held


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the program that supervises it end all of it; where it does not, kill its group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SWEEP_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def hide_memory() -> None:
    """Let no other process of the same user read this one's environment and memory, nor trace it (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def sweep(mark: str) -> int:
    """Kill every process of ours that carries the mark, until none is left: those that left the group of a suite, and
    those of an attempt whose worker died. Returns how many were killed."""
    killed, deadline = 0, time.monotonic() + SWEEP_SECONDS
    while (found := _marked(mark)) and time.monotonic() < deadline:
        for one in found:
            with contextlib.suppress(psutil.Error):
                one.kill()
                killed += 1
        psutil.wait_procs(found, timeout=0.2)
    return killed


def _marked(mark: str) -> list[psutil.Process]:
    """Our own living processes whose environment carries the mark, whatever they were reparented to."""
    found = []
    own = os.getuid()
    for one in psutil.process_iter(["uids", "status"]):
        uids = one.info["uids"]
        if uids is None or uids.real != own or one.info["status"] == psutil.STATUS_ZOMBIE or one.pid == os.getpid():
            continue
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            found_mark = one.environ().get(MARK, "")
            if found_mark == mark or found_mark.partition(":")[0] == mark:
                found.append(one)
    return found


def _read(report: Path) -> bytes | None:
    """The report, at most one byte more than is read; nothing behind a link."""
    try:
        handle = os.open(report, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        return file.read(MOST_BYTES + 1)


def _tail(output: Path) -> str:
    with output.open("rb") as file:
        file.seek(max(0, output.stat().st_size - 4 * OUTPUT_CHARACTERS))
        return file.read().decode(errors="replace").replace("\0", "")[-OUTPUT_CHARACTERS:]


def changed_files(files: Mapping[str, str]) -> list[str]:
    """Of files by path with their SHA-256: those that are not, or can't be read, as they were registered."""
    changed = []
    for path, sha256 in files.items():
        try:
            with open(path, "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except OSError:
            same = False
        if not same:
            changed.append(path)
    return changed
