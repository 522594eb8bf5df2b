"""Everything that runs: the product's own stack, three serving hosts, and the traffic, each a process of its own."""

import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from config.embedded.ports import free_port
from config.embedded.programs import Program, plain_environment
from config.embedded.stack import Stack
from demo.mailbox import Mailbox

ROOT = Path(__file__).resolve().parent.parent
ENDPOINT = "employment-production"
HOSTS = ("gpu-a", "gpu-b", "gpu-c")
RATE = 66.0

COMPRESSED: dict[str, tuple[str, str]] = {
    "LASTGOOD_OBSERVE_SECONDS": ("2", "hosts are observed every 2 s instead of 15 s"),
    "LASTGOOD_GOLDEN_SECONDS": ("10", "golden probes run every 10 s instead of 60 s"),
    "LASTGOOD_LEASE_SECONDS": ("5", "a worker's lease lasts 5 s instead of 15 s"),
}
ENDPOINT_SECONDS = {"soak_seconds": 15, "wave_soak_seconds": 4, "watch_seconds": 15, "undo_seconds": 60}
MONITOR = {
    "window_seconds": 5,
    "grace_seconds": 2,
    "label_delay_seconds": 4,
    "min_rows": 150,
    "for_windows": 2,
    "clear_windows": 2,
}


def compressed_clocks() -> list[str]:
    """What is shorter here than in production, in words."""
    return [
        *(words for _, words in COMPRESSED.values()),
        f"a version soaks {ENDPOINT_SECONDS['soak_seconds']} s in production before it is last-good, instead of a day",
        f"the canary soaks {ENDPOINT_SECONDS['wave_soak_seconds']} s, instead of 2 minutes",
        f"the rollback is watched for {ENDPOINT_SECONDS['watch_seconds']} s, instead of 15 minutes",
        f"monitoring judges windows of {MONITOR['window_seconds']} s, instead of 5 minutes; "
        f"labels arrive within {MONITOR['label_delay_seconds']} s",
    ]


@dataclass
class Stage:
    """The processes of one demo in one directory. Hosts listen on ports of their own, on this machine only."""

    var: Path
    port: int
    say: Any
    stack: Stack = field(init=False)
    hosts: dict[str, tuple[str, str]] = field(default_factory=dict)
    mailbox: Mailbox = field(init=False)

    def __post_init__(self) -> None:
        given = {name: value for name, (value, _) in COMPRESSED.items()}
        given |= {name: os.environ[name] for name in ("LOG_LEVEL",) if name in os.environ}
        given["LASTGOOD_DEMO"] = str(self.tries.resolve())
        self.mailbox = Mailbox(free_port(not_in=frozenset({self.port})), self.var / "letters")
        given |= {"EMAIL_HOST": "127.0.0.1", "EMAIL_PORT": str(self.mailbox.port), "EMAIL_USE_TLS": "0"}
        self.stack = Stack(self.var, port=self.port, given=given, say=self.say)

    def open(self) -> None:
        """Remove what an earlier demo left, and start the product."""
        self.stack.remove_data()
        self.tries.mkdir(parents=True)
        self.mailbox.open()
        self.stack.start()

    def close(self) -> None:
        self.stack.stop()
        self.mailbox.close()

    def start_hosts(self, ingest_token: str) -> None:
        """Three hosts, three processes; `hosts` maps the name to address and control token."""
        taken = {self.port}
        for name in HOSTS:
            port = free_port(not_in=frozenset(taken))
            taken.add(port)
            token = secrets.token_urlsafe(24)
            self.hosts[name] = (f"http://127.0.0.1:{port}", token)
            env = {
                "LASTGOOD_HOST_NAME": name,
                "LASTGOOD_HOST_PORT": str(port),
                "LASTGOOD_HOST_STATE": str(self.var / "hosts" / name),
                "LASTGOOD_HOST_TOKEN": token,
                "LASTGOOD_SERVER": self.stack.url,
                "LASTGOOD_INGEST_TOKEN": ingest_token,
                "LASTGOOD_HOST_ENDPOINT": ENDPOINT,
                "LASTGOOD_LOG_BATCH_SECONDS": "1",
                "LIE_FILE": str(self.lie_file(name)),
            }
            self._add(f"host-{name}", [sys.executable, "-m", "demo.lying"], env)

    def wait_for_hosts(self, seconds: float = 60) -> None:
        """Return when each host answers. Raises TimeoutError naming the one that does not."""
        deadline = time.monotonic() + seconds
        for name, (address, _) in self.hosts.items():
            while not _answers(f"{address}/v2/health/live"):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"The host {name} does not answer. Look into {self.var / 'log'}.")
                time.sleep(0.2)

    def start_traffic(self, ingest_token: str) -> None:
        env = {
            "TRAFFIC_HOSTS": ",".join(address for address, _ in self.hosts.values()),
            "TRAFFIC_ENDPOINT": ENDPOINT,
            "TRAFFIC_RATE": str(RATE),
            "TRAFFIC_STATISTICS": str(self.statistics),
            "LASTGOOD_SERVER": self.stack.url,
            "LASTGOOD_INGEST_TOKEN": ingest_token,
        }
        self._add("traffic", [sys.executable, "-m", "demo.traffic"], env)

    @property
    def tries(self) -> Path:
        """The folder of the board of things to try."""
        return self.var / "tries"

    def lie_file(self, host: str) -> Path:
        """While this file is there, the host lies about its weights."""
        return self.tries / f"lies-{host}"

    def switches(self, host: str, fence: int) -> int:
        """How often a host switched under a fence, by the log that it keeps itself."""
        lines = (self.var / "log" / f"host-{host}.log").read_text().splitlines()
        acts = [json.loads(line.split(" switch ", 1)[1]) for line in lines if " switch {" in line]
        return sum(act["fence"] == fence for act in acts)

    @property
    def statistics(self) -> Path:
        return self.var / "traffic.json"

    def traffic(self) -> dict[str, Any]:
        """What the client has seen so far."""
        if not self.statistics.exists():
            return {"requests": 0, "failed": 0, "answered_by": {}, "failures": [], "buckets": {}}
        found: dict[str, Any] = json.loads(self.statistics.read_text())
        return found

    def _add(self, name: str, argv: list[str], env: dict[str, str]) -> None:
        threads = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.stack.add(Program(name=name, argv=argv, env=plain_environment() | threads | env, cwd=ROOT))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
