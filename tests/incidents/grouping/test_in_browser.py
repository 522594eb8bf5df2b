"""The page of grouping rules in a real browser: readable by everyone, on a phone as well, in light and dark."""

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.db.models.functions import Now
from django.test import Client
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from incidents.grouping.models import Flap, GroupingRule
from tests.forced_colours import lost_in
from tests.incidents.grouping.made import fired, rule
from tests.registry.test_pages import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SHOTS = os.environ.get("SHOTS")


def test_a_rule_is_previewed_and_added_by_keyboard_on_a_phone(chromium: Browser, live_server: LiveServer) -> None:
    rule("Latency of one endpoint", matchers=[["alertname", "=", "Slow*"], ["team", "!=", "research"]], by=["endpoint"])
    rule(
        "Crashes of a rack", by=["rack"], at_least=5, window_seconds=900, severity_label="tier", severities={"gold": 1}
    )
    for region in ("north", "north", "south"):
        fired("Broken", region=region)
    Flap.objects.create(fingerprint="a" * 64, summary="SlowAnswers on gpu-7 is slower than it was")
    client = Client()
    client.force_login(person("administrator"), backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "url": live_server.url}
    for width, scheme in ((1280, "light"), (390, "dark")):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=live_server.url,
            reduced_motion="reduce",
        )  # fmt: skip
        context.add_cookies([cookie])
        page = context.new_page()
        page.goto("/grouping-rules/")
        page.get_by_label("Name").fill(f"Broken {width}")
        page.get_by_label("Which alerts").fill("alertname = Broken")
        page.get_by_label("One incident for each").fill("region")
        page.get_by_role("button", name="Preview over the last alerts").press("Enter")
        expect(page.get_by_role("status", name="What it would have made")).to_contain_text(
            "this rule matches 3: they would have made 2 incidents"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = [one["id"] for one in Axe().run(page).response["violations"] if one["impact"] != "minor"]
        assert found == []
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"grouping-{width}-{scheme}.png", full_page=True)
        page.get_by_role("button", name="Add the rule").press("Enter")
        expect(page.get_by_role("rowheader", name=f"Broken {width}")).to_be_visible()
        GroupingRule.objects.filter(name=f"Broken {width}").update(retired_at=Now())
        page.goto("/monitoring/arrivals/")
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"ledger-{width}-{scheme}.png")
        context.close()
    context = chromium.new_context(base_url=live_server.url, reduced_motion="reduce", forced_colors="active")
    context.add_cookies([cookie])
    page = context.new_page()
    for address in ("/grouping-rules/", "/monitoring/arrivals/", "/monitoring/rules/", "/monitoring/silences/"):
        page.goto(address)
        assert lost_in(page) == [], address
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"{address.strip('/').replace('/', '_')}-forced.png", full_page=True)
    context.close()
