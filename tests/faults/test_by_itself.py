"""A rollback that starts by itself: kill -9 neither loses nor doubles it, and a flapping fault starts no other."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals.models import AutomaticLeave
from accounts.approvals.policies import change_policy
from audit.actions import Target, record
from audit.models import AuditEvent
from audit.verify import Meaning, act_of
from incidents.models import Incident
from incidents.practice import rules
from incidents.practice.models import Attempt, AttemptState
from incidents.rollback.models import Candidate, HostStep, Plan, Run, RunState
from incidents.rollback.replaying import figures_of
from registry import reconcile
from registry.actions import mark_soaked
from registry.models import Placement, Version
from tests.faults.conftest import House, wait_until
from tests.faults.proxy import Proxy
from tests.host.artifacts import row
from tests.incidents.rollback.fleet import SETUP, Fleet, events

pytestmark = pytest.mark.faults


@contextmanager
def callers(fleet: Fleet) -> Iterator[None]:
    """Requests to every host all the while, as a gate in production asks for."""
    ended = threading.Event()

    def call() -> None:
        while not ended.wait(0.05):
            for process in fleet.processes:
                process.infer(row(), model=fleet.slug)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def went_wrong(fleet: Fleet, bad: Version, other: Version) -> Incident:
    """An incident of the endpoint, ranked: the other version surely does better on its inputs."""
    number = Incident.objects.count() + 1
    incident = Incident.objects.create(
        number=number, ref=f"INC-{number}", title="It is wrong about too many.", severity=1, endpoint=fleet.endpoint,
        from_version=str(bad.number), group_key=f"cause-{number}", detected_at=timezone.now(),
    )  # fmt: skip
    share = {"n": 900, "correct": 720}
    replay = {
        "rows": 900, "labelled": 900, "changed": 300,
        "candidate": share | {"accuracy": 0.8, "low": 0.77, "high": 0.83},
        "live": share | {"accuracy": 0.5, "low": 0.47, "high": 0.53},
    }  # fmt: skip
    row = {"version": other.number, "digest": other.digest, "eligible": True, "replayed": figures_of(replay)}
    with transaction.atomic():
        Candidate.objects.create(
            incident_ref=incident.ref, endpoint=fleet.endpoint, to_version=other, eligible=True, reasons=["It soaked."],
            rank=1, replay=replay,
        )  # fmt: skip
        record(
            action="rollback.ranking.answer", target=Target("endpoint", fleet.endpoint.slug), actor=SETUP,
            incident=incident.ref,
            data={"suspect": bad.digest, "promised": "0.800000", "rows": 900, "candidates": [row]},
        )  # fmt: skip
    return incident


@pytest.fixture
def armed(fleet: Fleet) -> Fleet:
    """The only administrator has let rollbacks start by themselves, and the commander has armed a rule."""
    from accounts.actions import create_user

    ada = create_user(
        username="ada", email="ada@example.org", full_name="Ada", password="correct horse", roles=["administrator"],
        actor=SETUP,
    )  # fmt: skip
    change_policy(
        subject_kind="rollback", risk_tier=fleet.model.risk_tier, environment="production", required=1,
        factors=[{"role": "commander", "count": 1}], automatic_allowed=True, user=ada, actor=actor_for(user=ada),
        reason="Nights are thinly staffed.",
    )  # fmt: skip
    rules.set_rule(
        model=fleet.model, terms=rules.Terms(severity=2, error_budget=0.05, dwell_seconds=60), reason="Nights.",
        user=fleet.commander, actor=actor_for(user=fleet.commander),
    )  # fmt: skip
    for version in (fleet.good, fleet.bad):
        fleet.serve(version)
        mark_soaked(version=version, endpoint=fleet.endpoint, actor=SETUP)
    for placement in fleet.endpoint.placements.all():
        Placement.objects.filter(pk=placement.pk).update(observe_due_at=timezone.now())
        reconcile.observe_placement(placement.pk)
    return fleet


def worker(house: House, name: str) -> Any:
    options = ["--pool", "threads", "--concurrency", "4", "--queues", "rollback,intake", "--hostname", f"{name}@%h"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    return house._start(name, "-m", "celery", "-A", "config", "worker", *options, *quiet)


def test_it_is_carried_out_once_though_the_worker_dies_and_a_flapping_fault_starts_no_other(
    armed: Fleet, house: House, proxied: Callable[[int], Proxy]
) -> None:
    proxy = proxied(0)
    switch = f"/lastgood/v1/models/{armed.slug}/default"
    proxy.hold_before = switch
    incident = went_wrong(armed, armed.bad, armed.good)
    with callers(armed):
        first = worker(house, "first")
        house.clock()
        assert proxy.held.wait(90), house.log("first")

        first.kill()
        first.wait()
        proxy.hold_before = ""
        proxy.let_go.set()
        worker(house, "second")
        wait_until(lambda: Run.objects.filter(state=RunState.SWITCHED).exists(), 90, "the run is finished")

        assert armed.serving() == [armed.good.digest] * 3
        assert Plan.objects.count() == Run.objects.count() == AutomaticLeave.objects.count() == 1
        assert [step.state for step in HostStep.objects.all()] == ["done"] * 3
        assert Attempt.objects.get(incident=incident).state == AttemptState.STARTED
        assert len(events("approval.automatic")) == len(events("practice.automatic.start")) == 1

        again = went_wrong(armed, armed.good, armed.bad)
        wait_until(lambda: Attempt.objects.filter(incident=again).exclude(codes=[]).exists(), 60, "it was considered")

    attempt = Attempt.objects.get(incident=again)
    assert (attempt.state, attempt.codes) == (AttemptState.CONSIDERING, ["flapping"])
    assert Plan.objects.count() == 1
    assert armed.serving() == [armed.good.digest] * 3
    leaves = [json.loads(bytes(event.canon)) for event in AuditEvent.objects.order_by("pk")]
    assert list(Meaning(act_of(index, leaf) for index, leaf in enumerate(leaves)).problems()) == []
