"""Passkeys, in a real browser with a virtual key: set up, used to sign in, and used to confirm who one is."""

from collections.abc import Iterator

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import cache
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from tests.accounts.people import PASSWORD, person, recorded
from tests.chromium import PATIENCE_MS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
KEY = {
    "protocol": "ctap2",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


@pytest.fixture
def amir(settings: object) -> User:
    cache.clear()
    return person("amir", "approver")


@pytest.fixture
def page(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    """A browser with a key that confirms by itself. A passkey belongs to a name, so the server is called localhost."""
    context = chromium.new_context(base_url=f"http://localhost:{live_server.thread.port}", reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    device = context.new_cdp_session(page)
    device.send("WebAuthn.enable")
    device.send("WebAuthn.addVirtualAuthenticator", {"options": KEY})
    yield page
    context.close()


def test_a_passkey_is_added_signs_in_and_confirms(page: Page, amir: User) -> None:
    page.goto("/accounts/login/")
    page.locator("input[name=login]").fill("amir")
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("summary[aria-label='Your account']")).to_be_visible()

    page.goto("/accounts/2fa/webauthn/add/")
    page.locator("input[name=password]").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.locator("input[name=name]").fill("Laptop")
    page.locator("input[name=passwordless]").check()
    page.locator("#mfa_webauthn_add").click()
    page.wait_for_url("**/2fa/recovery-codes/**")
    assert Authenticator.objects.filter(user=amir, type="webauthn").count() == 1
    assert {leaf["data"]["type"] for leaf in recorded("credential.second_factor_add")} == {"webauthn", "recovery_codes"}

    page.context.clear_cookies()
    page.goto("/accounts/login/")
    page.locator("#passkey_login").click()
    expect(page.locator("summary[aria-label='Your account']")).to_be_visible()
    assert [leaf["outcome"] for leaf in recorded("session.sign_in")] == ["success", "success"]

    page.goto("/accounts/reauthenticate/?next=/approvals/")
    page.locator(".form-actions a, #mfa_webauthn_reauthenticate").filter(has_text="key").first.click()
    if "webauthn" in page.url:
        page.locator("#mfa_webauthn_reauthenticate").click()
    page.wait_for_url("**/approvals/")
    steps = [(leaf["outcome"], leaf["data"]["method"]) for leaf in recorded("session.step_up")]
    assert steps == [("success", "password"), ("success", "passkey")]


def test_a_dialog_that_comes_to_nothing_says_so(page: Page, amir: User) -> None:
    page.goto("/accounts/login/")
    page.evaluate("() => { navigator.credentials.get = () => Promise.reject(new DOMException('', 'NotAllowedError')) }")
    page.locator("#passkey_login").click()
    expect(page.locator("#passkey-problem")).to_contain_text("Nothing was confirmed")
    assert recorded("session.sign_in") == []
