"""Rules, an alert and silences in a real browser: readable by everyone, on a phone as well, in light and dark."""

from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser
from pytest_django.live_server_helper import LiveServer

from incidents.intake import take_alert
from monitoring.models import Alert
from monitoring.rules.actions import make_silence
from registry.models import Placement
from tests.monitoring import test_detected_chart as detectors
from tests.monitoring.rules.world import ACTOR, ask, now, points, rule
from tests.monitoring.world import make_endpoint, make_hosts
from tests.registry.test_pages import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
MINUTE = timedelta(minutes=1)


def some_rules() -> list[str]:
    """Rules that stand at all kinds of phases; the addresses of the pages about them."""
    endpoint = make_endpoint()
    hosts = make_hosts("gpu-1", "gpu-2")
    for host in hosts:
        Placement.objects.create(endpoint=endpoint, host=host, observed_version="2")
    at = now()
    points(endpoint, [5 + (i * 7 % 5) for i in range(300)] + [24] * 30, until=at, version="2")
    points(endpoint, [12] * 20, until=at, host=hosts[0], name="gpu_temperature_c")
    asked = rule(endpoint, for_seconds=300)
    ask(asked, since=at - 40 * MINUTE)
    down = rule(endpoint, name="the host is up", metric="gpu_temperature_c", scope="hosts", means_host_down=True)
    ask(down, since=at - 5 * MINUTE)
    ask(rule(endpoint, name="heat", metric="gpu_temperature_c", scope="hosts"), since=at - 5 * MINUTE)
    rule(endpoint, name="burns its budget", metric="error_share", kind="burn", params={"objective": 0.999})
    stable = {"since": (at - 200 * MINUTE).isoformat(), "until": (at - 60 * MINUTE).isoformat()}
    params = {"chart": "cusum", **stable}
    chart = rule(endpoint, name="load has moved", metric="latency_p95_ms", kind="control", params=params)
    ask(chart, since=at - 40 * MINUTE)
    alert = Alert.objects.get(alert_rule=asked)
    features = [{"column": "AGEP", "psi": 0.412, "sentence": "AGEP: PSI 0.41, beyond 0.2.", "drifted": True}]
    Alert.objects.filter(pk=alert.pk).update(annotations={**alert.annotations, "features": features})
    take_alert(alert_id=alert.pk)
    make_silence(
        matchers={"endpoint": endpoint.slug, "rule": "accuracy"}, reason="We replace its labels tonight.",
        ends_at=at + timedelta(hours=3), user=person("responder", name="rita"), actor=ACTOR,
    )  # fmt: skip
    parent = Alert.objects.get(alert_rule=down)
    windows = [detectors.OK] * 40 + [detectors.FEW] * 3 + [detectors.OK] * 9 + [detectors.BREACH] * 12 + [detectors.OK]
    by_detector = detectors.fired(detectors.found(endpoint, windows), 52, value=0.6, ended=64)
    return [
        "/monitoring/rules/",
        f"/monitoring/rules/{asked.pk}/",
        f"/monitoring/rules/{asked.pk}/edit/",
        f"/monitoring/rules/{chart.pk}/",
        f"/monitoring/rules/{chart.pk}/edit/",
        f"/monitoring/rules/new/?endpoint={endpoint.slug}&kind=control:u",
        f"/monitoring/rules/new/?endpoint={endpoint.slug}&kind=burn",
        f"/monitoring/alerts/{alert.pk}/",
        f"/monitoring/alerts/{parent.pk}/",
        f"/monitoring/alerts/{by_detector.pk}/",
        f"/monitoring/alerts/{Alert.objects.get(alert_rule=chart).pk}/",
        "/monitoring/silences/",
    ]


def test_rules_alerts_and_silences_can_be_read_by_everyone_and_do_not_scroll_sideways(
    chromium: Browser, live_server: LiveServer
) -> None:
    addresses = some_rules()
    client = Client()
    client.force_login(person("administrator", "responder"), backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value, "url": live_server.url}
    problems: list[str] = []
    for width, scheme in ((390, "dark"), (1280, "light")):
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            base_url=live_server.url,
            reduced_motion="reduce",
        )
        context.add_cookies([cookie])
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        for address in addresses:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            if page.get_by_text("Show what it would have done").count() and address.endswith("/edit/"):
                page.get_by_text("Show what it would have done").click()
                page.wait_for_selector("#preview .plotly")
                # what is not saved has no address to take its numbers from: they are in the page
                with page.expect_download() as taken:
                    page.get_by_role("link", name="CSV").click()
                assert taken.value.suggested_filename == "rule-chart.csv"
                assert taken.value.path().read_text().startswith('"line","x","y"\n"latency_p95_ms","20')
            if width == 390:
                found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
                assert [(address, one["id"], one["nodes"][0]["html"]) for one in found] == []
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
        context.close()
    assert problems == []
