"""The pages of on-call in a real browser: readable by all, on a phone, in dark; a call is answered without a mouse."""

from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings as django_settings
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from incidents.oncall import contacts, escalations
from incidents.oncall.calls import call_words
from incidents.oncall.models import Escalation, Rotation, State
from incidents.oncall.rotations import override, set_rotation
from incidents.telling.models import Kind
from tests.accounts.people import person
from tests.chromium import launched
from tests.forced_colours import lost_in
from tests.incidents.oncall.made import TEST, Called, build

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
LOOKS = [(1280, "light", "none"), (390, "dark", "none"), (1280, "dark", "active")]


def at_work() -> tuple[Called, Escalation]:
    """A rotation with nights that nobody has, a channel, two policies, one incident that nobody has, one worse."""
    home = build()
    home.people["root"] = person("root", "administrator", "responder")
    named = [home.people[name].pseudonym for name in ("ada", "ben", "eve")]
    days = [{"days": [0, 1, 2, 3, 4], "start": "08:00", "until": "20:00"}]
    layers = [{"people": named, "begins": "2026-01-05T08:00", "hours": 168, "windows": days}]
    turns = set_rotation(team="letters", name="primary", zone="Europe/Berlin", layers=layers, actor=TEST)
    now = timezone.now()
    override(
        rotation=turns, user=home.people["eve"], starts=now, ends=now + timedelta(hours=9), reason="Ada is ill.",
        by=home.people["root"], actor=TEST,
    )  # fmt: skip
    chat = contacts.add_contact(
        kind=Kind.CHAT, address="mmosts://chat.example.org/3ccdd113474722377935511fc85d3dd4", name="#letters-alarm",
        team="letters", actor=TEST,
    )[0]  # fmt: skip
    contacts.add_contact(
        kind=Kind.WEBHOOK, address="https://example.org/a-long-name-of-a-hook", name="My pager", actor=TEST,
        user=home.people["root"], least_severity=2, quiet_from="22:00", quiet_until="06:00", zone="Europe/Berlin",
    )  # fmt: skip
    home.set_policy({"targets": [f"rotation:{turns.pk}", f"channel:{chat.pk}"], "seconds": 300}, home.step("ben"))
    one = home.begun(home.incident())
    escalations.turn(escalation_id=one.pk)
    home.incident(8, severity=3)
    return home, one


def test_every_page_can_be_read_by_everyone_and_a_call_is_answered_by_keyboard(
    live_server: LiveServer, settings: Any
) -> None:
    home, one = at_work()
    link = call_words(one, one.calls.all()[0].contact, [], timezone.now(), 60)["link"].partition("/on-call/")[2]
    turns, policy = Rotation.objects.get(), one.policy_id
    pages = [
        "/", "/on-call/", f"/on-call/rotations/{turns.pk}/", f"/on-call/policies/{policy}/", "/on-call/mine/",
        "/on-call/channels/", "/on-call/rotations/new/", f"/incidents/{one.incident.ref}/", f"/on-call/{link}",
    ]  # fmt: skip
    client = Client()
    client.force_login(home.people["root"], backend="django.contrib.auth.backends.ModelBackend")
    cookie = {"name": django_settings.SESSION_COOKIE_NAME, "value": client.cookies["sessionid"].value}
    problems: list[str] = []
    with launched() as chromium:
        for width, scheme, colours in LOOKS:
            context = chromium.new_context(
                viewport={"width": width, "height": 800}, base_url=live_server.url, reduced_motion="reduce",
                color_scheme=scheme, forced_colors=colours,  # type: ignore[arg-type]
            )  # fmt: skip
            context.add_cookies([cookie | {"url": live_server.url}])  # type: ignore[list-item]
            page = context.new_page()
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            for address in pages:
                page.goto(address)
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{address} at {width}"
                if colours == "active":
                    problems.extend(f"{address}: {one}" for one in lost_in(page))
                    continue
                found = Axe().run(page).response["violations"]
                serious = [rule["id"] for rule in found if rule["impact"] != "minor"]
                assert serious == [], f"{address} at {width}: {serious}"
        # the last page is that of the call: its first button is found and pressed by keyboard alone
        button = page.get_by_role("button", name="I have it")
        for _ in range(60):
            if button.evaluate("one => one === document.activeElement"):
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.get_by_text("You have it.").wait_for()
    assert problems == []
    one.refresh_from_db()
    assert (one.state, one.taken_by) == (State.TAKEN, home.people["root"])
