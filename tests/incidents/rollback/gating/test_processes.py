"""A suite's command runs without a shell, within its limits, and nothing of it is left."""

import ctypes
import json
import os
import signal
import stat
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from incidents.rollback.gating import suites
from incidents.rollback.gating.processes import Ended, changed_files, run_command, sweep


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    """`run(code, *arguments, seconds=, memory_mib=, goes_on=)` runs a program of Python."""

    def running(code: str, *arguments: str, seconds: float = 20, memory_mib: int = 512, **more: object) -> Ended:
        program = tmp_path / "suite.py"
        program.write_text(code)
        goes_on = more.get("goes_on", lambda: True)
        return run_command(
            [sys.executable, "-I", "-S", str(program), *arguments],
            mark=str(uuid.uuid4()),
            told={"LASTGOOD_VERSION": "1"},
            seconds=seconds,
            memory_bytes=memory_mib * 2**20,
            goes_on=goes_on,  # type: ignore[arg-type]
        )

    return running


def lives(pid: int) -> bool:
    """Whether it does more than wait to be buried by a parent that buries nobody."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_it_knows_what_it_is_told_and_nothing_else(run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "of-lastgood")

    ended = run(
        "import json, os, sys; open(sys.argv[1], 'w').write(json.dumps([dict(os.environ), sys.argv, os.listdir()]))",
        "$report",
        "$(touch here); *",
    )

    assert ended.report is not None
    environment, argv, folder = json.loads(ended.report)
    assert (ended.status, ended.why) == (0, "")
    assert set(environment) - {"LC_CTYPE"} == {
        "LASTGOOD_VERSION", "LASTGOOD_SUITE", "LASTGOOD_REPORT", "HOME", "TMPDIR"
    }  # fmt: skip
    assert argv[1:] == [environment["LASTGOOD_REPORT"], "$(touch here); *"]
    assert set(folder) == {"output.txt", "report.xml"}
    assert not Path(environment["HOME"]).exists()


def test_it_is_ended_whole_at_its_limit_even_what_left_its_group(run: Callable[..., Ended], tmp_path: Path) -> None:
    noted = tmp_path / "pids"
    code = f"""
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open({str(noted)!r}, "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists({str(noted)!r}): time.sleep(0.01)
print("all started", flush=True)
time.sleep(600)
"""
    ended = run(code, seconds=1)

    assert ended.why == "it was ended after 1 s"
    assert "all started" in ended.output
    assert not lives(int(noted.read_text()))


def test_one_that_takes_too_much_memory_is_ended(run: Callable[..., Ended]) -> None:
    hoard = (
        "import time\nheld = bytearray(90 * 2**20)\nfor i in range(0, len(held), 4096): held[i] = 1\ntime.sleep(600)"
    )
    children = (
        f"import subprocess, sys\nfor _ in range(3): subprocess.Popen([sys.executable, '-c', {hoard!r}])\n{hoard}"
    )

    alone = run("held = bytearray(900 * 2**20)", memory_mib=256)
    together = run(children, memory_mib=256)

    assert (alone.status, alone.why) == (1, "")
    assert "MemoryError" in alone.output
    assert together.why == "it held more than 256 MiB"


def test_one_that_is_called_off_is_ended(run: Callable[..., Ended]) -> None:
    assert run("import time; time.sleep(600)", goes_on=lambda: False).why == "it was called off"


def test_a_report_behind_a_link_is_not_read(run: Callable[..., Ended]) -> None:
    ended = run("import os, sys; os.symlink('/etc/passwd', sys.argv[1])", "$report")

    assert ended.report is None


def test_a_program_that_is_not_there_says_so() -> None:
    ended = run_command(["/nowhere/at/all"], mark="x", told={}, seconds=5, memory_bytes=2**28, goes_on=lambda: True)

    assert (ended.status, ended.report) == (127, None)
    assert "/nowhere/at/all can't be run: No such file or directory" in ended.output


def test_sweeping_leaves_others_alone() -> None:
    assert sweep(str(uuid.uuid4())) == 0
    assert psutil.pid_exists(os.getpid())


def test_files_are_held_against_their_digests(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(b"abc")
    kept.chmod(stat.S_IRUSR)
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

    assert changed_files({str(kept): sha256}) == []
    assert changed_files({str(kept): "0" * 64, str(tmp_path / "gone"): sha256}) == [str(kept), str(tmp_path / "gone")]


def test_what_left_its_session_and_cleared_its_environment_is_ended_too(run: Callable[..., Ended]) -> None:
    ended = run(
        "import os, subprocess, sys\n"
        "code = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "gone = subprocess.Popen([sys.executable, '-I', '-S', '-c', code], env={}, start_new_session=True, "
        "stdout=subprocess.PIPE)\n"
        "open(sys.argv[1], 'wb').write(gone.stdout.readline())\n",
        "$report",
    )

    assert ended.report is not None
    assert (ended.status, ended.why) == (0, "")
    assert not lives(int(ended.report))


def test_the_workers_memory_can_not_be_read_by_a_suite_of_the_same_user(run: Callable[..., Ended]) -> None:
    run("pass")

    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0  # PR_GET_DUMPABLE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_of_somebody_elses_says_nothing_of_the_version(run: Callable[..., Ended], number: int) -> None:
    ended = run(
        "import os, sys\n"
        "open(sys.argv[1], 'w').write('<testsuite><testcase/></testsuite>')\n"
        "os.kill(os.getpid(), int(sys.argv[2]))\n",
        "$report",
        str(int(number)),
    )

    assert (ended.status, ended.why) == (-number, "")
    assert suites.judged(ended).answer == "inconclusive"
