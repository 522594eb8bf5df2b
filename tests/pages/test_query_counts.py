"""How many queries the main pages cost, and that more rows cost no more of them.

The counts stand in query_counts.json. After a change that is meant, write them anew with UPDATE_QUERY_COUNTS=1.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.approvals.actions import open_request
from accounts.approvals.queries import policy_for
from audit.actions import Target, record
from incidents.models import Incident
from incidents.rollback.models import CheckAnswer, Plan, PlanState, Preflight
from incidents.rollback.plan import propose
from registry.actions import place, record_switch
from registry.models import Health, Host, Placement, Version
from tests.host.artifacts import make_model
from tests.incidents import world as worlds
from tests.incidents.world import TEST, World
from tests.monitoring import world as traffic

COUNTS = Path(__file__).parent / "query_counts.json"


@pytest.fixture
def world(db: Any, settings: Any, tmp_path: Path) -> World:
    """Version 2 answers worse on three hosts; an incident, a plan that waits for approvals, and a status page."""
    settings.LASTGOOD_VAR = tmp_path
    # The events of a test are never committed: after seconds the log's page would ask who holds them back.
    settings.LASTGOOD_LAG_ALARM_SECONDS = 3600
    made = worlds.build()
    made.status_page()
    for number in (1, 2):
        manifest, _ = make_model(tmp_path / f"made-{number}", number, model="employment")
        Version.objects.filter(number=number).update(manifest=manifest, signature=json.loads(manifest)["signature"])
    for host in Host.objects.all():
        serves(made, host)
    waiting_plan(made, made.incident())
    return made


def serves(world: World, host: Host) -> None:
    """The host answered with version 1 and answers with version 2."""
    place(endpoint=world.endpoint, host=host, actor=TEST)
    for version in (world.good, world.bad):
        record_switch(endpoint=world.endpoint, host=host, version=version, cause="release", actor=TEST)
    Placement.objects.filter(host=host).update(
        health=Health.SERVING, observed_version="2", observed_digest=world.bad.digest
    )


def waiting_plan(world: World, incident: Incident) -> Plan:
    """A plan with a preflight of every host, for which approvals are asked."""
    world.candidate(incident)
    rosa = world.users["rosa"]
    plan = propose(
        kind="rollback",
        endpoint=world.endpoint,
        to_version=world.good,
        reason="Version 1 did better.",
        user=rosa,
        actor=world.actor("rosa"),
        incident_ref=incident.ref,
    )
    for host in Host.objects.all():
        Preflight.objects.create(plan=plan, host=host, name="reachable", question="?", answer=CheckAnswer.PASS)
    policy = policy_for(
        subject_kind="rollback", risk_tier=world.endpoint.model.risk_tier, environment=world.endpoint.environment
    )
    request = open_request(
        policy=policy,
        subject_kind="rollback",
        subject_ref=str(plan.pk),
        subject_hash=plan.plan_hash,
        title="Roll back to version 1",
        incident_ref=incident.ref,
        proposer=rosa,
        actor=world.actor("rosa"),
    )
    Plan.objects.filter(pk=plan.pk).update(request=request, state=PlanState.AWAITING)
    return plan


def counted(world: World) -> dict[str, int]:
    """Queries of each main page, the session's and the user's own among them."""
    incident = Incident.objects.earliest("pk")
    plan = Plan.objects.get(incident_ref=incident.ref)
    addresses = {
        "home": ("kofi", "/"),
        "incidents": ("kofi", "/incidents/"),
        "incident": ("kofi", f"/incidents/{incident.ref}/"),
        "timeline": ("kofi", f"/incidents/{incident.ref}/timeline/"),
        "approval": ("kofi", f"/approvals/{plan.request_id}/"),
        "approvals": ("kofi", "/approvals/"),
        "endpoint": ("kofi", f"/endpoints/{world.endpoint.slug}/"),
        "endpoints": ("kofi", "/endpoints/"),
        "model": ("kofi", "/models/employment/"),
        "models": ("kofi", "/models/"),
        "audit log": ("idris", "/audit/"),
        "status page": ("", "/status/services/"),
    }
    return {name: queries(world, who, address) for name, (who, address) in addresses.items()}


def queries(world: World, who: str, address: str) -> int:
    client = world.client(who) if who else Client()
    assert client.get(address).status_code == 200, address
    with CaptureQueriesContext(
        connection,
    ) as captured:
        client.get(address)
    return len(captured)


def grow(world: World) -> None:
    """More of everything that the pages list: hosts, incidents, plans, decisions, events."""
    for host in traffic.make_hosts("h4", "h5"):
        serves(world, host)
    for at in range(2):
        incident = world.incident(kind="latency", fingerprint=f"{at}" * 64, version=f"{7 + at}")
        world.candidate(incident)
    for at in range(40):
        record(action="model.read", target=Target("model", f"m{at}"), actor=world.actor("rosa"))


def test_the_main_pages_cost_as_many_queries_as_is_written_down(world: World) -> None:
    found = counted(world)

    if os.environ.get("UPDATE_QUERY_COUNTS"):
        COUNTS.write_text(json.dumps(found, indent=2) + "\n")
    assert found == json.loads(COUNTS.read_text())


def test_more_rows_cost_no_more_queries(world: World) -> None:
    before = counted(world)

    grow(world)

    more = {name: (before[name], count) for name, count in counted(world).items() if count > before[name]}
    assert more == {}
