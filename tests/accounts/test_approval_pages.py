"""The approver's pages, through the browser's own requests."""

import re
import time
from typing import Any

import pytest
from django.test import Client

from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalDecision, ApprovalRequest
from accounts.models import ApiToken, User
from tests.accounts.people import PASSWORD, a_request, person, recorded, say

pytestmark = pytest.mark.django_db


@pytest.fixture
def rita() -> User:
    return person("rita", "responder")


@pytest.fixture
def request_(rita: User) -> ApprovalRequest:
    person("carla", "commander")
    return a_request(rita)


def browser(user: User, proof_age: float = 0) -> Client:
    """A signed-in browser whose person gave the password `proof_age` seconds ago."""
    client = Client()
    client.post("/accounts/login/", {"login": user.username, "password": PASSWORD})
    session = client.session
    for entry in session["account_authentication_methods"]:
        entry["proved_at"] = time.time() - proof_age
    session.save()
    return client


def send(client: Client, request: ApprovalRequest, decision: str = "approve", **changes: str) -> Any:
    """As a person does who has just opened the page."""
    shown = show(request, User.objects.get(pk=client.session["_auth_user_id"]))[0]
    data = {"decision": decision, "subject_hash": request.subject_hash, "evidence": shown} | changes
    return client.post(f"/approvals/{request.pk}/", data, follow=True)


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())).replace("&#x27;", "'")


def test_the_page_says_what_is_missing_and_binds_the_form_to_the_hash(request_: ApprovalRequest) -> None:
    answer = browser(person("amir", "approver")).get(f"/approvals/{request_.pk}/")
    html = answer.content.decode()
    assert "2 more approvals are needed" in text_of(answer)
    assert html.count(f'name="subject_hash" value="{request_.subject_hash}"') == 2
    assert "autofocus" not in html
    assert not re.search(r"\sstyle\s*=|<style\b|\son[a-z]+\s*=", html)


def test_approving_needs_one_press_and_is_said_back(request_: ApprovalRequest) -> None:
    amir = person("amir", "approver")
    answer = send(browser(amir), request_)
    assert "You approved it." in text_of(answer)
    assert ApprovalDecision.objects.get().by == amir
    assert ApprovalDecision.objects.get().auth_method == "password"


def test_abuse_3_an_old_proof_leads_through_the_password_and_then_to_the_approval(request_: ApprovalRequest) -> None:
    client = browser(person("amir", "approver"), proof_age=400)
    answer = send(client, request_)
    assert answer.redirect_chain[0][0] == f"/accounts/reauthenticate/?next=%2Fapprovals%2F{request_.pk}%2F"
    assert not ApprovalDecision.objects.exists()
    assert recorded("approval.decide")[-1]["data"]["refused"] == "step_up_needed"

    there = {"password": PASSWORD, "next": f"/approvals/{request_.pk}/"}
    answer = client.post("/accounts/reauthenticate/", there, follow=True)
    assert "You approved it." in text_of(answer)
    assert ApprovalDecision.objects.get().decision == "approve"


def test_a_wrong_password_on_the_way_approves_nothing(request_: ApprovalRequest) -> None:
    client = browser(person("amir", "approver"), proof_age=400)
    send(client, request_)
    client.post("/accounts/reauthenticate/", {"password": "wrong", "next": f"/approvals/{request_.pk}/"})
    assert not ApprovalDecision.objects.exists()


def test_the_proposer_sees_why_not_and_who_can(request_: ApprovalRequest, rita: User) -> None:
    person("amir", "approver")
    client = browser(rita)
    text = text_of(client.get(f"/approvals/{request_.pk}/"))
    assert "You proposed this, so you can't approve it. Carla or Amir can." in text
    assert "Approve…" not in text
    answer = send(client, request_)
    assert not ApprovalDecision.objects.exists()
    assert "You hold no role that decides here" in text_of(answer)


def test_a_viewer_sees_who_can(request_: ApprovalRequest) -> None:
    text = text_of(browser(person("vera", "viewer")).get(f"/approvals/{request_.pk}/"))
    assert "You hold no role that approves this. Carla can." in text
    assert "Deny…" not in text


def test_a_person_without_any_role_sees_nothing(request_: ApprovalRequest) -> None:
    client = browser(person("nora"))
    assert client.get(f"/approvals/{request_.pk}/").status_code == 403
    assert client.get("/approvals/").status_code == 403
    assert send(client, request_).status_code == 403
    assert not ApprovalDecision.objects.exists()


def test_nobody_signed_in_is_led_to_the_sign_in(request_: ApprovalRequest) -> None:
    for path in ("/approvals/", f"/approvals/{request_.pk}/", "/account/tokens/"):
        assert Client().get(path).url == f"/accounts/login/?next={path}"


def test_a_form_of_another_site_is_refused(request_: ApprovalRequest) -> None:
    client = browser(person("amir", "approver"))
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    answer = strict.post(f"/approvals/{request_.pk}/", {"decision": "approve", "subject_hash": request_.subject_hash})
    assert answer.status_code == 403
    assert not ApprovalDecision.objects.exists()


@pytest.mark.parametrize("changes", [{"subject_hash": ""}, {"subject_hash": "x"}, {"decision": "yes"}])
def test_a_form_that_does_not_say_what_was_read_decides_nothing(
    request_: ApprovalRequest, changes: dict[str, str]
) -> None:
    answer = send(browser(person("amir", "approver")), request_, **changes)
    assert "Nothing was decided" in text_of(answer)
    assert not ApprovalDecision.objects.exists()


def test_a_denial_is_shown_with_its_reason_and_closes_the_page(request_: ApprovalRequest) -> None:
    client = browser(person("amir", "approver"))
    text = text_of(send(client, request_, "deny", reason="Version 1 is <b>worse</b>."))
    assert "You denied it." in text
    assert "Denied by Amir: Version 1 is &lt;b&gt;worse&lt;/b&gt;." in text
    assert "This request is closed." in text
    assert "Approve…" not in text


def test_the_list_shows_first_what_waits_for_the_reader(request_: ApprovalRequest, rita: User) -> None:
    amir = person("amir", "approver")
    assert "1 request waits for your approval." in text_of(browser(amir).get("/approvals/"))
    say(amir, request_)
    assert "Nothing waits for you; 1 request waits for others." in text_of(browser(amir).get("/approvals/"))
    assert "Nothing waits for you" in text_of(browser(rita).get("/approvals/"))


def test_a_token_is_shown_once_and_can_be_revoked(client: Client) -> None:
    amir = person("amir", "approver")
    client = browser(amir)
    answer = client.post("/account/tokens/", {"name": "ci", "scopes": ["view", "approve"], "days": 30}, follow=True)
    secret = re.search(r"lg_[0-9a-f]{8}_[\w-]{43}", answer.content.decode())
    assert secret is not None
    assert "no-store" in answer["Cache-Control"]
    assert secret.group() not in client.get("/account/tokens/").content.decode()
    token = ApiToken.objects.get()
    assert token.proved_at is not None
    assert "no longer works" in text_of(client.post(f"/account/tokens/{token.pk}/revoke/", follow=True))
    assert client.get("/api/v1/me/", headers={"Authorization": f"Bearer {secret.group()}"}).status_code == 401


def test_issuing_a_token_asks_for_the_password_first() -> None:
    client = browser(person("amir", "approver"), proof_age=400)
    answer = client.post("/account/tokens/", {"name": "ci", "scopes": ["view"], "days": 30})
    assert answer.url == "/accounts/reauthenticate/?next=%2Faccount%2Ftokens%2F"
    assert not ApiToken.objects.exists()


def test_a_token_of_somebody_else_is_not_there() -> None:
    browser(person("amir", "approver")).post("/account/tokens/", {"name": "ci", "scopes": ["view"], "days": 30})
    token = ApiToken.objects.get()
    other = browser(person("carla", "commander"))
    assert other.post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


def test_the_scopes_that_are_offered_are_the_readers_own() -> None:
    html = browser(person("amir", "approver")).get("/account/tokens/").content.decode()
    assert re.findall(r'name="scopes" value="([\w.]+)"', html) == ["approve", "plan.stop", "role.lend", "view"]
