"""Proposing a plan writes down one exact change."""

import hashlib
import json
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied

from accounts.actions import actor_for
from audit.canonical import canonical_bytes
from incidents.rollback import plan as plans
from incidents.rollback.models import Plan, PlanState
from incidents.rollback.plan import PlanRefused
from registry.actions import quarantine
from tests.incidents.rollback.fleet import SETUP, Fleet, events


def test_the_plan_names_every_host_and_its_hash_is_of_its_canonical_bytes(fleet: Fleet) -> None:
    proposed = fleet.propose()

    document = bytes(proposed.document)
    body = json.loads(document)
    assert canonical_bytes(body) == document
    assert proposed.plan_hash == hashlib.sha256(b"lastgood-plan/1\0" + document).hexdigest()
    assert body["from"] == {"number": 2, "digest": fleet.bad.digest}
    assert body["to"] == {"number": 1, "digest": fleet.good.digest}
    assert body["serving"] == sorted([fleet.bad.digest, fleet.good.digest])
    assert body["waves"] == [{"name": "canary", "hosts": ["h1"]}, {"name": "rest", "hosts": ["h2", "h3"]}]
    assert [host["name"] for host in body["hosts"]] == ["h1", "h2", "h3"]
    assert (proposed.state, body["on_failure"], body["tolerated_absences"]) == (PlanState.DRAFT, "halt", 1)
    [event] = events("rollback.plan.propose")
    assert event["data"]["plan_hash"] == proposed.plan_hash
    assert event["actor"]["id"] == fleet.responder.pseudonym


def test_two_plans_of_the_same_change_have_different_hashes(fleet: Fleet) -> None:
    assert fleet.propose().plan_hash != fleet.propose().plan_hash


def test_a_plan_that_replaces_another_voids_it_and_its_approvals(fleet: Fleet) -> None:
    old = fleet.awaiting()

    new = fleet.propose(replaces=old)

    old.refresh_from_db()
    assert (old.state, old.request.state) == (PlanState.VOID, "withdrawn")
    assert new.state == PlanState.DRAFT


def test_the_evidence_shown_is_bound_by_its_digest(fleet: Fleet) -> None:
    shown = {"claim": "wrong about one in four"}

    proposed = fleet.propose(evidence=shown)

    body = json.loads(bytes(proposed.document))
    assert body["evidence_digest"] == hashlib.sha256(canonical_bytes(shown)).hexdigest()
    assert proposed.evidence == shown


def test_a_release_goes_back_by_itself_and_gates_can_be_switched_off_on_record(fleet: Fleet) -> None:
    proposed = fleet.propose(kind="release", gates_off=True)

    body = json.loads(bytes(proposed.document))
    assert (body["on_failure"], body["gates"]) == ("compensate", [])
    assert events("rollback.plan.propose")[0]["data"]["gates_off"] is True


@pytest.mark.parametrize("case", ["serves_it_already", "quarantined", "unknown_kind"])
def test_what_can_not_be_planned_is_refused_and_nothing_is_stored(fleet: Fleet, case: str) -> None:
    version, kind = fleet.good, "rollback"
    if case == "serves_it_already":
        version = fleet.bad
    elif case == "quarantined":
        quarantine(version=fleet.good, reason="It was wrong before.", actor=SETUP)
        fleet.good.refresh_from_db()
    else:
        kind = "converge"

    with pytest.raises(PlanRefused) as refused:
        fleet.propose(version, kind=kind)

    assert refused.value.code == {"serves_it_already": "nothing_to_change"}.get(case, case)
    assert not Plan.objects.exists()
    assert events("rollback.plan.propose") == []


def test_a_viewer_may_not_propose_and_the_attempt_is_on_record(fleet: Fleet) -> None:
    with pytest.raises(PermissionDenied):
        plans.propose(
            kind="rollback",
            endpoint=fleet.endpoint,
            to_version=fleet.good,
            reason="I think so.",
            user=fleet.viewer,
            actor=actor_for(user=fleet.viewer),
        )

    assert not Plan.objects.exists()
    assert [event["outcome"] for event in events("access.deny")] == ["denied"]


def test_an_endpoint_that_serves_nothing_yet_is_released_to_without_asking_for_traffic(
    make_fleet: Callable[..., Fleet],
) -> None:
    made = make_fleet()

    proposed = made.propose(kind="release", min_requests=None)

    body = json.loads(bytes(proposed.document))
    assert (body["from"], body["serving"]) == (None, sorted(["", made.good.digest]))
    assert [gate["name"] for gate in body["gates"]] == ["serving", "golden", "errors"]
    assert body["gates"][2]["min_requests"] == "0"
