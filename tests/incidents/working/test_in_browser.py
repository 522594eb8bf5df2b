"""The pages on which incidents are worked with, in a browser: readable by everyone, on a phone, by keyboard alone."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from audit.actions import Target, record, service_actor
from audit.clock import database_now
from incidents.learning import actions as learning
from incidents.models import Incident, Review, RoleHolding
from incidents.working import notes, roles, runbooks, todo
from incidents.working.models import Step
from registry.actions import place, record_switch
from registry.models import Host
from tests.forced_colours import lost_in
from tests.incidents import world as worlds
from tests.incidents.world import TEST, World

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.django_db(transaction=True)]
SHOTS = os.environ.get("LASTGOOD_SHOTS", "")
"""A folder for pictures of the pages, for people."""


@pytest.fixture
def worked(settings: Any, tmp_path: Path) -> tuple[World, Incident]:
    """An incident in the middle of its work: offers, notes, a runbook, tasks, an earlier one, a review."""
    settings.LASTGOOD_VAR = tmp_path
    world = worlds.build()
    for host in Host.objects.order_by("name"):
        place(endpoint=world.endpoint, host=host, actor=TEST)
        record_switch(endpoint=world.endpoint, host=host, version=world.bad, cause="release", actor=TEST)
    earlier = world.incident()
    world.verified(earlier)
    Incident.objects.filter(pk=earlier.pk).update(
        state="resolved", resolved_at=database_now(), mitigated_at=database_now(), acknowledged_at=database_now()
    )
    review = Review.objects.create(incident=earlier, summary="It answered worse.", causes="A release.")
    kofi, rosa = world.users["kofi"], world.users["rosa"]
    learning.set_causes(
        review=review, causes={"bad_release": "Half the data."}, seen_version=1, actor=world.actor("rosa")
    )
    learning.ask(review=review, kind="acceptance", user=kofi, actor=world.actor("rosa"))
    incident = world.incident()
    Incident.objects.filter(pk=incident.pk).update(impact_started_at=database_now() + timedelta(minutes=1))
    incident.refresh_from_db()
    roles.offer_role(incident=incident, role="commander", to=kofi, by=rosa, actor=world.actor("rosa"))
    roles.say_seen(incident=incident, user=world.users["vera"], actor=world.actor("vera"))
    note = notes.add_note(incident=incident, text="The encoder changed at noon.", actor=world.actor("rosa"))
    notes.amend(incident=incident, seq=note.incident_seq or 0, text="At eleven.", actor=world.actor("rosa"))
    notes.pin(incident=incident, seq=1, actor=world.actor("rosa"))
    for at in range(6):
        record(
            action="rollback.step.outcome", target=Target("host", f"h{at}"), actor=service_actor("worker"),
            incident=incident.ref, data={"host": f"h{at}", "step": "load"},
        )  # fmt: skip
    body = "# Encoder\n\n- [ ] Ask the data team.\n- [ ] Compare `codes.json`.\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    runbook = runbooks.write_runbook(slug="encoder", title="The encoder changed", body=body, actor=world.actor("kofi"))
    runbooks.take_up(incident=incident, runbook=runbook, user=rosa, actor=world.actor("rosa"))
    runbooks.tick(step=Step.objects.get(position=1), user=rosa, actor=world.actor("rosa"))
    due = database_now() + timedelta(hours=1)
    todo.add_task(incident=incident, text="Call the vendor.", owner=kofi, due_at=due, actor=world.actor("rosa"))
    return world, incident


def opened(
    chromium: Browser, server: LiveServer, world: World, width: int, scheme: Any, who: str = "kofi",
    colours: Any = "none",
) -> Page:  # fmt: skip
    client = world.client(who)
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=server.url, reduced_motion="reduce",
        timezone_id="Europe/Vienna", forced_colors=colours,
    )  # fmt: skip
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": server.url}])
    return context.new_page()


def test_every_page_can_be_read_by_everyone_and_does_not_scroll_sideways(
    chromium: Browser, live_server: LiveServer, worked: tuple[World, Incident]
) -> None:
    world, incident = worked
    base = f"/incidents/{incident.ref}"
    addresses = [
        f"{base}/", f"{base}/timeline/", f"{base}/context/", f"{base}/work/", f"{base}/time/", f"{base}/role/",
        "/incidents/?state=open", "/incidents/analytics/", "/search/?q=encoder", "/runbooks/", "/runbooks/encoder/",
        "/runbooks/encoder/edit/", "/incidents/severity-matrix/", "/incidents/review-templates/",
        "/reviews/INC-1/", "/",
    ]  # fmt: skip
    wrong: list[object] = []

    def note(message: Any) -> None:
        if message.type == "error":
            wrong.append(message.text)

    looks = [(1280, "light"), (390, "dark")] + ([(1280, "dark"), (390, "light")] if SHOTS else [])
    for width, scheme in looks:
        page = opened(chromium, live_server, world, width, scheme)
        page.on("console", note)
        for address in addresses:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            page.evaluate(
                "document.querySelectorAll('details:not([data-menu])').forEach((one) => { one.open = true; })"
            )
            found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
            wrong += [(address, width, one["id"], one["nodes"][0]["html"][:200]) for one in found]
            if page.evaluate("document.documentElement.scrollWidth - innerWidth") > 0:
                wrong.append((address, width, "scrolls sideways"))
            if SHOTS:
                name = address.strip("/").replace("/", "_").replace("?", "_") or "home"
                page.screenshot(path=f"{SHOTS}/{name}-{width}-{scheme}.png", full_page=True)
        page.context.close()
    page = opened(chromium, live_server, world, 1280, "dark", colours="active")
    page.on("console", note)
    for address in addresses:
        page.goto(address)
        page.wait_for_load_state("networkidle")
        wrong += [(address, "forced colours", one) for one in lost_in(page)]
        if SHOTS:
            name = address.strip("/").replace("/", "_").replace("?", "_") or "home"
            page.screenshot(path=f"{SHOTS}/{name}-forced.png", full_page=True)
    page.context.close()
    assert wrong == []


def test_a_role_is_accepted_and_a_step_ticked_off_by_keyboard_alone(
    chromium: Browser, live_server: LiveServer, worked: tuple[World, Incident]
) -> None:
    world, incident = worked
    page = opened(chromium, live_server, world, 1280, "light")
    page.goto(f"/incidents/{incident.ref}/")
    page.wait_for_load_state("networkidle")

    def press(name: str) -> None:
        """Tab until the button of that name has the focus, then Enter."""
        for _ in range(150):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent").strip().startswith(name):
                return page.keyboard.press("Enter")
        raise AssertionError(f"No way by Tab to {name}.")

    press("Accept")
    expect(page.get_by_text("You are commander of")).to_be_visible()
    assert RoleHolding.objects.get(until=None).user == world.users["kofi"]
    page.wait_for_load_state("networkidle")
    page.keyboard.press("w")
    expect(page.locator("h1")).to_contain_text("1 task to do")
    press("Done: Compare")
    expect(page.get_by_text("Step 2 is done.")).to_be_visible()
    page.goto(f"/incidents/{incident.ref}/timeline/")
    expect(page.locator("[data-local]").first).to_contain_text("GMT+1")
    page.keyboard.press("/")
    page.keyboard.type("vendor")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_have_text("vendor")
    page.context.close()
