"""Signing in, failing to, signing out and stepping up: each is on record, and no name is in a leaf."""

import time
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.core.cache import cache
from django.test import Client

from accounts.models import User
from audit.models import AuditEvent
from tests.accounts.people import PASSWORD, person, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _unused_limits() -> None:
    cache.clear()


@pytest.fixture
def amir() -> User:
    return person("amir", "approver")


def sign_in(client: Client, login: str = "amir", password: str = PASSWORD) -> Any:
    return client.post("/accounts/login/", {"login": login, "password": password})


def assert_nameless() -> None:
    for event in AuditEvent.objects.all():
        assert "amir" not in bytes(event.canon).decode().lower()


@pytest.mark.parametrize("login", ["amir", "amir@example.org"])
def test_a_sign_in_by_name_or_address_is_on_record(client: Client, amir: User, login: str) -> None:
    assert sign_in(client, login).url == "/"
    [leaf] = recorded("session.sign_in")
    assert (leaf["outcome"], leaf["actor"]["id"]) == ("success", amir.pseudonym)
    assert_nameless()


@pytest.mark.parametrize("login", ["amir", "amir@example.org", "nobody"])
def test_a_failed_sign_in_is_on_record_without_the_name_that_was_tried(client: Client, amir: User, login: str) -> None:
    answer = sign_in(client, login, "wrong")
    assert answer.status_code == 200
    [leaf] = recorded("session.sign_in")
    assert (leaf["outcome"], leaf["actor"]["id"], leaf["target"]["id"]) == ("failed", "anonymous", "sign-in")
    assert_nameless()
    assert "nobody" not in str(leaf)


def test_a_sixth_try_in_a_row_is_not_even_looked_at(client: Client, amir: User) -> None:
    for _ in range(5):
        sign_in(client, password="wrong")
    answer = sign_in(client)
    assert "Too many failed login attempts" in answer.content.decode()
    assert "_auth_user_id" not in client.session
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed"] * 5


def test_a_person_who_was_deactivated_can_not_sign_in(client: Client, amir: User) -> None:
    User.objects.update(is_active=False)
    sign_in(client)
    assert "_auth_user_id" not in client.session


def test_a_sign_out_is_on_record(client: Client, amir: User) -> None:
    sign_in(client)
    client.post("/accounts/logout/")
    [leaf] = recorded("session.sign_out")
    assert leaf["actor"]["id"] == amir.pseudonym
    assert "_auth_user_id" not in client.session


def test_nobody_can_sign_up(client: Client) -> None:
    client.post("/accounts/signup/", {"username": "eve", "email": "eve@example.org", "password1": PASSWORD})
    assert not User.objects.exists()


def test_a_step_up_is_on_record_whether_it_succeeds_or_not(client: Client, amir: User) -> None:
    sign_in(client)
    client.post("/accounts/reauthenticate/", {"password": "wrong"})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    steps = recorded("session.step_up")
    assert [leaf["outcome"] for leaf in steps] == ["failed", "success"]
    assert {leaf["actor"]["id"] for leaf in steps} == {amir.pseudonym}
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["success"]


def test_a_step_up_leads_back_to_where_it_was_asked_for_and_nowhere_else(client: Client, amir: User) -> None:
    sign_in(client)
    back = {"password": PASSWORD, "next": "/approvals/"}
    assert client.post("/accounts/reauthenticate/", back).url == "/approvals/"
    away = {"password": PASSWORD, "next": "https://evil.example/"}
    assert client.post("/accounts/reauthenticate/", away).url == "/"


def test_a_changed_password_is_on_record(client: Client, amir: User) -> None:
    sign_in(client)
    new = "a wholly other battery"
    client.post("/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new})
    [leaf] = recorded("credential.password_change")
    assert leaf["actor"]["id"] == amir.pseudonym


def code_of(secret: str) -> str:
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def with_second_factor(client: Client, amir: User) -> str:
    secret = generate_totp_secret()
    TOTP.activate(amir, secret)
    sign_in(client)
    assert "_auth_user_id" not in client.session
    client.post("/accounts/2fa/authenticate/", {"code": "000000" if code_of(secret) != "000000" else "111111"})
    client.post("/accounts/2fa/authenticate/", {"code": code_of(secret)})
    return secret


def test_with_a_second_factor_both_steps_are_needed_and_failures_are_on_record(client: Client, amir: User) -> None:
    with_second_factor(client, amir)
    assert client.session["_auth_user_id"] == str(amir.pk)
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed", "success"]
    assert_nameless()


def test_with_a_second_factor_a_step_up_asks_for_the_code_and_not_for_the_password(client: Client, amir: User) -> None:
    secret = with_second_factor(client, amir)
    assert client.get("/accounts/reauthenticate/").url.startswith("/accounts/2fa/reauthenticate/")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    assert recorded("session.step_up") == []
    # The code of the sign-in is used up; a fresh one is accepted.
    cache.clear()
    client.post("/accounts/2fa/reauthenticate/", {"code": code_of(secret)})
    [leaf] = recorded("session.step_up")
    assert (leaf["outcome"], leaf["data"]) == ("success", {"method": "mfa"})


def test_adding_a_second_factor_is_on_record(
    client: Client, amir: User, django_capture_on_commit_callbacks: Any
) -> None:
    sign_in(client)
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    client.get("/accounts/2fa/totp/activate/")
    code = code_of(client.session["mfa.totp.secret"])
    with django_capture_on_commit_callbacks(execute=True):
        client.post("/accounts/2fa/totp/activate/", {"code": code})
    assert Authenticator.objects.filter(user=amir, type="totp").exists()
    added = recorded("credential.second_factor_add")
    assert {leaf["data"]["type"] for leaf in added} == {"totp", "recovery_codes"}
