"""Status pages and what is behind them in a real browser: readable by all, on a phone, in dark, in forced colours."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from accounts.actions import create_user
from audit.clock import database_now
from incidents import status
from incidents.models import StatusComponent
from incidents.telling import maintenance, subscribers
from incidents.telling.models import Subscriber
from tests.chromium import launched
from tests.forced_colours import lost_in
from tests.incidents.telling.made import TEST, Told, build

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PUBLIC = ["/status/services/", "/status/services/subscribe/"]
SIGNED_IN = ["/status/", "/status/services/manage/", "/status/services/maintenance/", "/status/services/post/"]
LOOKS = [(1280, "light", "none"), (390, "dark", "none"), (1280, "light", "active")]


def a_busy_page() -> Told:
    """A group, an outage with quality degraded, one incident that is over, maintenance under way and planned."""
    told = build()
    group = status.add_component(page=told.page, name="All letters", is_group=True, actor=TEST)
    StatusComponent.objects.filter(pk=told.letters.pk).update(
        group=group, created_at=database_now() - timedelta(days=70)
    )
    told.post("Letters come late.", state="major_outage")
    told.post("Letters come again.", status_="resolved")
    status.post(
        page=told.page, incident=told.incident, status="identified", component_state="degraded_performance", by=None,
        quality="quality_degraded", text="Letters may go to the wrong people.", components=[told.letters], actor=TEST,
        next_update_at=database_now() + timedelta(minutes=30),
    )  # fmt: skip
    now = database_now()
    for hours in (0, 30):
        maintenance.plan(
            page=told.page, title=f"New driver {hours}", text="Offers are not sent.", components=[told.offers], by=None,
            starts_at=now + timedelta(hours=hours), ends_at=now + timedelta(hours=hours + 1), actor=TEST,
        )  # fmt: skip
    for pk in maintenance.due_maintenances(database_now()):
        maintenance.wake(maintenance_id=pk)
    told.subscriber("a-reader-with-a-long-name@subdomain.example.org")
    told.post("We found it.", status_="monitoring", state="degraded_performance")
    return told


def test_every_page_can_be_read_by_everyone_and_does_not_scroll_sideways(
    live_server: LiveServer, settings: Any, tmp_path: Path
) -> None:
    settings.LASTGOOD_VAR = tmp_path
    a_busy_page()
    ending = urlsplit(subscribers.end_address(Subscriber.objects.get())).path
    ada = create_user(username="ada", email="ada@example.org", full_name="Ada", password="correct horse battery staple",
                      roles=["administrator"], actor=TEST)  # fmt: skip
    client = Client()
    client.force_login(ada, backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value}
    problems: list[str] = []
    with launched() as chromium:
        for width, scheme, colours in LOOKS:
            context = chromium.new_context(
                viewport={"width": width, "height": 800}, base_url=live_server.url, reduced_motion="reduce",
                color_scheme=scheme, forced_colors=colours,  # type: ignore[arg-type]
            )  # fmt: skip
            page = context.new_page()
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            for address in [*PUBLIC, ending, *SIGNED_IN]:
                if address == SIGNED_IN[0]:
                    context.add_cookies([cookie | {"url": live_server.url}])  # type: ignore[list-item]
                page.goto(address)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} at {width}"
                if colours == "active":
                    problems.extend(f"{address}: {one}" for one in lost_in(page))
                else:
                    found = [one for one in Axe().run(page).response["violations"] if one["impact"] != "minor"]
                    assert found == [], f"{address}: {[(one['id'], one['nodes'][0]['html']) for one in found]}"
            context.close()
    assert problems == []
