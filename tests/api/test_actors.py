"""Programs lose what their owners lose."""

import pytest

from accounts.actions import end_role
from tests.api.programs import SETUP, Program, person, problem_of


@pytest.mark.django_db
def test_a_role_that_ends_takes_its_tokens_along() -> None:
    carla = person("carla", "commander")
    program = Program(carla)
    assert program.ask("GET", "/api/v1/incidents/").status_code == 200

    end_role(user=carla, role="commander", actor=SETUP)

    problem_of(program.ask("GET", "/api/v1/incidents/"), 403, "permission-denied")
