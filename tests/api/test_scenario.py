"""The whole scenario by the API alone: a model goes wrong, two people approve its rollback, the record proves it."""

import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.actions import create_user
from accounts.models import ApiToken
from tests.api.programs import PASSWORD, SETUP, problem_of
from tests.api.story import Caller, Story, clock_on, issue, sign_in
from tests.audit.log import sequence_all, sequencer_in
from tests.conftest import CommittedDatabase
from tests.host.fixtures import HostProcess
from tests.incidents.rollback.conftest import three_hosts
from tests.waiting import until

__all__ = ["three_hosts"]

pytestmark = pytest.mark.faults
ALERT = {
    "status": "firing",
    "labels": {"alertname": "LettersWrong", "severity": "critical", "version": "2"},
    "annotations": {"summary": "Version 2 writes to the wrong people"},
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "f7faa8235e867499",
}


@pytest.fixture
def clock(committed_db: CommittedDatabase, tmp_path: Path) -> Iterator[Any]:
    yield from clock_on(committed_db, tmp_path)


@pytest.fixture
def story(
    committed_db: CommittedDatabase,
    clock: Any,
    celery_worker_process: Callable[..., Any],
    three_hosts: list[HostProcess],
    tmp_path: Path,
    settings: Any,
) -> Story:
    """Everything is registered, through the API; version 1 serves and then version 2 does, each released by two people.
    Two administrators alone are made on the machine itself, as `manage.py createadmin` does, and roles do not rest."""
    celery_worker_process(LASTGOOD_WATCH_PATIENCE_SECONDS="3")
    settings.LASTGOOD_ROLE_REST_SECONDS = 0
    for name in ("ada", "bea"):
        create_user(
            username=name, email=f"{name}@example.org", full_name=name.title(), password=PASSWORD,
            roles=["administrator"], actor=SETUP,
        )  # fmt: skip
    made = Story(tmp_path, three_hosts)
    made.hire()
    made.register()
    made.release(1)
    until(lambda: made.last_good() == 1, 120, every=0.2)
    made.ada.post("monitors/", endpoint=made.endpoint, window_seconds=60)
    made.release(2)
    assert made.serving() == [made.versions[1]["digest"]] * 3
    return made


def test_a_model_goes_wrong_and_back_by_the_api_alone(story: Story, tmp_path: Path) -> None:
    ref = incident_of_an_alert(story)
    responders_take_it(story, ref)
    plan = story.propose(story.carla, "rollback", 1, incident_ref=ref)
    those_who_may_not_approve_are_refused(story, plan)
    assert story.serving() == [story.versions[1]["digest"]] * 3

    story.decide(story.cleo, plan)
    last = story.decide(story.amir, plan)
    run = story.verified(plan)

    assert {seat["by"] for seat in last["seats"]} == {"cleo", "amir"}
    assert (run["state"], run["plan_hash"]) == ("switched", plan["plan_hash"])
    assert [(step["host"], step["state"], step["switch_calls"]) for step in run["steps"]] == [
        (name, "done", 1) for name in ("h1", "h2", "h3")
    ]
    assert story.serving() == [story.versions[0]["digest"]] * 3
    deployments = story.vera.get("deployments/", incident_ref=ref)["results"]
    assert {(entry["host"], entry["version"]) for entry in deployments} == {("h1", 1), ("h2", 1), ("h3", 1)}
    it_is_resolved_told_and_reviewed(story, ref)
    the_record_proves_it(story, ref, tmp_path)


def incident_of_an_alert(story: Story) -> str:
    sender = issue("ada", "ingest")
    began = (timezone.now() - timedelta(seconds=5)).isoformat()
    labels = ALERT["labels"] | {"endpoint": story.endpoint}
    body = {"version": "4", "alerts": [ALERT | {"labels": labels, "startsAt": began}]}
    for _ in range(2):
        assert sender.post("ingest/alertmanager/watchdog/", **body)["delivery"]
    sender.refused(403, "permission-denied", "incidents/INC-1/acknowledge/")
    until(lambda: story.vera.get("incidents/")["count"], 120, every=0.2)
    [incident] = story.vera.get("incidents/", endpoint__slug=story.endpoint)["results"]
    assert (incident["state"], incident["severity"], incident["from_version"]) == ("detected", 1, "2")
    return str(incident["ref"])


def responders_take_it(story: Story, ref: str) -> None:
    story.vera.refused(403, "permission-denied", f"incidents/{ref}/acknowledge/")
    seen = story.rita.post(f"incidents/{ref}/acknowledge/")["version"]
    triage = {"impact": 1, "urgency": 2, "assessment": "The new version answers the wrong way round."}
    stale = story.rita.refused(412, "changed", f"incidents/{ref}/triage/", **triage, version=seen - 1)
    assert stale["current"] == seen
    taken = story.rita.post(f"incidents/{ref}/triage/", **triage, version=seen)
    assert (taken["state"], taken["severity"]) == ("triaged", 2)
    story.rita.post(f"incidents/{ref}/severity/", severity=1)
    story.rita.refused(409, "lowering-needs-reason", f"incidents/{ref}/severity/", severity=3)
    held = story.rita.post(f"incidents/{ref}/roles/", role="commander", user="carla")["roles"]
    assert [(entry["role"], entry["user"]) for entry in held] == [("commander", "carla")]
    story.rita.refused(409, "refused", f"incidents/{ref}/roles/", role="scribe", user="vera")
    story.rita.post(f"incidents/{ref}/updates/", conditions="Three hosts are wrong.", needs="A commander.")
    assert story.vera.get("updates/", incident__ref=ref)["count"] == 1
    until(lambda: story.vera.get("candidates/", incident_ref=ref)["count"] == 2, 120, every=0.2)
    ranked = story.vera.get("candidates/", incident_ref=ref)["results"]
    assert [(entry["version"], entry["eligible"]) for entry in ranked] == [(1, True), (2, False)]
    assert story.vera.get(f"incidents/{ref}/diagnosis/")["hypotheses"]


def those_who_may_not_approve_are_refused(story: Story, plan: dict[str, Any]) -> None:
    path, decision = f"approvals/{plan['request']}/decide/", story.decision(plan)
    own = story.carla.refused(403, "own-proposal", path, **decision)
    assert own["detail"] == "You proposed this, so you can't approve it. Others must."
    story.vera.refused(403, "permission-denied", path, **decision)
    story.cleo.refused(409, "hash-mismatch", path, **decision | {"subject_hash": "0" * 64})
    old = issue("amir", "view", "approve")
    ApiToken.objects.filter(owner__username="amir").update(proved_at=timezone.now() - timedelta(seconds=301))
    old.refused(409, "evidence-unknown", path, **decision)
    old.refused(403, "step-up-needed", path, **story.decision(plan, who=old))
    story.people["amir"] = issue("amir")
    seats = story.vera.get(f"approvals/{plan['request']}/")["seats"]
    assert [seat["by"] for seat in seats] == [None, None]
    assert story.vera.get(f"plans/{plan['id']}/")["run"] is None


def it_is_resolved_told_and_reviewed(story: Story, ref: str) -> None:
    until(lambda: story.vera.get(f"incidents/{ref}/")["state"] == "monitoring", 120, every=0.2)
    story.rita.refused(403, "permission-denied", f"incidents/{ref}/resolve/", reason="It is over.")
    words = {"status": "monitoring", "component_state": "degraded_performance", "text": "It is being watched."}
    assert story.cleo.post("status-pages/services/posts/", incident=ref, **words)["by"] == "cleo"
    assert story.carla.post(f"incidents/{ref}/resolve/", reason="Every check has passed.")["state"] == "resolved"
    until(lambda: summary(story)["status"]["indicator"] == "none", 120, every=0.2)
    until(lambda: story.vera.get(f"reviews/{ref}/")["summary"], 120, every=0.2)
    review = story.vera.get(f"reviews/{ref}/")
    edited = story.rita.post(f"reviews/{ref}/edit/", version=review["version"], causes="The labels were swapped.")
    story.rita.refused(412, "changed", f"reviews/{ref}/edit/", version=review["version"], causes="No.")
    item = story.rita.post(f"reviews/{ref}/action-items/", text="Check the codebook at registration.", owner="rita")
    story.rita.post(f"reviews/{ref}/action-items/{item['id']}/done/")
    assert story.carla.post(f"reviews/{ref}/publish/")["state"] == "published"
    assert edited["causes"] == "The labels were swapped."
    assert b"The labels were swapped." in story.vera.client.get(f"/api/v1/reviews/{ref}/markdown/").content


def summary(story: Story) -> Any:
    return story.vera.get("status-pages/services/summary/")


def the_record_proves_it(story: Story, ref: str, folder: Path) -> None:
    sequence_all(sequencer_in(folder))
    log = story.idris.get("audit/log/")
    assert log["tree_size"] > 50
    denied = story.idris.get("audit/events/", incident=ref, action="approval.decide", outcome="denied")["results"]
    why = {event["record"]["data"]["refused"] for event in denied}
    assert why == {"own_proposal", "hash_mismatch", "evidence_unknown", "step_up_needed"}
    proof = story.idris.get(f"audit/events/{denied[0]['id']}/inclusion/")
    assert proof["tree_size"] == story.idris.get("audit/checkpoints/latest/")["size"]
    timeline = story.vera.get(f"incidents/{ref}/timeline/")
    assert [entry["seq"] for entry in timeline] == list(range(1, len(timeline) + 1))
    told = {entry["action"] for entry in timeline}
    assert {"incident.open", "rollback.plan.propose", "approval.consume", "incident.move", "review.publish"} <= told
    problem_of(story.carla.client.get("/api/v1/audit/log/"), 403, "permission-denied")
    bundle = story.idris.answer("audit/log/export/", incident=ref)
    names = zipfile.ZipFile(io.BytesIO(b"".join(bundle.streaming_content))).namelist()
    assert "verify.py" in names


def test_a_token_does_not_make_tokens_and_a_session_needs_its_csrf_token(committed_db: CommittedDatabase) -> None:
    create_user(username="ada", email="", full_name="Ada", password=PASSWORD, roles=["administrator"], actor=SETUP)
    caller, (browser, _) = issue("ada"), sign_in("ada")
    wish = {"name": "more", "scopes": ["view"]}

    caller.refused(403, "session-needed", "tokens/", **wish)
    forged = browser.post("/api/v1/tokens/", wish, content_type="application/json")

    problem_of(forged, 403, "permission-denied")
    assert caller.get("tokens/")["count"] == 1
    assert isinstance(caller, Caller)
