"""The same verbs for programs, with a scoped token and problem details."""

from typing import Any

from django.test import Client

from accounts.actions import actor_for, issue_token
from accounts.models import User
from incidents.rollback import preflight
from incidents.rollback.models import Plan, RunState
from tests.incidents.rollback.fleet import Fleet


def caller(user: User, *scopes: str) -> Any:
    _, secret = issue_token(owner=user, name="test", scopes=scopes, expires_at=None, actor=actor_for(user=user))
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    def call(method: str, path: str, body: Any = None) -> Any:
        return client.generic(method, f"/api/v1/{path}", data=_json(body), content_type="application/json")

    return call


def _json(body: Any) -> str:
    import json

    return json.dumps(body) if body is not None else ""


def wish(fleet: Fleet, **more: Any) -> dict[str, Any]:
    return {
        "kind": "rollback", "endpoint": fleet.endpoint.slug, "to_version": 1, "reason": "Wrong.", "min_requests": 0,
    } | more  # fmt: skip


def test_a_plan_is_proposed_preflighted_and_read(fleet: Fleet) -> None:
    call = caller(fleet.responder, "view", "plan.propose")

    made = call("POST", "plans/", wish(fleet))
    preflight.run(made.json()["id"])
    read = call("GET", f"plans/{made.json()['id']}/")

    assert made.status_code == 201
    assert read.json()["state"] == "awaiting_approval"
    assert read.json()["document"]["to"]["digest"] == fleet.good.digest
    assert {row["answer"] for row in read.json()["preflights"]} == {"pass"}


def test_a_dry_run_stores_nothing(fleet: Fleet) -> None:
    call = caller(fleet.responder, "view", "plan.propose")

    answer = call("POST", "plans/dry-run/", wish(fleet, wave_sizes=[1, 1, 1]))

    assert answer.status_code == 200
    assert [wave["hosts"] for wave in answer.json()["document"]["waves"]] == [["h1"], ["h2"], ["h3"]]
    assert len(answer.json()["plan_hash"]) == 64
    assert not Plan.objects.exists()


def test_refusals_are_problems(fleet: Fleet) -> None:
    call = caller(fleet.responder, "view", "plan.propose")

    nothing_to_do = call("POST", "plans/", wish(fleet, to_version=2))
    unknown = call("POST", "plans/", wish(fleet, to_version=9))
    without_scope = caller(fleet.responder, "view")("POST", "plans/", wish(fleet))

    assert (nothing_to_do.status_code, nothing_to_do.json()["type"]) == (409, "/problems/nothing-to-change")
    assert nothing_to_do["Content-Type"] == "application/problem+json"
    assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (400, "to_version")
    assert without_scope.status_code == 403
    assert not Plan.objects.exists()


def test_a_run_is_read_and_stopped(fleet: Fleet) -> None:
    run = fleet.started()
    call = caller(fleet.commander, "view", "plan.stop")

    read = call("GET", f"runs/{run.pk}/")
    stopped = call("POST", f"runs/{run.pk}/stop/", {"reason": "Wrong incident."})
    again = call("POST", f"runs/{run.pk}/stop/", {"reason": "Again."})
    may_not = call("POST", f"runs/{run.pk}/resume/", {"reason": "Go."})

    assert [step["state"] for step in read.json()["steps"]] == ["pending"] * 3
    assert (stopped.status_code, stopped.json()["state"]) == (200, RunState.STOPPED)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/not-active")
    assert may_not.status_code == 403


def test_abuse_8_an_unapproved_plan_does_not_start(fleet: Fleet) -> None:
    plan = fleet.awaiting()
    call = caller(fleet.commander, "view", "plan.start")

    answer = call("POST", f"plans/{plan.pk}/start/")

    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-enough")
    assert fleet.serving() == [fleet.bad.digest] * 3


def test_lists_are_filtered(fleet: Fleet) -> None:
    fleet.propose()
    call = caller(fleet.viewer, "view")

    assert len(call("GET", "plans/?state=draft").json()["results"]) == 1
    assert call("GET", "plans/?state=void").json()["results"] == []
    assert call("GET", "candidates/?incident_ref=INC-1").json()["results"] == []
