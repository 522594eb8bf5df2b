"""How long a fleet of three hosts takes from the last approval until all have switched, and what its callers notice.

The whole product runs (database, broker, workers, clock, web) with three bundled hosts as processes of their own. The
target version is warm, as a passed preflight leaves it; waves do not soak. Meanwhile each host answers one row at a
time, 100 a second, to a client that counts every answer which is not a whole 200 of one of the two versions. Five
changes are made, forth and back; each figure is the slowest. `warm_switch_seconds` ends when the last host was read
back to have switched, `warm_verified_seconds` when what then answers ordinary requests on the last host has given the
golden outputs. Targets: at most 2 s and 5 s, and 0 failed of at least 10,000 requests.

`floor` is the time of the three pointer changes alone, asked of the hosts one after the other without Lastgood.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.report import machine, report
from config.embedded.ports import free_port
from config.embedded.stack import Stack

ROOT = Path(__file__).resolve().parent.parent
ROUNDS, REQUESTS = 5, 10_000
SECONDS, VERIFIED_SECONDS, FAILED = 2.0, 5.0, 0
PAUSE = 0.01
MOST_BEHIND = 0.25
HOSTS = ("h1", "h2", "h3")
TOKEN = "the-benchmark-s-own-token"
ROWS = {"AGE": [20, 41, 77], "COLOR": [1, 2, 3], "SHAPE": [0, 5, 0]}


@dataclass
class Client:
    """One caller of one host, one row at a time, every `pause` seconds until it is told to end. What an answer took too
    long is caught up with, up to MOST_BEHIND seconds."""

    port: int
    ended: threading.Event
    digests: set[str]
    pause: float
    requests: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self) -> None:
        inputs = [{"name": name, "shape": [1], "datatype": "INT64", "data": data[:1]} for name, data in ROWS.items()]
        body = json.dumps({"inputs": inputs}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        due = time.monotonic()
        while not self.ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.pause, time.monotonic() - MOST_BEHIND)
            self.requests += 1
            try:
                connection.request("POST", "/v2/models/bench/infer", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or json.loads(content)["parameters"]["digest"] not in self.digests:
                    self.failed.append(f"{answer.status} {content[:200]!r}")
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.failed.append(repr(error))
                connection.close()


@contextmanager
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What is put into the list is ended with the block."""
    running: list[subprocess.Popen[bytes]] = []
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


@contextmanager
def hosts(folder: Path, names: tuple[str, ...] = HOSTS) -> Iterator[dict[str, int]]:
    """Bundled hosts on free ports, by name. What they say goes to `folder`."""
    ports: dict[str, int] = {}
    with processes() as running:
        for name in names:
            ports[name] = free_port(not_in=frozenset(ports.values()))
            env = os.environ | {
                "LASTGOOD_HOST_NAME": name,
                "LASTGOOD_HOST_PORT": str(ports[name]),
                "LASTGOOD_HOST_STATE": str(folder / name),
                "LASTGOOD_HOST_TOKEN": TOKEN,
            }
            with (folder / f"{name}.log").open("wb") as log:
                command = [sys.executable, "-m", "host"]
                running.append(subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log))
        for port in ports.values():
            wait_for_host(port)
        yield ports


def wait_for_host(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/v2/health/ready")
            if connection.getresponse().status == 200:
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@dataclass(frozen=True)
class Change:
    """How long one change took, in seconds from the last approval: until the last host was read back to have switched,
    until the last golden test after a switch has passed, and until the run had put all of its waves behind it."""

    switched: float
    verified: float
    ended: float


class Bench:
    """An endpoint on these hosts, two versions of a small model, and three people."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        from accounts.actions import create_user
        from audit.actions import service_actor
        from registry.actions import place, register_endpoint, register_host, register_model

        setup = service_actor("bench")
        self.folder, self.ports, self.setup = folder, ports, setup
        self.people = {
            role: create_user(
                username=role,
                email=f"{role}@example.org",
                full_name=role,
                password="a long enough sentence",
                roles=[role],
                actor=setup,
            )
            for role in ("responder", "commander", "approver")
        }
        self.model = register_model(slug="bench", name="Bench", team="bench", actor=setup)
        seconds = {"wave_soak_seconds": 0, "watch_seconds": 3600, "undo_seconds": 3600}
        self.endpoint = register_endpoint(slug="bench", name="Bench", model=self.model, actor=setup, **seconds)
        for name, port in ports.items():
            address = f"http://127.0.0.1:{port}"
            host = register_host(
                name=name, engine="bundled", address=address, control_token=TOKEN, labels={}, actor=setup
            )
            place(endpoint=self.endpoint, host=host, actor=setup)
        self.versions = [self.register(seed) for seed in (1, 2)]

    def register(self, seed: int) -> Any:
        """A version whose golden outputs are what the first host answers with it."""
        from registry.actions import register_version
        from registry.serving import driver_for
        from registry.serving.base import HostAddress
        from tests.host.artifacts import make_model

        manifest, blobs = make_model(self.folder / str(seed), seed, model="bench")
        driver, address = driver_for("bundled"), HostAddress(f"http://127.0.0.1:{self.ports['h1']}", TOKEN)
        driver.stage(address, "bench", f"probe{seed}", manifest, blobs)
        driver.load(address, "bench", f"probe{seed}")
        answered = driver.infer(address, "bench", ROWS, version=f"probe{seed}").outputs
        outputs = {
            name: [value if isinstance(value, int) else f"{value:.6f}" for value in values]
            for name, values in answered.items()
        }
        golden = {"format": "lastgood-golden/1", "inputs": ROWS, "outputs": outputs, "tolerance": "0.0001"}
        return register_version(
            model=self.model, manifest=manifest, files=blobs, golden=json.dumps(golden).encode(), actor=self.setup
        )

    def change_to(self, version: Any) -> Change:
        """A whole release: proposed, preflighted, approved, and waited for to its last gate."""
        return self.carried_out(self.proposed(version))

    def proposed(self, version: Any, kind: str = "release", **options: Any) -> Any:
        """A plan that has passed its preflight and waits for approvals."""
        from accounts.actions import actor_for
        from incidents.rollback.models import Plan
        from incidents.rollback.plan import propose

        user = self.people["responder"]
        plan = propose(
            kind=kind,
            endpoint=self.endpoint,
            to_version=version,
            reason="To measure.",
            user=user,
            actor=actor_for(user=user),
            **options,
        )
        waiting = Plan.objects.filter(pk=plan.pk, request__isnull=False)
        self.poll(waiting.exists, 180, lambda: list(plan.preflights.values_list("question", "answer", "observed")))
        plan.refresh_from_db()
        return plan

    def carried_out(self, plan: Any, seconds: float = 60) -> Change:
        """Approve a plan and wait until its run is over, `seconds` at most."""
        from django.utils import timezone

        from accounts.actions import actor_for
        from accounts.approvals.actions import decide
        from accounts.approvals.evidence import show
        from incidents.rollback.models import Run

        for role in ("commander", "approver"):
            person = self.people[role]
            decision = decide(
                request_id=plan.request_id,
                user=person,
                decision="approve",
                subject_hash=plan.plan_hash,
                reason="",
                auth_method="password",
                auth_time=timezone.now(),
                evidence=show(plan.request, person)[0],
                actor=actor_for(user=person),
            )
        runs = Run.objects.filter(plan=plan)
        self.poll(runs.filter(state="switched").exists, seconds, lambda: list(runs.values("state", "state_reason")))
        decision.refresh_from_db()
        run = runs.get()
        marks = [step.marks for step in run.steps.all()]
        moments = [max(datetime.fromisoformat(mark[name]) for mark in marks) for name in ("switched", "postcheck_ok")]
        return Change(*((moment - decision.decided_at).total_seconds() for moment in (*moments, run.switched_at)))

    @staticmethod
    def poll(holds: Any, seconds: float, told: Any) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit(f"The change did not come to its end: {told()}")
            time.sleep(0.05)

    def pointers_alone(self, fence: int) -> float:
        """The three switches without anything of ours around them."""
        from registry.serving import driver_for
        from registry.serving.base import HostAddress

        version, driver = self.versions[0], driver_for("bundled")
        begun = time.perf_counter()
        for port in self.ports.values():
            address = HostAddress(f"http://127.0.0.1:{port}", TOKEN)
            driver.switch(address, "bench", str(version.number), version.digest, fence)
        return time.perf_counter() - begun


def main() -> int:
    on = machine()
    with tempfile.TemporaryDirectory(prefix="lastgood-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        var = folder / "var"
        stack = Stack(var, port=free_port(), given={"LASTGOOD_OBSERVE_SECONDS": "5"})
        try:
            stack.start()
            os.environ.update(stack.env)
            with hosts(folder) as ports:
                return measure(folder, ports, on)
        finally:
            stack.stop()
            stack.remove_data()


def measure(folder: Path, ports: dict[str, int], on: str) -> int:
    import django

    django.setup()
    bench = Bench(folder, ports)
    bench.change_to(bench.versions[0])
    ended = threading.Event()
    digests = {version.digest for version in bench.versions}
    clients = [Client(port, ended, digests, PAUSE) for port in ports.values()]
    threads = [threading.Thread(target=client.run) for client in clients]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        took = [bench.change_to(bench.versions[(turn + 1) % 2]) for turn in range(ROUNDS)]
        deadline = time.monotonic() + 120
        while sum(client.requests for client in clients) < REQUESTS and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    requests = sum(client.requests for client in clients)
    rate = round(requests / (time.monotonic() - begun), 1)
    failed = [sentence for client in clients for sentence in client.failed]
    for sentence in failed[:5]:
        print(sentence, file=sys.stderr)
    alone = bench.pointers_alone(fence=1_000)
    switched, verified = sorted(change.switched for change in took), sorted(change.verified for change in took)
    figures = ("warm_switch_seconds", switched, SECONDS), ("warm_verified_seconds", verified, VERIFIED_SECONDS)
    met = True
    for name, times, target in figures:
        peers = {"median": round(times[ROUNDS // 2], 4), "requests_per_second": rate}
        met &= report(name, times[-1], "s", target, at_least=False, on=on, floor=alone, peers=peers)
    enough = {"requests": requests}
    met &= report("warm_switch_failed_requests", len(failed), "requests", FAILED, at_least=False, on=on, peers=enough)
    return 0 if met and requests >= REQUESTS else 1


if __name__ == "__main__":
    sys.exit(main())
