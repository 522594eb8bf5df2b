"""What supervisord starts again, and what it leaves for a person to look at."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.embedded.programs import Program
from config.embedded.supervision import Supervisor
from tests.waiting import until


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "log").mkdir()
    made = Supervisor(tmp_path / "run", tmp_path / "log")
    made.open()
    yield made
    made.stop()


def ending_with(status: int, tmp_path: Path, final_status: int) -> tuple[Program, Path]:
    """A program that notes its start and ends at once with that status."""
    notes = tmp_path / f"starts-{status}"
    code = f"open({str(notes)!r}, 'a').write('x'); raise SystemExit({status})"
    return Program(f"ends{status}", [sys.executable, "-c", code], final_status=final_status), notes


def test_a_program_that_ends_is_started_again_unless_it_ended_for_good(supervisor: Supervisor, tmp_path: Path) -> None:
    for_good, its_starts = ending_with(3, tmp_path, final_status=3)
    supervisor.start(for_good)
    other, starts = ending_with(1, tmp_path, final_status=3)
    supervisor.start(other)
    until(lambda: starts.exists() and len(starts.read_text()) >= 3, seconds=60)
    assert its_starts.read_text() == "x"
