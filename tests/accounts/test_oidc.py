"""Signing in by an OpenID Connect provider: who is new gets no role, and no account is taken over by its address."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.cache import cache
from django.test import Client

from accounts.actions import grant_role
from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalDecision
from accounts.approvals.queries import standing
from accounts.models import User
from tests.accounts.people import PASSWORD, SETUP, a_request, person, recorded
from tests.accounts.provider import CLIENT, SECRET, Provider, running

pytestmark = pytest.mark.django_db
NINA = {"sub": "7", "email": "nina@example.org", "name": "Nina Noor", "preferred_username": "nina"}


@pytest.fixture(scope="module")
def running_provider() -> Iterator[Provider]:
    with running() as provider:
        yield provider


@pytest.fixture
def provider(running_provider: Provider, settings: Any) -> Provider:
    cache.clear()
    app = {
        "provider_id": "oidc",
        "name": "the office",
        "client_id": CLIENT,
        "secret": SECRET,
        "settings": {"server_url": running_provider.url},
    }
    settings.LASTGOOD_OIDC_NETWORKS = ["127.0.0.0/8"]
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"OAUTH_PKCE_ENABLED": True, "APPS": [app]}}
    running_provider.person = NINA
    return running_provider


def way_back(client: Client, process: str = "login") -> str:
    """Press the button, agree at the provider, and return the address to which it sends the browser back."""
    begun = client.post(f"/accounts/oidc/oidc/login/?process={process}")
    assert begun.status_code == 302, begun.content
    agreed = httpx.get(begun.url)
    return agreed.headers["Location"].removeprefix("http://testserver")


def come(client: Client, process: str = "login") -> Any:
    return client.get(way_back(client, process), follow=True)


def test_who_is_new_can_sign_in_and_has_no_role(client: Client, provider: Provider) -> None:
    assert "Use the office" in client.get("/accounts/login/").content.decode()
    come(client)
    nina = User.objects.get()
    assert (nina.email, str(nina), nina.has_usable_password()) == ("nina@example.org", "Nina Noor", False)
    assert client.session["_auth_user_id"] == str(nina.pk)
    assert client.get("/models/").status_code == 403
    [made], [entered] = recorded("user.create"), recorded("session.sign_in")
    assert (made["actor"]["id"], made["target"]["id"]) == ("svc:oidc", nina.pseudonym)
    assert (entered["outcome"], entered["actor"]["id"]) == ("success", nina.pseudonym)


def test_who_was_there_before_is_the_same_person(provider: Provider) -> None:
    come(Client())
    come(Client())
    assert User.objects.count() == 1
    assert len(recorded("session.sign_in")) == 2


def test_abuse_2_an_account_of_the_same_address_is_not_taken_over(client: Client, provider: Provider) -> None:
    person("nina", "administrator")
    answer = come(client)
    assert "There is an account with your address here." in answer.content.decode()
    assert "_auth_user_id" not in client.session
    assert User.objects.count() == 1
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed"]


def test_a_person_connects_the_provider_and_then_signs_in_with_it(client: Client, provider: Provider) -> None:
    nina = person("nina", "viewer")
    client.post("/accounts/login/", {"login": "nina", "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    come(client, "connect")
    assert [leaf["actor"]["id"] for leaf in recorded("credential.provider_add")] == [nina.pseudonym]
    other = Client()
    come(other)
    assert other.session["_auth_user_id"] == str(nina.pk)
    assert other.get("/models/").status_code == 200


def test_abuse_2_one_person_by_two_ways_in_has_one_vote(client: Client, provider: Provider) -> None:
    nina = person("nina", "commander")
    asked = a_request(person("rita", "responder"), tier="high")
    client.post("/accounts/login/", {"login": "nina", "password": PASSWORD})
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    come(client, "connect")
    grant_role(user=nina, role="approver", granted_by=None, actor=SETUP)
    form = {"decision": "approve", "subject_hash": asked.subject_hash}
    client.post(f"/approvals/{asked.pk}/", form | {"evidence": show(asked, nina)[0]})
    other = Client()
    come(other)
    assert other.session["_auth_user_id"] == str(nina.pk)

    other.get(f"/approvals/{asked.pk}/")
    answer = other.post(f"/approvals/{asked.pk}/", form | {"evidence": show(asked, nina)[0]}, follow=True)

    assert "You have approved this already." in answer.content.decode()
    assert [row.by for row in ApprovalDecision.objects.all()] == [nina]
    assert standing(asked).open == ["approver"]


def test_a_deactivated_person_can_not_come_in_by_the_provider(client: Client, provider: Provider) -> None:
    come(Client())
    User.objects.update(is_active=False)
    come(client)
    assert "_auth_user_id" not in client.session


def test_an_answer_that_this_browser_did_not_ask_for_is_refused(client: Client, provider: Provider) -> None:
    back = way_back(Client())
    client.get(back)
    assert "_auth_user_id" not in client.session
    assert not User.objects.exists()
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed"]


def test_a_code_is_good_once(client: Client, provider: Provider) -> None:
    back = way_back(client)
    provider.codes.clear()
    client.get(back)
    assert "_auth_user_id" not in client.session
    assert not User.objects.exists()


@pytest.mark.parametrize("networks", [["public"], ["10.0.0.0/8"]])
def test_abuse_36_a_provider_outside_of_the_allowed_networks_is_not_asked(
    client: Client, provider: Provider, settings: Any, networks: list[str]
) -> None:
    back = way_back(client)
    issued = dict(provider.codes)
    settings.LASTGOOD_OIDC_NETWORKS = networks
    cache.clear()
    answer = client.get(back, follow=True)
    assert "can't be reached from here" in answer.content.decode().replace("&#x27;", "'")
    assert provider.codes == issued
    assert "_auth_user_id" not in client.session
    assert not User.objects.exists()
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["failed"]


def test_abuse_34_a_provider_that_leads_elsewhere_is_not_followed(
    client: Client, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = way_back(client)
    issued = dict(provider.codes)
    monkeypatch.setattr(provider, "leads_to", f"{provider.url}/token2")
    client.get(back)
    assert provider.asked_elsewhere == 0
    assert provider.codes == issued
    assert "_auth_user_id" not in client.session


def test_without_a_provider_there_is_no_button_and_no_way(client: Client) -> None:
    assert "/accounts/oidc/" not in client.get("/accounts/login/").content.decode()
    assert client.post("/accounts/oidc/oidc/login/").status_code == 404
