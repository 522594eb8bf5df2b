"""Many endpoints side by side on three hosts, with workers, a clock, a nursery for workers that die, and a judge."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from django.conf import settings as django_settings
from django.db import connections

from accounts.actions import actor_for, issue_token
from accounts.models import User
from audit.export import write_bundle
from incidents.rollback import advance, decided, preflight
from incidents.rollback.models import ACTIVE_RUN_STATES, Plan, PlanState, Run, RunState, Watch, WatchState
from registry.actions import place
from registry.models import Deployment, Host, Version
from tests.audit.log import sequence_all, sequencer_in
from tests.faults.judge import Judgement, final_defaults
from tests.faults.points import Point
from tests.host.fixtures import HostProcess
from tests.host.nursery import Child
from tests.incidents.rollback.fleet import SETUP, Fleet
from tests.ports import free_port
from tests.waiting import answers, until

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 1.0
PATIENT = 90.0
"""What a busy machine may need for what takes a second or two."""


class Endpoint(Fleet):
    """An endpoint of the town, with everybody's hosts and people. It goes forth and back between its versions."""

    town: "Town"

    @staticmethod
    def processes_in(town: "Town") -> list[HostProcess]:
        return town.hosts

    def build(self, **fields: Any) -> "Endpoint":
        super().build(**{"environment": "staging", **fields})
        return self

    def people(self) -> None:
        if self.town.people is None:
            super().people()
            self.town.people = self
        for name in ("responder", "commander", "approver", "viewer", "approvers"):
            setattr(self, name, getattr(self.town.people, name))

    def add_host(self, process: HostProcess, address: str = "") -> Host:
        host = Host.objects.filter(name=process.name).first()
        if host is None:
            return super().add_host(process, address)
        place(endpoint=self.endpoint, host=host, actor=SETUP)
        return host

    def awaiting(self, version: Version | None = None, **wish: Any) -> Plan:
        self.wait_for_hosts()
        return prepared(self, self.propose(version, **wish))

    def wait_for_hosts(self) -> None:
        """Until each answers at the address that is registered: one may be booting after what a test did to it."""
        addresses = [host.address for host in Host.objects.filter(placements__endpoint=self.endpoint)]
        until(lambda: all(answers(f"{address}/v2/health/ready") for address in addresses), seconds=PATIENT)

    @property
    def served(self) -> Version:
        """What the endpoint's first host was last recorded to serve."""
        return Deployment.objects.get(endpoint=self.endpoint, host=self.hosts[0], until=None).version

    @property
    def other(self) -> Version:
        return self.good if self.served == self.bad else self.bad


@dataclass
class Nursery:
    """A process that makes workers which die; see tests/faults/program.py."""

    process: subprocess.Popen[str]

    def _say(self, order: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def begin(self, task: str, *args: object, point: Point | None = None, visited: Path | None = None) -> None:
        order = {"task": task, "args": [str(arg) for arg in args], "point": point.dump() if point else ""}
        self._say(order | {"visited": str(visited or "")})

    def ends(self) -> list[int]:
        """How those begun since the last time have ended, in order: 0, or the signal as a negative number."""
        assert self.process.stdout is not None
        self._say({"task": "wait"})
        found: list[int] = json.loads(self.process.stdout.readline())
        return found


@dataclass
class Town:
    """`env` is the environment of a program on the town's database, `code` where its programs are started from."""

    env: dict[str, str]
    folder: Path
    hosts: list[HostProcess]
    further: list[HostProcess] = field(default_factory=list)
    people: Fleet | None = None
    endpoints: list[Endpoint] = field(default_factory=list)
    started: list[subprocess.Popen[Any]] = field(default_factory=list)
    code: Path = ROOT

    def __post_init__(self) -> None:
        # Broker database 0 belongs to tests that start no worker; theirs would take our messages, and ours theirs.
        self.redis = self.env["REDIS_URL"].rsplit("/", 1)[0] + f"/{1 + os.getpid() % 15}"
        self.ledger = self.folder / "acknowledged"
        self.env = self.env | {
            "REDIS_URL": self.redis,
            "LASTGOOD_VAR": str(django_settings.LASTGOOD_VAR),
            "LASTGOOD_LEASE_SECONDS": str(LEASE_SECONDS),
            "LASTGOOD_CLOCK_SECONDS": "0.2",
            "LASTGOOD_OBSERVE_SECONDS": "2",
            "LASTGOOD_GOLDEN_SECONDS": "5",
            "LASTGOOD_WATCH_PATIENCE_SECONDS": "5",
            "OPENBLAS_NUM_THREADS": "1",
            "LEDGER": str(self.ledger),
        }
        self.flush_broker()

    # --- programs ---------------------------------------------------------------------------------------------------

    def start(self, name: str, *arguments: str, **more: Any) -> subprocess.Popen[Any]:
        """A program of tests/faults/program.py, or `module`; `env` in `more` adds to its environment."""
        env = self.env | more.pop("env", {})
        command = [sys.executable, "-m", more.pop("module", "tests.faults.program"), *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            process: subprocess.Popen[Any] = subprocess.Popen(
                command, cwd=self.code, env=env, stderr=log, **({"stdout": log} | more)
            )
        self.started.append(process)
        return process

    def clock(self, **env: str) -> subprocess.Popen[Any]:
        return self.start("clock", "clock", env=env)

    def worker(
        self, name: str = "worker", queues: str = "rollback", point: Point | None = None, **env: str
    ) -> subprocess.Popen[Any]:
        return self.start(name, "worker", name, queues, env=env | {"POINT": point.dump() if point else ""})

    def web(self, name: str = "web", point: Point | None = None, **env: str) -> str:
        """Gunicorn with one worker, which dies at the point; the address where it answers."""
        port = free_port()
        more = env | {"POINT": point.dump() if point else "", "LASTGOOD_PROGRAM": name}
        place_ = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4", "--worker-class", "gthread"]
        self.start(name, *place_, "--no-control-socket", "tests.faults.wsgi", module="gunicorn", env=more)
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/healthz"), seconds=PATIENT)
        return url

    def nursery(self) -> Nursery:
        process = self.start("nursery", "nursery", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return Nursery(process)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def flush_broker(self) -> None:
        with redis.Redis.from_url(self.redis) as client:
            client.flushdb()

    def further_hosts(self) -> list[HostProcess]:
        """Three more hosts, started when they are first asked for, for endpoints that can't share any."""
        if not self.further:
            self.further = [HostProcess(self.folder / name / "state", name, {}) for name in ("h4", "h5", "h6")]
            for host in self.further:
                host.start(ready=False)
            for host in self.further:
                host.wait_for("/v2/health/ready")
        return self.further

    def end(self) -> None:
        self.end_programs()
        for host in self.further:
            host.stop(signal.SIGKILL)
            host.http.close()
        with suppress(redis.RedisError):
            self.flush_broker()

    def end_programs(self) -> None:
        """Kill whatever was started here, with its children."""
        for process in self.started:
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        self.started.clear()

    # --- endpoints and runs -----------------------------------------------------------------------------------------

    def endpoint(self, kind: type[Endpoint] = Endpoint, **fields: Any) -> Endpoint:
        """Served by all hosts of its kind: version 2, which is bad."""
        made = kind(self.folder, kind.processes_in(self))
        made.town = self
        made.build(**fields)
        made.serve(made.bad)
        self.endpoints.append(made)
        return made

    def approved(self, endpoint: Endpoint, **wish: Any) -> Plan:
        """A plan to the endpoint's other version, approved and not started."""
        plan = endpoint.awaiting(endpoint.other, **{"kind": "drill"} | wish)
        endpoint.approve(plan, endpoint.commander)
        return plan

    def run(self, endpoint: Endpoint, **wish: Any) -> Run:
        """A run that was started, and of which no worker knows yet."""
        return self.begun(self.approved(endpoint, **wish))

    def begun(self, plan: Plan) -> Run:
        decided.request_decided(plan.request_id)
        return Run.objects.get(plan=plan)

    def warm(self, endpoint: Endpoint, **wish: Any) -> Run:
        """A run in this process, as far as it goes."""
        run = self.run(endpoint, **wish)
        advance.advance(run.pk)
        run.refresh_from_db()
        return run

    def wait_for(self, runs: Iterable[Run], *states: str, seconds: float = PATIENT) -> None:
        """Until each run is in one of the states; by default, ended."""
        wanted = {run.pk for run in runs}

        def there() -> bool:
            left = Run.objects.filter(pk__in=wanted)
            left = left.exclude(state__in=states) if states else left.filter(state__in=ACTIVE_RUN_STATES)
            return not left.exists()

        try:
            until(there, seconds=seconds)
        except AssertionError:
            rows = list(Run.objects.filter(pk__in=wanted).values_list("pk", "state", "state_reason"))
            raise AssertionError(f"runs did not come to an end: {rows}") from None

    def wait_for_watches(self, seconds: float = PATIENT) -> None:
        until(lambda: not Watch.objects.filter(state=WatchState.WATCHING).exists(), seconds=seconds)

    # --- judgement --------------------------------------------------------------------------------------------------

    def judge(self) -> Judgement:
        """Export the log, and judge by it and by the hosts' logs."""
        # What is acknowledged from now on may come too late for the bundle.
        told = set(self.ledger.read_text().split()) if self.ledger.exists() else set()
        sequencer = sequencer_in(self.folder)
        sequence_all(sequencer)
        connections["sequencer"].close()
        bundle = self.folder / "bundle.zip"
        write_bundle(bundle)
        models = {endpoint.endpoint.slug: endpoint.slug for endpoint in self.endpoints}
        logs = {host.name: host.log for host in [*self.hosts, *self.further]}
        names = {
            (process.name, endpoint.slug): host.name
            for endpoint in self.endpoints
            for process, host in zip(endpoint.processes, endpoint.hosts, strict=True)
        }
        return Judgement(bundle, sequencer.signer.vkey, logs, told, models, names)

    def defaults(self, endpoint: Endpoint) -> dict[str, str]:
        """What each of its hosts says of itself: the digest read back of what answers."""
        states = {host.name: host.http.get("/lastgood/v1/state").json() for host in endpoint.processes}
        return final_defaults(states, endpoint.slug)


def caller(url: str, user: User, *scopes: str) -> Callable[..., httpx.Response]:
    """`call("plans/ID/start/", reason=...)` posts to the API at `url` with a token of this person's."""
    _, secret = issue_token(owner=user, name="test", scopes=scopes, expires_at=None, actor=actor_for(user=user))

    def call(path: str, **body: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.post(f"{url}/api/v1/{path}", json=body, headers=headers, timeout=60)

    return call


def pause(process: subprocess.Popen[Any]) -> None:
    process.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def go_on(process: subprocess.Popen[Any] | Child) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)


def prepared(endpoint: Endpoint, plan: Plan) -> Plan:
    """Take a draft through its preflight in this process, unless a worker of the town is quicker."""
    endpoint.wait_for_hosts()
    if not preflight.run(plan.pk):
        until(lambda: Plan.objects.filter(pk=plan.pk, state=PlanState.AWAITING).exists(), seconds=PATIENT)
    plan.refresh_from_db()
    failed = list(plan.preflights.filter(answer="fail").values_list("question", "observed"))
    assert plan.state == PlanState.AWAITING, failed
    return plan


ENDED_OR_HALTED = (
    RunState.SWITCHED,
    RunState.COMPENSATED,
    RunState.STOPPED,
    RunState.FAILED,
    RunState.HALTED,
)
