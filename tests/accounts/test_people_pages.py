"""The pages of people and roles: what administrators do there, and the roles that people lend."""

import datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from accounts.actions import grant_role
from accounts.authority.models import Delegation, RoleGrant, RoleProposal
from accounts.models import User
from accounts.permissions import user_roles
from tests.accounts.people import PASSWORD, SETUP, person, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def staff() -> dict[str, User]:
    cache.clear()
    names = {"ada": ["administrator"], "bea": ["administrator"], "carla": ["commander"], "vera": ["viewer"]}
    return {name: person(name, *roles) for name, roles in names.items()}


def browser(name: str) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": name, "password": PASSWORD})
    return client


def test_two_administrators_give_a_role_that_approves(staff: dict[str, User]) -> None:
    ada, bea = browser("ada"), browser("bea")
    wish = {"role": "approver", "models": "letters, loans", "teams": "", "reason": "She takes the shift."}

    answer = ada.post("/people/of/vera/", wish, follow=True)

    assert "Another administrator must confirm it." in answer.content.decode()
    proposal = RoleProposal.objects.get()
    assert proposal.scope == {"models": ["letters", "loans"]}
    assert "You proposed it: another administrator confirms it." in ada.get("/people/").content.decode()
    ada.post(f"/people/proposals/{proposal.pk}/confirm/")
    assert not RoleGrant.objects.filter(uuid=proposal.pk).exists()
    answer = bea.post(f"/people/proposals/{proposal.pk}/confirm/", follow=True)
    html = answer.content.decode()
    assert "models letters, loans" in html
    assert "Rests" in html
    assert "Ada, confirmed by Bea" in html
    assert user_roles(User.objects.get(username="vera")) == {"viewer"}


def test_confirming_asks_for_a_fresh_proof_first(staff: dict[str, User]) -> None:
    bea = browser("bea")
    browser("ada").post("/people/of/vera/", {"role": "approver", "reason": "Shift."})
    session = bea.session
    session["account_authentication_methods"][0]["proved_at"] -= 600
    session.save()

    answer = bea.post(f"/people/proposals/{RoleProposal.objects.get().pk}/confirm/")

    assert (answer.status_code, answer.url.split("?")[0]) == (302, "/accounts/reauthenticate/")
    assert RoleProposal.objects.get().state == "open"


def test_a_proposal_is_refused_with_a_reason(staff: dict[str, User]) -> None:
    browser("ada").post("/people/of/vera/", {"role": "approver", "reason": "Shift."})
    proposal, bea = RoleProposal.objects.get(), browser("bea")
    answer = bea.post(f"/people/proposals/{proposal.pk}/refuse/", {"reason": ""}, follow=True)
    assert "Say in a sentence why you refuse it." in answer.content.decode()
    bea.post(f"/people/proposals/{proposal.pk}/refuse/", {"reason": "She is away."})
    proposal.refresh_from_db()
    assert (proposal.state, proposal.decided_by) == ("refused", staff["bea"])


def test_a_person_is_added_given_a_role_and_loses_it(staff: dict[str, User]) -> None:
    ada = browser("ada")
    facts = {"username": "nina", "full_name": "Nina Noor", "email": "nina@example.org", "password": "x9 battery staple"}
    assert "too common" in ada.post("/people/new/", facts | {"password": "password"}).content.decode()
    assert ada.post("/people/new/", facts).url == "/people/of/nina/"
    ada.post("/people/of/nina/", {"role": "auditor", "reason": "Audit of May."})
    nina = User.objects.get(username="nina")
    assert user_roles(nina) == {"auditor"}
    ada.post(f"/people/grants/{nina.role_grants.get().uuid}/end/")
    assert user_roles(User.objects.get(username="nina")) == frozenset()


def test_a_deactivated_person_is_out_at_the_next_request_and_comes_back_without_roles(staff: dict[str, User]) -> None:
    carla, ada = browser("carla"), browser("ada")
    assert carla.get("/approvals/").status_code == 200
    ada.post("/people/of/carla/deactivate/")
    assert carla.get("/approvals/").url.startswith("/accounts/login/")
    ada.post("/people/of/carla/reactivate/")
    assert browser("carla").get("/approvals/").status_code == 403
    assert [len(recorded(action)) for action in ("user.deactivate", "user.reactivate", "role.end")] == [1, 1, 1]
    answer = ada.post("/people/of/ada/deactivate/", follow=True)
    assert "deactivate yourself" in answer.content.decode()
    assert User.objects.get(username="ada").is_active


def test_a_role_that_is_taken_away_is_gone_at_the_next_request(staff: dict[str, User]) -> None:
    vera, ada = browser("vera"), browser("ada")
    assert vera.get("/models/").status_code == 200
    ada.post(f"/people/grants/{staff['vera'].role_grants.get().uuid}/end/")
    assert vera.get("/models/").status_code == 403


def test_sessions_are_listed_and_each_can_be_ended(staff: dict[str, User]) -> None:
    here, there = browser("vera"), browser("vera")
    html = here.get("/accounts/sessions/").content.decode()
    assert html.count("<tr>") == 3
    [other] = staff["vera"].usersession_set.exclude(session_key=here.session.session_key)
    assert browser("carla").post(f"/account/sessions/{other.pk}/end/").status_code == 404
    assert there.get("/models/").status_code == 200
    here.post(f"/account/sessions/{other.pk}/end/")
    assert there.get("/models/").url.startswith("/accounts/login/")
    assert here.get("/models/").status_code == 200
    [leaf] = recorded("session.end")
    assert leaf["actor"]["id"] == staff["vera"].pseudonym


def test_an_administrator_signs_somebody_out_everywhere(staff: dict[str, User]) -> None:
    first, second = browser("vera"), browser("vera")
    browser("ada").post("/people/of/vera/sign-out/")
    for client in (first, second):
        assert client.get("/models/").url.startswith("/accounts/login/")
    assert [leaf["actor"]["id"] for leaf in recorded("session.end")] == [staff["ada"].pseudonym] * 2


def lend(client: Client, borrower: User, **changes: Any) -> Any:
    now = timezone.now().replace(tzinfo=None)
    wish = {
        "borrower": borrower.pk,
        "role": "commander",
        "starts": now.isoformat(timespec="minutes"),
        "ends": (now + datetime.timedelta(hours=8)).isoformat(timespec="minutes"),
        "reason": "I am on leave.",
    }
    return client.post("/account/loans/", wish | changes, follow=True)


def test_a_role_is_lent_and_taken_back(staff: dict[str, User]) -> None:
    carla = browser("carla")
    assert "<td>Vera</td>" in lend(carla, staff["vera"]).content.decode()
    assert user_roles(User.objects.get(username="vera")) == {"viewer", "commander"}
    loan = Delegation.objects.get()
    assert "Carla" in browser("vera").get("/account/loans/").content.decode()
    grant_role(user=staff["bea"], role="viewer", granted_by=None, actor=SETUP)
    stranger = person("sam", "viewer")
    assert browser(stranger.username).post(f"/account/loans/{loan.pk}/end/").status_code == 403
    carla.post(f"/account/loans/{loan.pk}/end/")
    assert user_roles(User.objects.get(username="vera")) == {"viewer"}


def test_a_loan_that_can_not_be_made_says_why(staff: dict[str, User]) -> None:
    answer = lend(browser("carla"), staff["vera"], ends="2020-01-01T00:00")
    assert "A loan ends after it starts" in answer.content.decode()
    assert lend(browser("vera"), staff["carla"]).status_code == 403
    assert not Delegation.objects.exists()


@pytest.mark.parametrize("path", ["/people/", "/people/new/", "/people/of/ada/"])
def test_people_are_for_administrators(path: str) -> None:
    assert browser("ada").get(path).status_code == 200
    assert browser("carla").get(path).status_code == 403
    assert Client().get(path).url.startswith("/accounts/login/")
