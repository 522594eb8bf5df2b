"""What a supervised program is, and how it is written down for the launcher."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NEVER = 255
LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Program:
    """One process: what runs, with which environment (all of it, nothing is inherited), as whom, and how it ends.

    It is not started again where it ended with ``final_status``: a person has to look first.
    """

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = Path("/")
    user: str | None = None
    nice: int = 0
    death_signal: int = signal.SIGKILL
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    final_status: int = NEVER

    def write(self, directory: Path) -> list[str]:
        """Write the launcher's file, readable by this user alone, and return the command that runs it."""
        path = directory / f"{self.name}.json"
        spec = {
            "argv": self.argv,
            "env": dict(self.env),
            "cwd": str(self.cwd),
            "user": self.user,
            "nice": self.nice,
            "death_signal": int(self.death_signal),
        }
        write_private(path, json.dumps(spec))
        return [sys.executable, "-I", "-S", str(LAUNCHER), str(path)]

    def spawn(self, directory: Path, log: Path) -> subprocess.Popen[bytes]:
        """Run it as a child of this thread, which must outlive it; its words go to `log`."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.write(directory),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )


def write_private(path: Path, text: str) -> None:
    """Replace the file in one step, with mode 0600 from its first byte on."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)


def plain_environment(*passed: str) -> dict[str, str]:
    """Path, home and language, and the named variables where they are set: what any program may see."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", *passed)
    return {name: os.environ[name] for name in names if name in os.environ}
