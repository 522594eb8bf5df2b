"""Programs that call the API with a person's scoped token."""

import json
from typing import Any

from django.test import Client
from django.utils import timezone

from accounts.actions import create_user, issue_token
from accounts.models import Role, User
from accounts.permissions import MACHINE_SCOPES, permissions_of
from audit.actions import service_actor

SETUP = service_actor("test")
PASSWORD = "correct horse battery staple"
PROBLEM = "application/problem+json"


class Program:
    """A client with a token that holds the scopes; without any, one that holds all that its owner may."""

    def __init__(self, owner: User, *scopes: str) -> None:
        held = scopes or tuple(permissions_of(owner.role_grants.filter(until=None).values_list("role", flat=True)))
        self.token, secret = issue_token(
            owner=owner, name="program", scopes=held, expires_at=None, actor=SETUP, proved_at=timezone.now()
        )
        self.owner = owner
        self.client = Client(headers={"Authorization": f"Bearer {secret}"}, raise_request_exception=False)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A call with a JSON body; a body of bytes goes as it is, as JSON as well."""
        data = body if isinstance(body, bytes) else json.dumps({} if body is None else body).encode()
        content = {} if method in ("GET", "HEAD") else {"data": data, "content_type": "application/json"}
        return self.client.generic(method, path, headers=headers, **content)


def person(name: str, *roles: str) -> User:
    return create_user(
        username=name, email=f"{name}@example.org", full_name=name.title(), password=PASSWORD, roles=roles, actor=SETUP
    )


def anybody() -> Program:
    """A program of one who holds every role, with every scope that a role carries, and may send data in."""
    owner = person("everybody", *Role.values)
    return Program(owner, *permissions_of(Role.values), *MACHINE_SCOPES)


def problem_of(answer: Any, status: int, kind: str = "") -> dict[str, Any]:
    """The problem that the answer is. Raises AssertionError where it is none, or another."""
    assert (answer.status_code, answer["Content-Type"]) == (status, PROBLEM), answer.content[:300]
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["type"].startswith("/problems/")
    assert body["title"]
    assert body["detail"]
    if kind:
        assert body["type"] == f"/problems/{kind}"
    return body
