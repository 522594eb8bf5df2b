"""The scenario's people at their programs: each signs in once, issues a token by the API, and goes on with that."""

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.test import Client

from tests.api.programs import PASSWORD, problem_of
from tests.conftest import ROOT, CommittedDatabase
from tests.host.artifacts import make_model, row
from tests.host.fixtures import TOKEN, HostProcess
from tests.waiting import until

ROWS = {
    name: [row(age, color, shape)[name][0] for age, color, shape in [(20, 1, 0), (41, 2, 5), (77, 3, 0)]]
    for name in ("AGE", "COLOR", "SHAPE")
}
TIMES = {"soak_seconds": 1, "wave_soak_seconds": 0, "watch_seconds": 0, "undo_seconds": 3600}
# Who proposes, approves and looks; nobody but the administrator can make people.
PEOPLE = {
    "rita": ["responder"],
    "carla": ["commander"],
    "cleo": ["commander"],
    "amir": ["approver"],
    "idris": ["auditor"],
    "vera": ["viewer"],
}
SCOPES = {
    "ada": ["view", "admin", "registry.write", "plan.propose", "status.publish"],
    "bea": ["view", "admin"],
    "rita": ["view", "incident.respond", "plan.propose"],
    "carla": ["view", "incident.respond", "incident.command", "plan.propose", "plan.stop", "approve"],
    "cleo": ["view", "incident.respond", "incident.command", "plan.start", "status.publish", "approve"],
    "amir": ["view", "approve"],
    "idris": ["view", "audit.view", "audit.export"],
    "vera": ["view"],
}


@dataclass
class Caller:
    """One person's program. `get` and `post` return the body of a success and fail on anything else."""

    token: str

    def __post_init__(self) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {self.token}"})

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(f"/api/v1/{path}", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def post(self, path: str, **body: Any) -> Any:
        answer = self.answer(path, **body)
        assert answer.status_code in (200, 201, 202), answer.content
        return answer.json()

    def answer(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")

    def refused(self, status: int, kind: str, path: str, **body: Any) -> dict[str, Any]:
        return problem_of(self.answer(path, **body), status, kind)

    def upload(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        answer = self.client.put(f"/api/v1/blobs/{sha256}/", data, content_type="application/octet-stream")
        assert answer.status_code in (200, 201), answer.content
        return sha256


def sign_in(name: str) -> tuple[Client, dict[str, str]]:
    """A browser that has signed in, and the header without which its session changes nothing."""
    browser = Client(enforce_csrf_checks=True)
    browser.get("/accounts/login/")
    form = {"login": name, "password": PASSWORD, "csrfmiddlewaretoken": browser.cookies["csrftoken"].value}
    assert browser.post("/accounts/login/", form).status_code == 302
    browser.get("/account/tokens/")
    return browser, {"X-CSRFToken": browser.cookies["csrftoken"].value}


def issue(name: str, *scopes: str) -> Caller:
    """A program with a new token of that person's."""
    browser, header = sign_in(name)
    wish = json.dumps({"name": "program", "scopes": scopes or SCOPES[name], "days": 1})
    answer = browser.post("/api/v1/tokens/", wish, content_type="application/json", headers=header)
    assert answer.status_code == 201, answer.content
    return Caller(answer.json()["secret"])


@dataclass
class Story:
    """An endpoint on three real hosts, known to the product by what came through its API alone."""

    folder: Path
    processes: list[HostProcess]
    people: dict[str, Caller] = field(default_factory=dict)
    model: str = field(default_factory=lambda: f"api-{uuid.uuid4().hex[:8]}")

    @property
    def endpoint(self) -> str:
        return f"{self.model}-production"

    def __getattr__(self, name: str) -> Caller:
        try:
            return self.people[name]
        except KeyError:
            raise AttributeError(name) from None

    def hire(self) -> None:
        """Ada makes the people; roles that approve she proposes, and Bea confirms them."""
        self.people["ada"], self.people["bea"] = issue("ada"), issue("bea")
        for name, roles in PEOPLE.items():
            self.ada.post(
                "users/", username=name, email=f"{name}@example.org", full_name=name.title(), password=PASSWORD,
                roles=roles,
            )  # fmt: skip
        for proposal in self.bea.get("role-proposals/")["results"]:
            self.ada.refused(403, "own-proposal", f"role-proposals/{proposal['id']}/confirm/")
            self.bea.post(f"role-proposals/{proposal['id']}/confirm/")
        for name in PEOPLE:
            self.people[name] = issue(name)

    def register(self) -> None:
        self.ada.post("models/", slug=self.model, name="Letters", team="ml", risk_tier="high")
        self.ada.post("endpoints/", slug=self.endpoint, name="Letters", model=self.model, **TIMES)
        for process in self.processes:
            wish = {"engine": "bundled", "address": process.url, "control_token": TOKEN, "labels": {}}
            self.ada.post("hosts/", name=process.name, **wish)
            self.ada.post("placements/", endpoint=self.endpoint, host=process.name)
        self.ada.post("status-pages/", slug="services", name="Services")
        self.ada.post("status-pages/services/components/", name="Letters of support", endpoint=self.endpoint)
        self.versions = [self._version(number, bias) for number, bias in ((1, 2.0), (2, -2.0))]

    def _version(self, number: int, bias: float) -> dict[str, Any]:
        """A version whose golden outputs are what a host really answers with it."""
        made = manifest, blobs = make_model(self.folder / f"v{number}", number, model=self.model, bias=bias)
        host, probe = self.processes[0], f"probe-{number}"
        assert host.put(probe, made, self.model).status_code in (200, 201)
        assert host.load(probe, self.model).status_code == 200
        outputs = {
            output["name"]: [value if isinstance(value, int) else f"{value:.6f}" for value in output["data"]]
            for output in host.infer(ROWS, probe, self.model).json()["outputs"]
        }
        golden = {"format": "lastgood-golden/1", "inputs": ROWS, "outputs": outputs, "tolerance": "0.0001"}
        for path in blobs.values():
            self.ada.upload(path.read_bytes())
        metrics = {"holdout": {"accuracy": 0.8}}
        golden_sha256 = self.ada.upload(json.dumps(golden).encode())
        wish = {"model": self.model, "manifest": json.loads(manifest), "golden": golden_sha256, "metrics": metrics}
        return self.ada.post("versions/", **wish)

    def propose(self, who: Caller, kind: str, to_version: int, **wish: Any) -> dict[str, Any]:
        """A plan whose preflight has passed and whose approvers are asked."""
        body = {"endpoint": self.endpoint, "to_version": to_version, "reason": "It must be.", "min_requests": 0} | wish
        plan = who.post("plans/", kind=kind, **body)
        return self.awaiting(plan["id"])

    def awaiting(self, plan: str) -> dict[str, Any]:
        until(lambda: self.vera.get(f"plans/{plan}/")["state"] == "awaiting_approval", 120, every=0.2)
        return self.vera.get(f"plans/{plan}/")

    def decide(self, who: Caller, plan: dict[str, Any], decision: str = "approve", **changes: Any) -> Any:
        return who.post(f"approvals/{plan['request']}/decide/", **self.decision(plan, decision, who), **changes)

    def decision(self, plan: dict[str, Any], decision: str = "approve", who: Caller | None = None) -> dict[str, Any]:
        shown = (who or self.vera).get(f"approvals/{plan['request']}/evidence/")
        words = {"evidence": shown["digest"], "reason": "I have read it."}
        return {"decision": decision, "subject_hash": plan["plan_hash"], **words}

    def verified(self, plan: dict[str, Any]) -> dict[str, Any]:
        """The plan's run, when every host has switched and it is verified. With so little traffic as a test's, some
        questions stay open after a version that was live before: then a commander signs off, as the page asks."""
        until(lambda: self.vera.get(f"plans/{plan['id']}/")["run"], 120, every=0.2)
        run = self.vera.get(f"plans/{plan['id']}/")["run"]
        until(lambda: self._ended(self.vera.get(f"runs/{run}/")), 120, every=0.2)
        ended = self.vera.get(f"runs/{run}/")
        failed = [check for check in ended["checks"] if check["answer"] == "fail"]
        assert (ended["state"], failed) == ("switched", []), ended["state_reason"]
        if ended["watch"]["state"] == "inconclusive":
            self.vera.refused(403, "permission-denied", f"runs/{run}/sign-off/", reason="It looks well.")
            ended = self.cleo.post(f"runs/{run}/sign-off/", reason="The golden outputs are right on every host.")
        assert ended["watch"]["state"] == "passed", ended["watch"]
        return ended

    @staticmethod
    def _ended(run: dict[str, Any]) -> bool:
        watch = run["watch"]
        return run["state"] == "halted" or bool(watch and watch["state"] != "watching")

    def release(self, to_version: int) -> dict[str, Any]:
        plan = self.propose(self.ada, "release", to_version, gates_off=True)
        self.decide(self.carla, plan)
        self.decide(self.amir, plan)
        return self.verified(plan)

    def last_good(self) -> int | None:
        aliases = self.vera.get(f"models/{self.model}/")["aliases"]
        return next((alias["version"] for alias in aliases if alias["name"] == "last-good"), None)

    def serving(self) -> list[str]:
        """The digests that the hosts answer with, asked by ordinary inference."""
        return [process.infer(row(), model=self.model).json()["parameters"]["digest"] for process in self.processes]


def clock_on(database: CommittedDatabase, folder: Path) -> Iterator[Callable[[], None]]:
    """The clock as a process of its own, for as long as the test lasts."""
    with (folder / "clock.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "clock"],
            cwd=ROOT,
            env=database.env | {"LASTGOOD_CLOCK_SECONDS": "0.2"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield process.poll
    process.kill()
    process.wait()
