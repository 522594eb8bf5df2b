"""The ledger in a real browser: readable by everyone, on a phone as well, and in the dark."""

import json

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from incidents.intake import take_alert
from monitoring import intake
from monitoring.inbound import ledger
from monitoring.models import Alert
from tests.monitoring.inbound.test_formats import GRAFANA, MIXED
from tests.registry.test_pages import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def some_arrivals() -> None:
    bodies = {
        "alertmanager": MIXED,
        "grafana": GRAFANA,
        "json": json.dumps([{"id": "a"}, {"summary": "fine"}]).encode(),
    }
    for source, body in bodies.items():
        given = {"source": source, "sender": "prometheus-in-frankfurt", "key": "", "content_type": ""}
        delivery, _ = intake.take_webhook(**given, body=body, stored_ms=4)
        intake.process(delivery.pk)
        intake.take_webhook(**given, body=body, stored_ms=2)
    for alert in Alert.objects.filter(state="firing"):
        take_alert(alert_id=alert.pk)
    ledger.refused(
        source="grafana", sender="grafana", sha256="", size=0, why="The signature is not that of this sender."
    )


def test_the_ledger_can_be_read_by_everyone_and_does_not_scroll_sideways(
    chromium: Browser, live_server: LiveServer
) -> None:
    some_arrivals()
    client = Client()
    client.force_login(person("commander"), backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "url": live_server.url}
    context = chromium.new_context(
        viewport={"width": 390, "height": 800}, color_scheme="dark", base_url=live_server.url, reduced_motion="reduce"
    )
    context.add_cookies([cookie])
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)

    for address in ("/monitoring/arrivals/", "/monitoring/deliveries/"):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        for details in page.locator("main details > summary").all():
            details.click()
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert [(address, one["id"], one["nodes"][0]["html"]) for one in found] == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
    assert problems == []
    context.close()
