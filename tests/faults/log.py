"""What the fault tests of the log share: its programs as real processes, and where they may be found."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from audit.actions import service_actor
from audit.integrity import Report, verify_log
from audit.models import AuditCheckpoint, AuditEvent, AuditLeaf
from audit.note import create_key_file
from tests.conftest import ROOT
from tests.ports import free_port

ORIGIN = "lastgood.local/log"
SETUP = service_actor("test")


@dataclass
class Programs:
    """Sequencers, witnesses and a web server on one database; what still runs at the end is killed."""

    env: dict[str, str]
    folder: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = self.folder / "log.key"
        self.vkey = create_key_file(self.key, ORIGIN).vkey
        self.env = self.env | {"LASTGOOD_LOG_KEY_FILE": str(self.key)}

    @property
    def memory(self) -> Path:
        return self.folder / "log.key.last"

    def start(self, name: str, *command: str, **env: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *command], cwd=ROOT, env=self.env | env, stdout=log, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def sequencer(self, name: str = "sequencer") -> subprocess.Popen[bytes]:
        return self.start(name, "manage.py", "audit", "sequence")

    def web(self, **env: str) -> str:
        """Gunicorn, as in production; returns its address."""
        port = free_port()
        self.start("web", "-m", "gunicorn", "--threads", "4", "--bind", f"127.0.0.1:{port}", "config.wsgi", **env)
        return f"http://127.0.0.1:{port}"

    def witness(self, url: str, token: str) -> subprocess.Popen[bytes]:
        files = {"--key": self.folder / "witness.key", "--state": self.folder / "witness.state"}
        options = [f"{name}={value}" for name, value in files.items()]
        options += ["--name=witness.example/w1", f"--log-url={url}", f"--log-key={self.vkey}", "--every=0.2"]
        return self.start("witness", "manage.py", "audit", "witness", *options, LASTGOOD_WITNESS_TOKEN=token)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()


def whole(vkey: str) -> Report:
    """The verified log: no leaf is missing, none is there twice, and each size was signed with one root."""
    report = verify_log(vkey)
    assert report.problems == []
    assert report.size == AuditLeaf.objects.count() == AuditEvent.objects.count()
    sizes = list(AuditCheckpoint.objects.order_by("size").values_list("size", flat=True))
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == report.size
    return report
