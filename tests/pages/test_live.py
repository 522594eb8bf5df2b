"""Live parts: an unchanged one is not redrawn, what the reader did survives, and trouble is said in words."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.pages.gallery.views import LiveState

pytestmark = pytest.mark.browser


@pytest.fixture
def watched(page: Page, gallery_url: str, live: LiveState) -> Page:
    page.goto(gallery_url + "/live/")
    return page


def test_an_unchanged_part_costs_a_304_and_is_not_drawn_again(watched: Page, live: LiveState) -> None:
    watched.evaluate("document.getElementById('part').mark = 'same element'")
    with watched.expect_response(lambda response: response.url.endswith("/live/part/") and response.status == 304):
        pass
    with watched.expect_response(lambda response: response.url.endswith("/live/part/")):
        pass
    assert {answer["status"] for answer in live.requests} == {304}
    assert {answer["etag"] for answer in live.requests} == {'"1"'}
    assert watched.evaluate("document.getElementById('part').mark") == "same element"


def test_a_changed_part_is_drawn_and_goes_on_being_asked_for(watched: Page, live: LiveState) -> None:
    live.version = 2
    expect(watched.locator("#shown-version")).to_have_text("version 2")
    live.version = 3
    expect(watched.locator("#shown-version")).to_have_text("version 3")


def test_typed_text_the_focus_and_an_opened_detail_survive(watched: Page, live: LiveState) -> None:
    watched.locator("#more > summary").click()
    watched.locator("#note").fill("half a sent")
    watched.evaluate("document.getElementById('note').setSelectionRange(4, 4)")

    live.version = 2

    expect(watched.locator("#shown-version")).to_have_text("version 2")
    expect(watched.locator("#more > p")).to_be_visible()
    expect(watched.locator("#note")).to_have_value("half a sent")
    expect(watched.locator("#note")).to_be_focused()
    assert watched.evaluate("document.getElementById('note').selectionStart") == 4


def test_new_items_wait_behind_a_button_and_stay_hidden_until_asked_for(watched: Page, live: LiveState) -> None:
    live.events, live.version = 5, 2
    button = watched.get_by_role("button", name="3 new")
    expect(button).to_be_visible()
    expect(watched.locator("[data-key]:visible")).to_have_count(2)

    live.events, live.version = 6, 3
    button = watched.get_by_role("button", name="4 new")
    expect(button).to_be_visible()
    button.click()

    expect(watched.locator("[data-key]:visible")).to_have_count(6)
    expect(button).to_be_hidden()


def test_an_error_says_how_old_the_page_is_and_goes_away_by_itself(watched: Page, live: LiveState) -> None:
    live.status = 503
    notice = watched.locator("#connection")
    expect(notice).to_contain_text("The server answered with an error (503). What you see is")
    expect(watched.locator("#shown-version")).to_have_text("version 1")

    live.status, live.version = 200, 2

    expect(notice).to_be_hidden()
    expect(watched.locator("#shown-version")).to_have_text("version 2")
    expect(watched.locator("#announce")).to_have_text("The connection is back.")


def test_a_lost_connection_is_said_and_what_was_typed_is_kept(watched: Page, live: LiveState) -> None:
    watched.locator("#note").fill("kept")
    watched.context.set_offline(True)
    expect(watched.locator("#connection")).to_contain_text("The connection is lost.")
    expect(watched.locator("#note")).to_have_value("kept")

    live.version = 2
    watched.context.set_offline(False)

    expect(watched.locator("#shown-version")).to_have_text("version 2")
    expect(watched.locator("#note")).to_have_value("kept")


def test_after_a_sign_out_the_sign_in_page_is_not_drawn_into_the_part(watched: Page, live: LiveState) -> None:
    live.signed_out = True
    notice = watched.locator("#connection")
    expect(notice).to_contain_text("You have been signed out.")
    expect(notice.get_by_role("link", name="Sign in again")).to_have_attribute(
        "href", "/accounts/login/?next=%2Flive%2F"
    )
    expect(watched.locator("#shown-version")).to_have_text("version 1")


def test_a_hidden_tab_asks_for_nothing(page: Page, gallery_url: str, live: LiveState) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/live/part/") else None)
    page.clock.install()
    page.goto(gallery_url + "/live/")
    page.evaluate("Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true})")

    page.clock.run_for(60_000)
    assert asked == []

    with page.expect_response("**/live/part/"):
        page.evaluate("delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange'))")
        page.clock.run_for(1000)
    assert len(asked) >= 1
