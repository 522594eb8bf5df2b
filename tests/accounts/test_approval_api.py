"""Approving through the API, and its errors as problems."""

import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import token_digest
from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest
from accounts.models import ApiToken, User
from tests.accounts.people import PASSWORD, a_request, bearer, person, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture
def amir() -> User:
    return person("amir", "approver")


@pytest.fixture
def entry() -> ApprovalRequest:
    return a_request(person("rita", "responder", "approver"), incident="INC-7")


def decide(client: Client, entry: ApprovalRequest, headers: dict[str, str], **changes: Any) -> Any:
    """After its owner was shown the evidence by the API."""
    secret = headers.get("Authorization", "").removeprefix("Bearer ")
    token = ApiToken.objects.filter(sha256=token_digest(secret)).select_related("owner").first()
    shown = show(entry, token.owner if token else entry.proposer)[0]
    body = {"decision": "approve", "subject_hash": entry.subject_hash, "evidence": shown} | changes
    path = f"/api/v1/approvals/{entry.pk}/decide/"
    return client.post(path, body, content_type="application/json", headers=headers)


def assert_problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["type"]) == (status, f"/problems/{kind}")
    assert body["title"]
    assert body["detail"]
    return body


def test_a_program_approves_for_its_owner_with_a_fresh_proof(
    client: Client, entry: ApprovalRequest, amir: User
) -> None:
    answer = decide(client, entry, bearer(amir, "approve", "view"))
    assert answer.status_code == 200
    assert answer.json()["seats"] == [{"role": "commander", "by": None}, {"role": "approver", "by": "amir"}]
    row = ApprovalDecision.objects.get()
    assert (row.by, row.auth_method, row.auth_time) == (amir, "token", ApiToken.objects.get().proved_at)
    assert recorded("approval.decide")[0]["actor"]["kind"] == "token"


def test_a_token_whose_proof_is_old_does_not_approve(client: Client, entry: ApprovalRequest, amir: User) -> None:
    header = bearer(amir, "approve")
    ApiToken.objects.update(proved_at=timezone.now() - datetime.timedelta(seconds=301), created_at=timezone.now())
    assert_problem(decide(client, entry, header), 403, "step-up-needed")
    assert not ApprovalDecision.objects.exists()


def test_a_token_without_the_scope_does_not_approve(client: Client, entry: ApprovalRequest, amir: User) -> None:
    assert_problem(decide(client, entry, bearer(amir, "view")), 403, "permission-denied")
    assert not ApprovalDecision.objects.exists()


def test_each_refusal_is_a_problem_with_its_own_type(client: Client, entry: ApprovalRequest, amir: User) -> None:
    own = bearer(User.objects.get(username="rita"), "approve")
    assert_problem(decide(client, entry, own), 403, "own-proposal")
    header = bearer(amir, "approve")
    assert_problem(decide(client, entry, header, subject_hash="0" * 64), 409, "hash-mismatch")
    assert_problem(decide(client, entry, header, decision="deny"), 400, "reason-needed")
    assert decide(client, entry, header).status_code == 200
    assert_problem(decide(client, entry, header), 409, "already-decided")
    assert ApprovalDecision.objects.count() == 1


def test_what_can_not_be_read_is_listed_by_field(client: Client, entry: ApprovalRequest, amir: User) -> None:
    answer = decide(client, entry, bearer(amir, "approve"), decision="perhaps", subject_hash="abc")
    errors = assert_problem(answer, 400, "invalid")["errors"]
    assert {error["field"] for error in errors} == {"decision", "subject_hash"}


def test_other_problems_of_the_api(client: Client, amir: User) -> None:
    header = bearer(amir, "approve", "view")
    assert_problem(client.get("/api/v1/me/"), 401, "not-authenticated")
    assert_problem(
        client.get("/api/v1/approvals/00000000-0000-0000-0000-000000000000/", headers=header), 404, "not-found"
    )
    assert_problem(client.get("/api/v1/nowhere/", headers=header), 404, "not-found")
    assert_problem(client.put("/api/v1/me/", headers=header), 405, "method-not-allowed")
    broken = client.post("/api/v1/tokens/", "{", content_type="application/json", headers=header)
    assert broken.status_code in (400, 403)
    assert broken["Content-Type"] == "application/problem+json"


def test_what_breaks_inside_is_a_problem_too(client: Client, amir: User, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bearer(amir, "view")
    client.raise_request_exception = False
    monkeypatch.setattr("accounts.api.permissions_of", lambda roles: 1 / 0)
    body = assert_problem(client.get("/api/v1/me/", headers=header), 500, "internal")
    assert "ZeroDivisionError" not in str(body)


def test_a_browsers_session_needs_the_forms_token(entry: ApprovalRequest, amir: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(amir)
    assert_problem(decide(client, entry, {}), 403, "permission-denied")
    assert not ApprovalDecision.objects.exists()


def test_requests_are_listed_and_filtered(client: Client, entry: ApprovalRequest, amir: User) -> None:
    header = bearer(amir, "view")
    listed = client.get("/api/v1/approvals/?incident_ref=INC-7&state=open", headers=header).json()
    assert [row["id"] for row in listed["results"]] == [str(entry.pk)]
    assert listed["results"][0]["subject_hash"] == entry.subject_hash
    assert client.get("/api/v1/approvals/?state=denied", headers=header).json()["count"] == 0


def test_a_token_can_not_make_tokens(client: Client, amir: User) -> None:
    asked = {"name": "more", "scopes": ["view"]}
    answer = client.post("/api/v1/tokens/", asked, content_type="application/json", headers=bearer(amir, "view"))
    assert_problem(answer, 403, "session-needed")
    assert ApiToken.objects.count() == 1


def test_a_session_issues_and_revokes_a_token(client: Client, amir: User) -> None:
    client.post("/accounts/login/", {"login": "amir", "password": PASSWORD})
    asked = {"name": "ci", "scopes": ["view", "approve"], "days": 1}
    made = client.post("/api/v1/tokens/", asked, content_type="application/json")
    assert made.status_code == 201
    assert made.json()["secret"].startswith(f"lg_{made.json()['prefix']}_")
    assert client.delete(f"/api/v1/tokens/{made.json()['id']}/").status_code == 204
    assert_problem(client.delete(f"/api/v1/tokens/{made.json()['id']}/"), 409, "already-revoked")
    beyond = client.post("/api/v1/tokens/", asked | {"scopes": ["admin"]}, content_type="application/json")
    assert_problem(beyond, 422, "scope-not-allowed")


POLICY = {
    "subject_kind": "rollback",
    "risk_tier": "high",
    "environment": "production",
    "required": 3,
    "factors": [{"role": "commander", "count": 1}, {"role": "approver", "count": 2}],
}


def test_an_administrator_replaces_a_policy_by_a_newer_version(client: Client, entry: ApprovalRequest) -> None:
    header = bearer(person("ada", "administrator"), "admin", "view")
    made = client.post("/api/v1/policies/", POLICY, content_type="application/json", headers=header)
    assert made.status_code == 201
    assert (made.json()["version"], made.json()["active"], made.json()["required"]) == (2, True, 3)
    listed = client.get("/api/v1/policies/?subject_kind=rollback&risk_tier=high&environment=production", headers=header)
    assert [(row["version"], row["active"]) for row in listed.json()["results"]] == [(2, True), (1, False)]
    # What was asked under the old policy keeps it.
    entry.refresh_from_db()
    assert entry.policy.version == 1
    [leaf] = recorded("policy.replace")
    assert leaf["data"]["policy"]["required"] == 3
    assert leaf["data"]["replaced"] == {"version": 1, "policy_hash": entry.policy_hash}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"required": 0}, "between 1 and 10 people"),
        ({"required": 2}, "more people than the policy requires"),
        ({"factors": [{"role": "viewer", "count": 1}]}, "The role viewer can't approve"),
        ({"factors": [{"role": "approver", "count": 1}] * 2}, "Name each role once"),
        ({"expires_seconds": 86400}, "time until a request expires must be between"),
        ({"step_up_seconds": 5}, "step-up time must be between"),
        ({"step_up_seconds": 301}, "between 30 and 300 seconds"),
        ({"risk_tier": "none"}, "'none' is none of low, medium, high"),
    ],
)
def test_a_policy_that_can_not_be_is_refused(client: Client, change: dict[str, Any], sentence: str) -> None:
    header = bearer(person("ada", "administrator"), "admin")
    before = ApprovalPolicy.objects.count()
    answer = client.post("/api/v1/policies/", POLICY | change, content_type="application/json", headers=header)
    assert sentence in assert_problem(answer, 422, "policy-refused")["detail"]
    assert ApprovalPolicy.objects.count() == before
    assert recorded("policy.replace") == []


def test_only_an_administrator_replaces_policies(client: Client, amir: User) -> None:
    answer = client.post("/api/v1/policies/", POLICY, content_type="application/json", headers=bearer(amir, "view"))
    assert_problem(answer, 403, "permission-denied")
    assert recorded("policy.replace") == []
