"""A small endpoint on three real hosts, with two versions and four people, for tests of the engine."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.utils import timezone

from accounts.actions import actor_for, create_user
from accounts.approvals.actions import decide
from accounts.approvals.evidence import show
from accounts.models import User
from audit.actions import service_actor
from audit.models import AuditEvent
from incidents.rollback import advance, decided, plan, preflight
from incidents.rollback.models import Plan, PlanState, Run, RunState
from registry import serving_access
from registry.actions import (
    place,
    record_switch,
    register_endpoint,
    register_host,
    register_model,
    register_version,
)
from registry.models import Endpoint, Host, Model, Version
from tests.host.artifacts import digest_of, make_model, row
from tests.host.fixtures import TOKEN, HostProcess

SETUP = service_actor("test")
ROWS = {
    name: [
        value[0]
        for value in (row(age, color, shape)[name] for age, color, shape in [(20, 1, 0), (41, 2, 5), (77, 3, 0)])
    ]
    for name in ("AGE", "COLOR", "SHAPE")
}
PASSWORD = "correct horse battery staple"


@dataclass
class Fleet:
    """`good` is version 1 and `bad` version 2 of a model of this test's own; the hosts serve nothing at first."""

    folder: Path
    processes: list[HostProcess]
    slug: str = field(default_factory=lambda: f"toy-{uuid.uuid4().hex[:8]}")

    def build(self, **endpoint_fields: Any) -> "Fleet":
        """Register everything. `endpoint_fields` override the endpoint's times, which are short here."""
        self.people()
        self.model: Model = register_model(
            slug=self.slug, name=self.slug, team="tests", group_columns=["SHAPE"], actor=SETUP
        )
        times = {"wave_soak_seconds": 0, "watch_seconds": 0, "undo_seconds": 3600} | endpoint_fields
        self.endpoint: Endpoint = register_endpoint(
            slug=f"{self.slug}-production", name=self.slug, model=self.model, actor=SETUP, **times
        )
        self.hosts: list[Host] = [self.add_host(process) for process in self.processes]
        self.good = self.add_version(1, bias=2.0)
        self.bad = self.add_version(2, bias=-2.0)
        return self

    def people(self) -> None:
        def person(name: str, *roles: str) -> User:
            return create_user(
                username=name,
                email=f"{name}@example.org",
                full_name=name.title(),
                password=PASSWORD,
                roles=roles,
                actor=SETUP,
            )

        self.responder = person("rita", "responder")
        self.commander = person("carla", "commander")
        self.approver = person("amir", "approver")
        self.viewer = person("vera", "viewer")
        self.approvers = (self.commander, self.approver)

    def add_host(self, process: HostProcess, address: str = "") -> Host:
        host = register_host(
            name=process.name,
            engine="bundled",
            address=address or process.url,
            control_token=TOKEN,
            actor=SETUP,
            labels={},
        )
        place(endpoint=self.endpoint, host=host, actor=SETUP)
        return host

    def add_version(self, seed: int, bias: float, golden: dict[str, Any] | None = None) -> Version:
        """A version whose golden outputs are what a host really answers with it, unless others are given."""
        manifest, blobs = make_model(self.folder / f"{self.slug}-{seed}", seed, model=self.slug, bias=bias)
        outputs = golden or self.answers_of(manifest, blobs, probe=f"probe-{seed}")
        return register_version(
            model=self.model,
            manifest=manifest,
            files=blobs,
            golden=json.dumps(
                {"format": "lastgood-golden/1", "inputs": ROWS, "outputs": outputs, "tolerance": "0.0001"}
            ).encode(),
            metrics={"holdout": {"accuracy": 0.8}},
            actor=SETUP,
        )

    def answers_of(self, manifest: bytes, blobs: dict[str, Path], probe: str) -> dict[str, Any]:
        process = self.processes[0]
        assert process.put(probe, (manifest, blobs), self.slug).status_code in (200, 201)
        assert process.load(probe, self.slug).status_code == 200
        answered = process.infer(ROWS, probe, self.slug).json()["outputs"]
        return {
            output["name"]: [value if isinstance(value, int) else f"{value:.6f}" for value in output["data"]]
            for output in answered
        }

    def serve(self, version: Version, hosts: list[Host] | None = None) -> None:
        """Make the hosts serve a version, as an earlier deployment would have left them."""
        Endpoint.objects.filter(pk=self.endpoint.pk).update(fence=self.endpoint.fence + 1)
        self.endpoint.refresh_from_db()
        for host in hosts or self.hosts:
            driver, address = serving_access.driver_of(host), serving_access.address_of(host)
            number = str(version.number)
            driver.stage(address, self.slug, number, bytes(version.manifest), serving_access.blobs_of(version))
            driver.load(address, self.slug, number)
            driver.switch(address, self.slug, number, version.digest, self.endpoint.fence)
            record_switch(endpoint=self.endpoint, host=host, version=version, cause="release", actor=SETUP)

    def propose(self, version: Version | None = None, *, kind: str = "rollback", **wish: Any) -> Plan:
        """A plan to the good version, asking for no live requests, since tests have none."""
        return plan.propose(
            kind=kind,
            endpoint=self.endpoint,
            to_version=version or self.good,
            reason="Version 2 is wrong about too many.",
            user=self.responder,
            actor=actor_for(user=self.responder),
            **{"min_requests": 0} | wish,
        )

    def awaiting(self, version: Version | None = None, **wish: Any) -> Plan:
        """A plan whose preflight has passed and whose approvers are asked."""
        proposed = self.propose(version, **wish)
        assert preflight.run(proposed.pk)
        proposed.refresh_from_db()
        failed = list(proposed.preflights.filter(answer="fail").values_list("question", "observed"))
        assert proposed.state == PlanState.AWAITING, failed
        return proposed

    def approve(self, proposed: Plan, *people: User) -> None:
        for person in people or self.approvers:
            self.decide(proposed, person, "approve")

    def decide(self, proposed: Plan, person: User, decision: str, reason: str = "Read it.") -> None:
        assert proposed.request is not None
        decide(
            request_id=proposed.request_id,
            user=person,
            decision=decision,
            subject_hash=proposed.plan_hash,
            evidence=show(proposed.request, person)[0],
            reason=reason,
            auth_method="password",
            auth_time=timezone.now(),
            actor=actor_for(user=person),
        )

    def started(self, version: Version | None = None, **wish: Any) -> Run:
        """A run that has just been started by its last approval; nothing has been done to a host."""
        proposed = self.awaiting(version, **wish)
        self.approve(proposed)
        decided.request_decided(proposed.request_id)
        return Run.objects.get(plan=proposed)

    def finished(self, version: Version | None = None, **wish: Any) -> Run:
        """A run taken as far as it goes by one worker."""
        begun = self.started(version, **wish)
        advance.advance(begun.pk)
        begun.refresh_from_db()
        return begun

    def serving(self) -> list[str]:
        """The digests that the hosts answer with, asked by ordinary inference."""
        return [process.infer(row(), model=self.slug).json()["parameters"]["digest"] for process in self.processes]

    def defaults_set(self) -> list[int]:
        """The fence that each host has last accepted."""
        return [process.view(self.slug)["fence"] for process in self.processes]


@contextmanager
def damaged(fleet: Fleet, host: int) -> Iterator[None]:
    """The good version can't be loaded on the host meanwhile."""
    blob = fleet.processes[host].blob((bytes(fleet.good.manifest), {}), "weights")
    before = blob.read_bytes()
    try:
        blob.write_bytes(before[:-1] + bytes([before[-1] ^ 0x40]))
        yield
    finally:
        blob.write_bytes(before)


def advance_until(run: Run, *states: str, seconds: float = 90) -> None:
    """Wake the run as the clock would, until it is in one of the states."""
    deadline = time.monotonic() + seconds
    run.refresh_from_db()
    while run.state not in states:
        assert time.monotonic() < deadline, (run.state, run.state_reason)
        advance.advance(run.pk)
        run.refresh_from_db()


def until_ended(run: Run) -> None:
    """Wake the run as the clock would, until it no longer moves by itself."""
    for _ in range(20):
        advance.advance(run.pk)
        run.refresh_from_db()
        if run.state not in (RunState.RUNNING, RunState.COMPENSATING):
            return
    raise AssertionError(f"still {run.state}")


def events(action: str, **where: Any) -> list[dict[str, Any]]:
    """The bodies of the audit events of that action, oldest first."""
    found = AuditEvent.objects.filter(action=action, **where).order_by("pk")
    return [json.loads(bytes(event.canon)) for event in found]


__all__ = ["Fleet", "advance_until", "damaged", "digest_of", "events", "until_ended"]
