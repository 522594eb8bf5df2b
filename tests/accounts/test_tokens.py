"""Tokens of programs: issued, used within their scopes, revoked."""

import datetime
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.actions import AccountError, end_role, issue_token, revoke_token, token_digest
from accounts.models import ApiToken, User
from audit.models import AuditEvent, AuditPrivate
from tests.accounts.people import SETUP, bearer, person, recorded

pytestmark = pytest.mark.django_db


def issue(owner: User, *scopes: str, **changes: Any) -> tuple[ApiToken, str]:
    arguments: dict[str, Any] = {"owner": owner, "name": "ci", "scopes": scopes, "expires_at": None, "actor": SETUP}
    return issue_token(**(arguments | changes))


def test_only_the_digest_of_a_token_is_kept() -> None:
    token, secret = issue(person("amir", "approver"), "view")
    assert secret.startswith(f"lg_{token.prefix}_")
    assert token.sha256 == token_digest(secret)
    assert secret not in str(ApiToken.objects.values())
    [leaf] = recorded("token.issue")
    assert leaf["target"]["id"] == token.prefix
    assert secret.split("_", 2)[2] not in str(leaf)


@pytest.mark.parametrize("scope", ["admin", "registry.write", "ingest", "plan.propose", "audit.view"])
def test_a_token_can_not_do_more_than_its_owner(scope: str) -> None:
    owner = person("amir", "approver")
    events = AuditEvent.objects.count()
    with pytest.raises(AccountError, match="can't do more than its owner"):
        issue(owner, scope)
    assert not ApiToken.objects.exists()
    assert AuditEvent.objects.count() == events


def test_an_unknown_scope_is_refused_by_name() -> None:
    with pytest.raises(AccountError, match="There is no scope everything"):
        issue(person("amir", "approver"), "everything")


@pytest.mark.parametrize("age", [None, 301])
def test_a_token_that_may_approve_needs_a_fresh_proof(age: int | None) -> None:
    proved_at = None if age is None else timezone.now() - datetime.timedelta(seconds=age)
    with pytest.raises(AccountError, match="Confirm your password first"):
        issue(person("amir", "approver"), "approve", proved_at=proved_at)
    assert not ApiToken.objects.exists()


def test_a_token_answers_for_its_owner(client: Client) -> None:
    amir = person("amir", "approver")
    answer = client.get("/api/v1/me/", headers=bearer(amir, "view"))
    assert answer.status_code == 200
    assert answer.json() == {
        "username": "amir",
        "name": "Amir",
        "pseudonym": amir.pseudonym,
        "roles": ["approver"],
        "permissions": ["approve", "plan.stop", "role.lend", "view"],
    }
    assert ApiToken.objects.get().last_used_at is not None


@pytest.mark.parametrize("end", ["revoked", "expired", "owner inactive"])
def test_a_token_that_has_ended_is_answered_with_401(client: Client, end: str) -> None:
    amir = person("amir", "approver")
    header = bearer(amir, "view")
    token = ApiToken.objects.get()
    if end == "revoked":
        revoke_token(token=token, actor=SETUP)
    elif end == "expired":
        ApiToken.objects.update(expires_at=timezone.now())
    else:
        User.objects.update(is_active=False)
    answer = client.get("/api/v1/me/", headers=header)
    assert answer.status_code == 401
    assert answer["WWW-Authenticate"] == "Bearer"
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/authentication-failed"


@pytest.mark.parametrize("value", ["Bearer", "Bearer lg_0", "Bearer lg_00000000_" + "x" * 43, "Bearer a b"])
def test_what_is_no_token_of_ours_is_answered_with_401(client: Client, value: str) -> None:
    assert client.get("/api/v1/me/", headers={"Authorization": value}).status_code == 401


def test_a_token_without_the_scope_is_refused_and_that_is_on_record(client: Client) -> None:
    answer = client.get("/api/v1/users/", headers=bearer(person("ada", "administrator"), "view"))
    assert answer.status_code == 403
    assert answer.json()["detail"] == "This token lacks the scope admin. Issue one that has it."
    [leaf] = recorded("access.deny")
    assert (leaf["target"]["id"], leaf["actor"]["kind"], leaf["outcome"]) == ("admin", "token", "denied")
    assert (leaf["data"], AuditPrivate.objects.get().text) == ({}, "/api/v1/users/")


def test_a_token_whose_owner_lost_the_role_is_refused(client: Client) -> None:
    ada = person("ada", "administrator", "viewer")
    header = bearer(ada, "admin", "view")
    assert client.get("/api/v1/users/", headers=header).status_code == 200
    end_role(user=ada, role="administrator", actor=SETUP)
    assert client.get("/api/v1/users/", headers=header).status_code == 403
    assert client.get("/api/v1/me/", headers=header).status_code == 200


def test_a_token_can_be_revoked_once() -> None:
    token, _ = issue(person("amir", "approver"), "view")
    revoke_token(token=token, actor=SETUP)
    with pytest.raises(AccountError, match="revoked before"):
        revoke_token(token=token, actor=SETUP)
    assert len(recorded("token.revoke")) == 1
