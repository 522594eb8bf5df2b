"""allauth's own pages, in our frame: each renders, carries its form, and keeps within the policy."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import Role, RoleGrant, User

pytestmark = pytest.mark.django_db


@pytest.fixture
def person() -> User:
    user = User.objects.create_user(
        "mara", "mara@example.org", "correct horse battery", first_name="Mara", last_name="L"
    )
    RoleGrant.objects.create(user=user, role=Role.APPROVER)
    return user


@pytest.fixture
def signed_in(client: Client, person: User) -> Client:
    client.post("/accounts/login/", {"login": "mara", "password": "correct horse battery"})
    return client


def assert_within_policy(html: str) -> None:
    assert not re.search(r"\sstyle\s*=|<style\b|\son[a-z]+\s*=", html)
    for tag in re.findall(r"<script\b[^>]*>", html):
        assert "src=" in tag or 'type="application/json"' in tag


def test_the_sign_in_page_has_labelled_fields_and_one_filled_button(client: Client) -> None:
    html = client.get("/accounts/login/?next=/incidents/").content.decode()
    assert re.findall(r'<label class="field-label" for="(\w+)"', html) == ["id_login", "id_password"]
    assert html.count("btn-primary") == 1
    assert '<input type="hidden" name="next" value="/incidents/"' in html
    assert_within_policy(html)


def test_a_refused_sign_in_stays_on_the_page_and_says_why(client: Client, person: User) -> None:
    answer = client.post("/accounts/login/", {"login": "mara", "password": "wrong"})
    assert answer.status_code == 200
    assert 'role="alert"' in answer.content.decode()
    assert "_auth_user_id" not in client.session


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/accounts/logout/", "Sign out?"),
        ("/accounts/reauthenticate/", "Confirm that it is you"),
        ("/accounts/2fa/", "Two-Factor Authentication"),
        ("/accounts/password/change/", "Change Password"),
        ("/accounts/sessions/", "Sessions"),
    ],
)
def test_a_page_of_ones_own_account_renders_in_our_frame(signed_in: Client, path: str, heading: str) -> None:
    answer = signed_in.get(path)
    html = answer.content.decode()
    assert answer.status_code == 200
    assert heading in re.sub(r"\s+", " ", html)
    assert 'class="brand"' in html
    assert_within_policy(html)


def test_the_menu_names_the_person_and_the_roles(signed_in: Client) -> None:
    html = signed_in.get("/accounts/2fa/").content.decode()
    assert "<b>Mara L</b><span>Approver</span>" in html


def test_a_step_up_asks_for_the_password_and_leads_back(signed_in: Client) -> None:
    html = signed_in.get("/accounts/reauthenticate/?next=/approvals/").content.decode()
    assert 'type="password"' in html
    assert "<b>Mara L</b>" in html
    answer = signed_in.post("/accounts/reauthenticate/", {"password": "correct horse battery", "next": "/approvals/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/approvals/")


def test_a_second_factor_is_set_up_with_a_picture_that_the_policy_allows(signed_in: Client) -> None:
    signed_in.post("/accounts/reauthenticate/", {"password": "correct horse battery"})
    html = signed_in.get("/accounts/2fa/totp/activate/").content.decode()
    assert '<img class="account-image" src="data:image/svg+xml' in html
    assert 'name="code"' in html
    assert_within_policy(html)


def test_signing_out_asks_first_and_then_ends_the_session(signed_in: Client) -> None:
    signed_in.get("/accounts/logout/")
    assert "_auth_user_id" in signed_in.session
    signed_in.post("/accounts/logout/")
    assert "_auth_user_id" not in signed_in.session
