"""The API of incidents, as programs with a scoped token use it."""

import json
from typing import Any

import pytest
from django.test import Client

from accounts.actions import issue_token
from incidents import actions, reviews
from incidents.models import Incident, IncidentState, Review, StatusPage, StatusPost
from tests.incidents.world import TEST, World, events

pytestmark = pytest.mark.usefixtures("built")


class Program:
    """A client with a token of that person, with the scopes."""

    def __init__(self, world: World, owner: str, *scopes: str) -> None:
        _, secret = issue_token(owner=world.users[owner], name="bot", scopes=scopes, expires_at=None, actor=TEST)
        self.client = Client(headers={"Authorization": f"Bearer {secret}"})

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1/{path}")

    def post(self, path: str, **body: Any) -> Any:
        return self.client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json")


def test_a_program_takes_an_incident_from_acknowledgement_to_a_published_review(world: World) -> None:
    incident = world.incident()
    kofi = Program(world, "kofi", "view", "incident.respond", "incident.command")
    path = f"incidents/{incident.ref}/"
    assert kofi.post(f"{path}acknowledge/").json()["roles"][0]["user"] == "kofi"
    seen = kofi.get(path).json()["version"]
    triaged = kofi.post(f"{path}triage/", version=seen, impact=1, urgency=1, assessment="Since version 2.")
    assert (triaged.status_code, triaged.json()["severity"]) == (200, 1)
    assert kofi.post(f"{path}roles/", role="scribe", user="rosa").status_code == 200
    assert kofi.post(f"{path}updates/", conditions="Worse.").status_code == 201
    assert kofi.post(f"{path}resolve/", reason="Back.").json()["state"] == "resolved"
    review = reviews.draft(incident_id=incident.pk)
    edited = kofi.post(f"reviews/{incident.ref}/edit/", version=review.version, causes="C.")
    assert edited.json()["causes"] == "C."
    item = kofi.post(f"reviews/{incident.ref}/action-items/", text="Compare.", owner="rosa").json()
    assert kofi.post(f"reviews/{incident.ref}/action-items/{item['id']}/done/").status_code == 200
    assert kofi.post(f"reviews/{incident.ref}/publish/").json()["state"] == "published"
    assert Incident.objects.get().state == IncidentState.REVIEWED
    assert "# Review of INC-1" in kofi.get(f"reviews/{incident.ref}/markdown/").content.decode()
    assert {event.actor_kind for event in events(incident, "incident.triage")} == {"token"}


def test_a_program_reads_evidence_diagnosis_and_timeline(world: World) -> None:
    incident = world.incident()
    world.candidate(incident)
    program = Program(world, "vera", "view")
    evidence = program.get(f"incidents/{incident.ref}/evidence/").json()
    assert {"accuracy", "impact", "hosts"} <= {piece["kind"] for piece in evidence}
    assert "a bad version" in program.get(f"incidents/{incident.ref}/diagnosis/").json()["sentence"]
    timeline = program.get(f"incidents/{incident.ref}/timeline/").json()
    assert [entry["seq"] for entry in timeline] == list(range(1, len(timeline) + 1))
    assert timeline[0]["action"] == "incident.open"
    assert program.get("incidents/?state=detected").json()["count"] == 1
    assert program.get(f"updates/?incident__ref={incident.ref}").json()["count"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("acknowledge/", {}),
        ("triage/", {"impact": 1, "urgency": 1, "assessment": "x"}),
        ("severity/", {"severity": 1}),
        ("updates/", {"conditions": "x"}),
        ("propose/", {"to_version": 1, "reason": "x"}),
        ("resolve/", {"reason": "x"}),
        ("move/", {"to": "mitigating", "reason": "x"}),
    ],
)
def test_a_token_without_the_scope_does_nothing_though_its_owner_may(
    world: World, path: str, body: dict[str, Any]
) -> None:
    incident = world.incident()
    answer = Program(world, "kofi", "view").post(f"incidents/{incident.ref}/{path}", **body)
    assert answer.status_code == 403
    assert answer["Content-Type"] == "application/problem+json"
    now = Incident.objects.get()
    assert (now.state, now.version) == (incident.state, incident.version)


def test_refusals_are_problems_that_name_the_guard(world: World) -> None:
    incident = world.incident()
    kofi = Program(world, "kofi", "view", "incident.respond", "incident.command")
    moved = kofi.post(f"incidents/{incident.ref}/move/", to="closed", reason="x")
    assert (moved.status_code, moved.json()["type"]) == (409, "/problems/legal-move")
    lowered = kofi.post(f"incidents/{incident.ref}/severity/", severity=4)
    assert (lowered.status_code, lowered.json()["type"]) == (409, "/problems/lowering-needs-reason")
    actions.set_severity(incident=incident, severity=1, reason="", actor=world.actor("rosa"))
    late = kofi.post(f"incidents/{incident.ref}/severity/", severity=2, reason="x", version=1)
    assert (late.status_code, late.json()["type"], late.json()["current"]) == (412, "/problems/changed", 2)
    assert Incident.objects.get().severity == 1


def test_an_administrator_makes_a_status_page_and_a_commander_tells_it_something(world: World) -> None:
    incident = world.incident()
    ada = Program(world, "ada", "view", "admin", "status.publish")
    page = {"slug": "services", "name": "Services"}
    assert ada.post("status-pages/", **page).status_code == 201
    assert ada.post("status-pages/", **page).status_code in (400, 409)
    added = ada.post("status-pages/services/components/", name="Letters", endpoint="employment-production")
    assert added.status_code == 201
    told = ada.post(
        "status-pages/services/posts/",
        incident=incident.ref,
        status="identified",
        component_state="degraded_performance",
        text="Letters may be wrong.",
    )
    assert told.status_code == 201
    assert StatusPage.objects.get().components.get().state == "degraded_performance"
    assert ada.get("status-pages/services/summary/").json()["status"]["indicator"] == "minor"
    refused = Program(world, "kofi", "view").post("status-pages/services/posts/", text="x")
    assert refused.status_code == 403
    assert StatusPost.objects.count() == 1
    assert not Review.objects.exists()
