"""The pages in a real browser: readable by everyone, on a phone as well, and live."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from registry.models import Endpoint, Health, Placement, Version
from tests.registry.test_pages import person
from tests.registry.world import (
    make_endpoint,
    make_placement,
    make_registered_model,
    make_version,
    switched,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
ADDRESSES = [
    "/endpoints/", "/endpoints/toy-production/", "/models/", "/models/toy/", "/models/toy/2/",
    "/retention/", "/endpoints/toy-production/snapshots/", "/readiness/toy-production/",
]  # fmt: skip


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    """Version 2 on three hosts: one serves version 1, one is unreachable and held."""
    model = make_registered_model()
    first, _ = make_version(
        model, tmp_path, seed=1, metrics={"holdout": {"accuracy": 0.8125}}, documentation="# Toy\n\nA model."
    )
    second, _ = make_version(
        model, tmp_path, seed=2, parents=[(first, "retrained")], hyperparameters={"layers": [8, 1], "rate": 0.001},
        documentation="# Toy model\n\nPredicts **labels**.\n\n- Data: none\n- Groups: none",
    )  # fmt: skip
    endpoint = make_endpoint(model)
    for name in ("gpu-a1", "gpu-b1", "gpu-b2"):
        placement = make_placement(endpoint, name=name)
        switched(placement, first)
        switched(placement, second, cause="release")
    Placement.objects.update(health=Health.SERVING, observed_version="2", observed_digest=second.digest)
    Placement.objects.filter(host__name="gpu-b1").update(
        health=Health.WRONG_VERSION, observed_version="1", observed_digest=first.digest,
        health_reason="It serves version 1 instead of version 2.",
    )  # fmt: skip
    Placement.objects.filter(host__name="gpu-b2").update(health=Health.UNREACHABLE, health_reason="No connection.")
    return endpoint


@pytest.fixture
def page(chromium: Browser, live_server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A commander's browser; the parameter is (width, color scheme)."""
    width, scheme = getattr(request, "param", (1280, "light"))
    client = Client()
    client.force_login(person("commander"), backend="django.contrib.auth.backends.ModelBackend")
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=scheme, base_url=live_server.url, reduced_motion="reduce"
    )
    context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("page", [(1280, "light"), (390, "dark")], indirect=True)
def test_every_page_can_be_read_by_everyone_and_does_not_scroll_sideways(page: Page, endpoint: Endpoint) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    for address in ADDRESSES:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(address, one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
    assert problems == []


def test_an_opened_form_survives_a_change_of_the_hosts(page: Page, endpoint: Endpoint) -> None:
    page.goto("/endpoints/toy-production/")
    page.locator("#change-gpu-b2 > summary").click()
    page.locator("#why-gpu-b2").fill("It burns")

    switched(Placement.objects.get(host__name="gpu-a1"), Version.objects.get(number=1))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator("h1")).to_contain_text("version 1 on 1 of 1 host and version 2 on 0 of 2 hosts")
    expect(page.locator("#why-gpu-b2")).to_have_value("It burns")
    expect(page.locator("#why-gpu-b2")).to_be_visible()
