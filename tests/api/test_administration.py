"""What an administrator does by the API: people, their roles, and which endpoints are watched."""

from pathlib import Path
from typing import Any

import pytest

from accounts.models import RoleGrant, User
from audit.models import AuditEvent
from monitoring.models import Monitor, Rule
from tests.api.programs import PASSWORD, Program, person, problem_of
from tests.registry.world import make_endpoint, make_registered_model

pytestmark = pytest.mark.django_db
RITA = {"username": "rita", "email": "rita@example.org", "full_name": "Rita Ray", "password": PASSWORD}


@pytest.fixture
def ada(settings: Any, tmp_path: Path) -> Program:
    settings.LASTGOOD_VAR = tmp_path
    return Program(person("ada", "administrator"))


def test_a_person_is_made_with_roles_and_can_sign_in(ada: Program) -> None:
    answer = ada.ask("POST", "/api/v1/users/", RITA | {"roles": ["responder", "viewer"]})

    assert (answer.status_code, answer.json()["roles"]) == (201, ["responder", "viewer"])
    assert "password" not in answer.json()
    assert User.objects.get(username="rita").check_password(PASSWORD)
    assert AuditEvent.objects.filter(action="role.grant", actor=ada.owner.pseudonym).count() == 2


def test_a_name_that_is_taken_and_a_weak_password_make_nobody(ada: Program) -> None:
    person("rita", "viewer")

    problem_of(ada.ask("POST", "/api/v1/users/", RITA), 409, "already-there")
    problem_of(ada.ask("POST", "/api/v1/users/", RITA | {"username": "rosa", "password": "password"}), 400, "invalid")

    assert set(User.objects.values_list("username", flat=True)) == {"ada", "rita"}


def test_roles_are_given_and_end(ada: Program) -> None:
    rita = person("rita", "viewer")

    given = ada.ask("POST", "/api/v1/users/rita/roles/", {"role": "commander"})
    ended = ada.ask("DELETE", "/api/v1/users/rita/roles/viewer/")

    assert given.json()["roles"] == ["commander", "viewer"]
    assert ended.json()["roles"] == ["commander"]
    assert RoleGrant.objects.get(user=rita, role="commander").granted_by == ada.owner
    problem_of(ada.ask("DELETE", "/api/v1/users/rita/roles/viewer/"), 409, "not-held")


def test_an_endpoint_is_watched_and_no_longer(ada: Program) -> None:
    endpoint = make_endpoint(make_registered_model())

    made = ada.ask("POST", "/api/v1/monitors/", {"endpoint": endpoint.slug, "window_seconds": 120})
    refused = ada.ask("POST", "/api/v1/monitors/", {"endpoint": endpoint.slug, "window_seconds": 0})
    stopped = ada.ask("POST", f"/api/v1/monitors/{endpoint.slug}/stop/", {"reason": "It is retired."})

    assert (made.status_code, made.json()["window_seconds"], made.json()["enabled"]) == (201, 120, True)
    problem_of(refused, 400, "monitor-refused")
    assert (stopped.status_code, stopped.json()["enabled"]) == (200, False)
    again = ada.ask("POST", f"/api/v1/monitors/{endpoint.slug}/stop/", {"reason": "It is retired."})
    problem_of(again, 409, "not-watched")
    assert Monitor.objects.get().window_seconds == 120
    assert Rule.objects.filter(endpoint=endpoint).count() == 4
