"""Comparison and quality in a real browser: drawn, and nothing refused by the page's own policy."""

import os
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page
from pytest_django.live_server_helper import LiveServer

from accounts.models import User
from audit.actions import service_actor
from monitoring.comparing import actions
from monitoring.comparing.sides import asked_by
from registry.models import Endpoint, Model
from tests.chromium import launched
from tests.monitoring.stream import play, watch
from tests.monitoring.test_charts_in_browser import drawn
from tests.monitoring.world import make_endpoint, make_hosts, make_version, swap_codes
from tests.registry.test_pages import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PICTURES = os.environ.get("PICTURES", "")
AT = "a_since=2026-11-21T12:03&a_until=2026-11-21T12:06"
PAGES = {
    "compare": f"compare/?{AT}&b_since=2026-11-21T12:00&b_until=2026-11-21T12:03",
    "compare-training": f"compare/?{AT}",
    "quality": f"quality/?{AT}&b_version=1",
    "charts": "charts/?against=before",
}


@pytest.fixture
def endpoint() -> Endpoint:
    """Three windows that version 1 answers, then three by version 2, which reads two codes the wrong way round."""
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    Model.objects.update(group_columns=["SEX", "RAC1P"])
    make_version(endpoint, 1)
    make_version(endpoint, 2)
    watch(endpoint)

    for index in range(3):
        play(endpoint, hosts, index, rows=500, accuracy=0.85)
    for index in range(3, 6):
        play(endpoint, hosts, index, rows=500, version=2, accuracy=0.7, latency_ms=3.0, change=swap_codes)
    return endpoint


@pytest.fixture
def page(live_server: LiveServer) -> Iterator[Page]:
    client = Client()
    client.force_login(person("commander"), backend="django.contrib.auth.backends.ModelBackend")
    with launched() as browser:
        yield _page(browser, live_server, client.cookies["sessionid"].value)


def _page(browser: Browser, live_server: LiveServer, cookie: str) -> Page:
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, base_url=live_server.url, reduced_motion="reduce"
    )
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    return context.new_page()


def _exact(endpoint: Endpoint) -> dict[str, str]:
    """The pages of two exact comparisons: one that waits, one that is done."""
    user, now = User.objects.get(), timezone.now()
    found = {}
    sides = dict(pair.split("=") for pair in PAGES["compare"].removeprefix("compare/?").split("&"))
    for name, values in (("waits", {"hours": "6"}), ("done", sides)):
        asked = asked_by(endpoint, values, now)
        one = actions.ask_exactly(asked=asked, user=user, actor=service_actor("test"))
        found[f"exact-{name}"] = f"compare/exact/{one.pk}/"
    actions.compute(one.pk)
    return found


def test_both_pages_are_drawn_and_fit_a_phone(page: Page, endpoint: Endpoint) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    for name, address in {**PAGES, **_exact(endpoint)}.items():
        for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")):
            if not PICTURES and (width, scheme) not in ((1280, "light"), (390, "light")):
                continue
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.goto(f"/monitoring/endpoints/{endpoint.slug}/{address}")
            drawn(page)
            assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), (name, width)
            if PICTURES:
                page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png", full_page=True)
    assert problems == []
