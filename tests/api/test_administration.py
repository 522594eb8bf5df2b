"""What an administrator does by the API: people, their roles, and which endpoints are watched."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiToken, RoleGrant, RoleProposal, User
from accounts.permissions import user_roles
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
    answer = ada.ask("POST", "/api/v1/users/", RITA | {"roles": ["responder", "viewer", "approver"]})

    assert (answer.status_code, answer.json()["roles"]) == (201, ["responder", "viewer"])
    assert "password" not in answer.json()
    assert User.objects.get(username="rita").check_password(PASSWORD)
    assert AuditEvent.objects.filter(action="role.grant", actor=ada.owner.pseudonym).count() == 2
    assert RoleProposal.objects.get().role == "approver"


def test_a_name_that_is_taken_and_a_weak_password_make_nobody(ada: Program) -> None:
    person("rita", "viewer")

    problem_of(ada.ask("POST", "/api/v1/users/", RITA), 409, "already-there")
    problem_of(ada.ask("POST", "/api/v1/users/", RITA | {"username": "rosa", "password": "password"}), 400, "invalid")

    assert set(User.objects.values_list("username", flat=True)) == {"ada", "rita"}


def test_roles_are_given_and_end(ada: Program) -> None:
    rita = person("rita", "viewer")

    given = ada.ask("POST", "/api/v1/users/rita/roles/", {"role": "responder", "scope": {"teams": ["ml"]}})
    ended = ada.ask("DELETE", "/api/v1/users/rita/roles/viewer/")

    assert given.json()["roles"] == ["responder", "viewer"]
    assert ended.json()["roles"] == ["responder"]
    [grant] = ended.json()["grants"]
    assert (grant["role"], grant["scope"]) == ("responder", {"teams": ["ml"]})
    assert RoleGrant.objects.get(user=rita, role="responder").granted_by == ada.owner
    problem_of(ada.ask("DELETE", "/api/v1/users/rita/roles/viewer/"), 409, "not-held")


def test_a_role_that_approves_is_proposed_by_one_and_confirmed_by_another(ada: Program, settings: Any) -> None:
    settings.LASTGOOD_ROLE_REST_SECONDS = 3600
    bea, rita = Program(person("bea", "administrator")), person("rita", "viewer")
    wish = {"role": "commander", "scope": {"models": ["letters"]}, "reason": "She leads the shift."}

    proposed = ada.ask("POST", "/api/v1/users/rita/roles/", wish)
    place = f"/api/v1/role-proposals/{proposed.json()['id']}/"

    assert (proposed.status_code, proposed.json()["state"]) == (202, "open")
    problem_of(ada.ask("POST", "/api/v1/users/rita/roles/", wish), 409, "already-proposed")
    problem_of(ada.ask("POST", f"{place}confirm/"), 403, "own-proposal")
    ApiToken.objects.filter(owner=bea.owner).update(proved_at=timezone.now() - timedelta(minutes=6))
    problem_of(bea.ask("POST", f"{place}confirm/"), 403, "step-up-needed")
    ApiToken.objects.filter(owner=bea.owner).update(proved_at=timezone.now())
    assert bea.ask("POST", f"{place}confirm/").status_code == 201
    problem_of(bea.ask("POST", f"{place}refuse/", {"reason": "No."}), 409, "not-open")
    shown = bea.ask("GET", "/api/v1/users/rita/").json()
    assert (shown["roles"], [grant["role"] for grant in shown["grants"]]) == (["viewer"], ["commander", "viewer"])
    grant = RoleGrant.objects.get(user=rita, role="commander")
    assert (grant.counts_from - grant.since, grant.confirmed_by) == (timedelta(hours=1), bea.owner)


def test_a_role_is_lent_by_who_holds_it(ada: Program) -> None:
    carla, rita = Program(person("carla", "commander")), person("rita", "viewer")
    now = timezone.now()
    wish = {"borrower": "rita", "role": "commander", "starts": now.isoformat(), "reason": "Leave."}
    wish["ends"] = (now + timedelta(hours=1)).isoformat()

    problem_of(ada.ask("POST", "/api/v1/delegations/", wish), 409, "not-held")
    lent = carla.ask("POST", "/api/v1/delegations/", wish)

    assert lent.status_code == 201, lent.content
    assert user_roles(User.objects.get(pk=rita.pk)) == {"viewer", "commander"}
    place = f"/api/v1/delegations/{lent.json()['id']}/"
    problem_of(Program(person("cleo", "commander")).ask("DELETE", place), 403, "permission-denied")
    assert carla.ask("DELETE", place).status_code == 204
    problem_of(carla.ask("DELETE", place), 409, "refused")


def test_a_person_is_deactivated(ada: Program) -> None:
    rita = Program(person("rita", "viewer"))
    assert ada.ask("POST", "/api/v1/users/rita/deactivate/").json()["is_active"] is False
    problem_of(rita.ask("GET", "/api/v1/me/"), 401, "authentication-failed")
    problem_of(ada.ask("POST", "/api/v1/users/ada/deactivate/"), 409, "refused")
    assert ada.ask("POST", "/api/v1/users/rita/reactivate/").json()["roles"] == []


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
    assert Rule.objects.filter(endpoint=endpoint).count() == 6
