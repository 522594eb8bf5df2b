"""A role that is limited to other models does nothing to this one's runs."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from accounts.actions import actor_for, create_user, grant_role
from accounts.models import User
from incidents.rollback import run as runs
from incidents.rollback.models import Plan, RunState
from tests.incidents.rollback.fleet import PASSWORD, SETUP, Fleet, events


def commander(name: str, *, models: list[str]) -> User:
    user = create_user(
        username=name, email=f"{name}@example.org", full_name=name.title(), password=PASSWORD, roles=(), actor=SETUP
    )
    grant_role(user=user, role="commander", granted_by=None, actor=SETUP, scope={"models": models})
    return user


@pytest.mark.parametrize("act", [runs.stop, runs.resume, runs.pass_gate, runs.compensate])
def test_a_commander_of_other_models_moves_no_run_of_this_one(fleet: Fleet, act: Callable[..., Any]) -> None:
    begun = fleet.started()
    otto = commander("otto", models=["another"])

    with pytest.raises(PermissionDenied):
        act(run_id=begun.pk, user=otto, reason="I think so.", actor=actor_for(user=otto))

    begun.refresh_from_db()
    assert begun.state == RunState.RUNNING
    assert [event["outcome"] for event in events("access.deny")] == ["denied"]


def test_a_commander_of_other_models_neither_proposes_nor_starts_and_one_of_this_model_does(fleet: Fleet) -> None:
    waiting = fleet.awaiting(start_on_approval=False)
    fleet.approve(waiting)
    otto, ida = commander("otto", models=["another"]), commander("ida", models=[fleet.slug])

    with pytest.raises(PermissionDenied):
        runs.start(plan_id=waiting.pk, user=otto, actor=actor_for(user=otto))
    fleet.responder = otto
    with pytest.raises(PermissionDenied):
        fleet.propose()

    assert Plan.objects.count() == 1
    assert runs.start(plan_id=waiting.pk, user=ida, actor=actor_for(user=ida)).state == RunState.RUNNING
