"""Which role may call which route: every one of them, against a table written by hand."""

from typing import Any

import pytest

from accounts.actions import end_role
from accounts.models import Role
from audit.models import AuditEvent
from tests.api.programs import SETUP, Program, person, problem_of
from tests.api.routes import LETTERS, MAY, ROUTES, Route, served


def test_every_route_is_in_the_table() -> None:
    assert served() == {entry for entry in MAY if not entry.startswith("HEAD ")}


def test_those_roles_may_and_no_others(committed_db: Any) -> None:
    programs = {letter: Program(person(role, role)) for letter, role in LETTERS.items()}

    found = {str(route): "".join(letter for letter in LETTERS if _may(programs[letter], route)) for route in ROUTES}

    assert found == MAY
    refusals = sum(len(LETTERS) - len(letters) for letters in MAY.values())
    assert AuditEvent.objects.filter(action="access.deny", outcome="denied").count() == refusals


def _may(program: Program, route: Route) -> bool:
    answer = program.ask(route.method, route.path())
    assert answer.status_code != 401, route
    assert answer.status_code < 500, route
    if answer.status_code != 403:
        return True
    return route.method != "HEAD" and problem_of(answer, 403)["type"] != "/problems/permission-denied"


def test_a_role_that_may_is_no_use_to_a_token_without_the_scope(committed_db: Any) -> None:
    program = Program(person("amina", *Role.values), "ingest")

    for route in ROUTES:
        answer = program.ask(route.method, route.path())
        held_by_others = MAY[str(route)] or "cosignatures" in route.template
        if held_by_others and route.method != "HEAD":
            assert "lacks the scope" in problem_of(answer, 403, "permission-denied")["detail"], route
        else:
            assert answer.status_code == (403 if held_by_others else 404 if "sender" not in route.template else 202)


@pytest.mark.django_db
def test_a_role_that_ends_takes_its_tokens_along() -> None:
    carla = person("carla", "commander")
    program = Program(carla)
    assert program.ask("GET", "/api/v1/incidents/").status_code == 200

    end_role(user=carla, role="commander", actor=SETUP)

    problem_of(program.ask("GET", "/api/v1/incidents/"), 403, "permission-denied")
