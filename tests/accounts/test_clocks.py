"""A web process whose clock is ten minutes off judges a proof of identity and a session as any other does."""

import datetime
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.core.cache import cache
from django.test import Client

from accounts.approvals.models import ApprovalDecision
from accounts.models import ApiToken
from audit.clock import database_now
from tests.accounts.people import PASSWORD, a_request, person
from tests.accounts.test_approval_pages import send

pytestmark = pytest.mark.django_db
TEN_MINUTES = datetime.timedelta(minutes=10)


@pytest.fixture(autouse=True)
def _unused_limits() -> None:
    cache.clear()


def clock_off(by: datetime.timedelta) -> Any:
    return time_machine.travel(datetime.datetime.now(datetime.UTC) + by, tick=True)


@pytest.mark.parametrize("ahead", [-1, 1])
def test_f31_a_proof_is_as_old_as_the_databases_clock_says(ahead: int) -> None:
    asked, client = a_request(person("rita", "responder")), Client()
    person("carla", "commander")
    with clock_off(ahead * TEN_MINUTES):
        client.post("/accounts/login/", {"login": "carla", "password": PASSWORD})
    with clock_off(-ahead * TEN_MINUTES):
        assert send(client, asked).redirect_chain == [(f"/approvals/{asked.pk}/", 302)]
    decision = ApprovalDecision.objects.get()
    assert abs(decision.auth_time - database_now()) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize("ahead", [-1, 1])
def test_f31_an_old_proof_is_not_made_young_by_another_clock(ahead: int) -> None:
    asked, client = a_request(person("rita", "responder")), Client()
    person("carla", "commander")
    with clock_off(ahead * TEN_MINUTES):
        client.post("/accounts/login/", {"login": "carla", "password": PASSWORD})
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    session = client.session
    for entry in session["account_authentication_methods"]:
        entry["proved_at"] -= 360
    session.save()
    with clock_off(-ahead * TEN_MINUTES):
        answer = send(client, asked)
        added = client.get("/accounts/2fa/totp/activate/")
    assert answer.redirect_chain[0][0].startswith("/accounts/reauthenticate/")
    assert added.url.startswith("/accounts/reauthenticate/")
    assert not ApprovalDecision.objects.exists()


@pytest.mark.parametrize("ahead", [-1, 1])
def test_f31_what_is_given_for_a_time_has_that_time(ahead: int) -> None:
    client = Client()
    person("carla", "commander")
    with clock_off(ahead * TEN_MINUTES):
        client.post("/accounts/login/", {"login": "carla", "password": PASSWORD})
        client.post("/account/tokens/", {"name": "mine", "scopes": ["view"], "days": 1})
    minute = datetime.timedelta(minutes=1)
    left = Session.objects.get().expire_date - database_now()
    assert abs(left - datetime.timedelta(hours=12)) < minute
    expires_at = ApiToken.objects.get().expires_at
    assert expires_at is not None
    assert abs(expires_at - database_now() - datetime.timedelta(days=1)) < minute
    Session.objects.update(expire_date=database_now())
    with clock_off(-TEN_MINUTES):
        assert client.get("/approvals/").status_code == 302
