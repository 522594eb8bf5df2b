"""Who can approve this now: by name, those on call first, those who stand in for somebody marked."""

import datetime

import pytest
from django.utils import timezone

from accounts.actions import actor_for
from accounts.approvals.queries import who_may
from accounts.authority.actions import delegate
from accounts.models import Roster, Shift, User
from tests.accounts.people import a_request, person, say

pytestmark = pytest.mark.django_db
HOUR = datetime.timedelta(hours=1)


def on_call(user: User, team: str, *, ends: datetime.timedelta = HOUR) -> None:
    roster, _ = Roster.objects.get_or_create(team=team)
    Shift.objects.create(
        roster=roster, user=user, name=str(user), starts=timezone.now() - HOUR, ends=timezone.now() + ends
    )


def names(request: object, role: str) -> list[str]:
    return [str(candidate) for candidate in who_may(request, role)]  # type: ignore[arg-type]


def test_those_on_call_for_the_models_team_come_first() -> None:
    proposer, ana, kofi = person("rosa", "responder"), person("ana", "approver"), person("kofi", "approver")
    request = a_request(proposer)
    type(request).objects.filter(pk=request.pk).update(team="tests")
    request.refresh_from_db()
    on_call(kofi, "tests")
    on_call(ana, "another team")

    assert names(request, "approver") == ["Kofi (on call)", "Ana"]

    Shift.objects.filter(user=kofi).update(ends=timezone.now())
    assert names(request, "approver") == ["Ana", "Kofi"]


def test_who_holds_the_role_on_loan_only_is_said_to_stand_in() -> None:
    proposer, ana, vera = person("rosa", "responder"), person("ana", "approver"), person("vera", "viewer")
    request = a_request(proposer)
    delegate(
        lender=ana,
        borrower=vera,
        role="approver",
        starts=timezone.now() - HOUR,
        ends=timezone.now() + HOUR,
        actor=actor_for(user=ana),
    )

    assert names(request, "approver") == ["Ana", "Vera (standing in)"]


def test_who_proposed_it_or_approves_already_is_not_named() -> None:
    proposer, ana = person("rosa", "approver"), person("ana", "approver")
    person("kofi", "commander")
    request = a_request(proposer)
    say(ana, request)

    assert names(request, "approver") == []
    assert names(request, "commander") == ["Kofi"]
