"""One running product and one Chromium for a module of tests, and people who sign in there."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.product import PASSWORD, Product, running
from tests.chromium import PATIENCE_MS
from tests.conftest import pointed_at
from tests.services import Services


@pytest.fixture(scope="module")
def product(
    services: Services, django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """The product with an incident that it has opened itself. All tests of the module share it, in their order."""
    from django.db import connections

    with redis.Redis.from_url(services.broker_url) as client:
        client.flushdb()
    name = f"lastgood_t{uuid.uuid4().hex[:12]}"
    services.clone(name)
    with django_db_blocker.unblock(), pointed_at(name):
        with running(services, name, tmp_path_factory.mktemp("product")) as product:
            yield product
        connections.close_all()
    services.drop(name)


class People:
    """Browsers of the product's people. Each signs in once, by the form; further windows take the session over."""

    def __init__(self, chromium: Browser, url: str) -> None:
        self.chromium = chromium
        self.url = url
        self.sessions: dict[str, Any] = {}
        self.contexts: list[BrowserContext] = []

    def window(self, username: str = "", *, width: int = 1280, scheme: str = "light") -> Page:
        """A window of that person's, or of somebody who is not signed in."""
        if username and username not in self.sessions:
            self.sessions[username] = self._sign_in(username)
        return self._open(width, scheme, self.sessions.get(username))

    def _open(self, width: int, scheme: Any, session: Any) -> Page:
        context = self.chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            base_url=self.url,
            reduced_motion="reduce",
            storage_state=session,
        )
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        return page

    def _sign_in(self, username: str) -> Any:
        page = self._open(1280, "light", None)
        page.goto("/accounts/login/")
        page.locator("input[name=login]").fill(username)
        page.locator("input[name=password]").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("summary[aria-label='Your account']")).to_be_visible()
        return page.context.storage_state()

    def close(self) -> None:
        for context in self.contexts:
            context.close()


@pytest.fixture
def people(chromium: Browser, product: Product) -> Iterator[People]:
    known = People(chromium, product.url)
    yield known
    known.close()
