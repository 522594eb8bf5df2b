"""Every part in every state, in a real browser: readable, reachable, within the width, within the policy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.forced_colours import lost_in

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("SHOTS")
GRAVE = {"moderate", "serious", "critical"}
# The gallery has every part; the pages around it are looked at in two of the four dresses.
SHOWN = [(theme, width, "/gallery/") for theme in ("light", "dark") for width in ("desk", "phone")] + [
    (theme, width, path)
    for theme, width in (("light", "desk"), ("dark", "phone"))
    for path in ("/public/", "/accounts/login/", "/forbidden/", "/broken/")
]
WIDTHS = {"desk": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
# Playwright's own false clock answers `performance.timeOrigin` with -1 until something else has asked it for the time.
YEARS_AHEAD = """
const ahead = Date.UTC(2031, 0, 1) - Date.now(), now = Date.now, origin = performance.timeOrigin;
Date.now = () => now() + ahead;
Object.defineProperty(performance, "timeOrigin", { get: () => origin + ahead });
"""
VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@pytest.mark.parametrize(("theme", "width", "path"), SHOWN)
def test_a_page_has_no_grave_finding_nothing_over_the_edge_and_no_violation(
    chromium: Browser, gallery_url: str, theme: str, width: str, path: str
) -> None:
    context = chromium.new_context(viewport=WIDTHS[width], color_scheme=theme, reduced_motion="reduce")
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto(gallery_url + path)
    for plot in page.locator("figure.chart:has(script) [data-plot]").all():
        expect(plot).to_have_attribute("data-drawn", "1")
    page.evaluate("document.querySelectorAll('main details').forEach((part) => { part.open = true; })")

    findings = [v for v in Axe().run(page).response["violations"] if v["impact"] in GRAVE]
    assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in findings] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width]["width"]
    assert [text for text in complaints if "Failed to load resource" not in text] == []
    context.close()


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (
            "desk",
            ["version 1", "version 2", "incident", "alert: a long name, 10", "alert: a long name, 20 +1", "rollback"],
        ),
        ("phone", ["v1", "v2", "incident", "alert: a long name, 10", "alert: a long name, 20 +2"]),
    ],
)
def test_names_of_markers_do_not_lie_over_each_other_and_those_without_room_are_counted_and_listed(
    chromium: Browser, gallery_url: str, width: str, shown: list[str]
) -> None:
    page = chromium.new_page(viewport=WIDTHS[width], reduced_motion="reduce")
    page.goto(gallery_url + "/gallery/")
    chart = page.locator("figure.chart:has(.as-table li)").first
    names = chart.locator(".annotation-text-g")
    expect(names.filter(has_text="alert: a long name, 10")).to_have_count(1)

    told = names.all_text_contents()
    boxes = [name.bounding_box() for name in names.all()]

    assert set(told) == {*shown, "lower limit 76 %"}
    # around each text there is room that belongs to its box
    over = [
        (told[i], told[j])
        for i, one in enumerate(boxes)
        for j, other in enumerate(boxes[:i])
        if one["x"] < other["x"] + other["width"] and other["x"] < one["x"] + one["width"]
        and one["y"] + 4 < other["y"] + other["height"] and other["y"] + 4 < one["y"] + one["height"]
    ]  # fmt: skip
    assert over == []
    listed = chart.locator(".as-table li").all_text_contents()
    assert "2026-11-21 02:17:30 UTC: alert: a long name, 30" in listed
    assert len(listed) == 5
    page.close()


@pytest.mark.parametrize(("theme", "path"), [("light", "/gallery/"), ("dark", "/gallery/"), ("dark", "/public/")])
def test_in_forced_colours_nothing_is_told_by_a_background_alone(
    chromium: Browser, gallery_url: str, theme: str, path: str
) -> None:
    context = chromium.new_context(color_scheme=theme, forced_colors="active", reduced_motion="reduce")
    page = context.new_page()
    page.goto(gallery_url + path)
    for plot in page.locator("figure.chart:has(script) [data-plot]").all():
        expect(plot).to_have_attribute("data-drawn", "1")
    page.evaluate("document.querySelectorAll('main details').forEach((part) => { part.open = true; })")
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{path.strip('/')}-{theme}-forced.png", full_page=True)
    assert lost_in(page) == []
    context.close()


def test_light_is_light_and_dark_is_dark_and_the_readers_choice_stays(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)

    page.get_by_role("button", name="Switch between light and dark").click()

    dark = page.evaluate(background)
    assert (light, dark) == ("rgb(247, 248, 249)", "rgb(18, 21, 26)")
    page.reload()
    assert page.evaluate(background) == dark


def test_a_drawn_chart_takes_its_colours_from_the_theme_and_keeps_its_gap(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    plot = page.locator("#accuracy [data-plot]")
    expect(plot).to_have_attribute("data-drawn", "1")
    assert plot.evaluate("(plot) => plot.data[0].line.color") == "rgb(31, 95, 184)"
    assert plot.evaluate("(plot) => plot.data[0].connectgaps") is False
    assert plot.evaluate("(plot) => plot.layout.annotations.map((note) => note.text)") == [
        "lower limit 76 %",
        "version 1",
        "version 2",
        "version 1",
        "incident",
        "alert: a long name, 10",
        "alert: a long name, 20 +1",
        "rollback",
    ]

    page.get_by_role("button", name="Switch between light and dark").click()

    page.wait_for_function(
        "() => document.querySelector('#accuracy [data-plot]').data[0].line.color === 'rgb(132, 180, 247)'"
    )


def test_hovering_one_chart_shows_the_same_moment_on_the_others(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    expect(page.locator("#latency [data-plot]")).to_have_attribute("data-drawn", "1")
    accuracy = page.locator("#accuracy [data-plot]")
    expect(accuracy).to_have_attribute("data-drawn", "1")
    accuracy.scroll_into_view_if_needed()
    box = accuracy.bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)

    expect(page.locator("#latency .hoverlayer .legend")).to_be_visible()


def test_a_chart_has_its_numbers_as_a_table(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    page.locator("#accuracy-table summary").click()
    expect(page.locator("#accuracy-table table")).to_contain_text("70.9 %")


def test_a_failed_lane_opens_by_itself_and_the_others_stay_closed(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    open_lanes = page.locator(".lane details[open]").evaluate_all("(all) => all.map((lane) => lane.id)")
    assert open_lanes == ["lane-gpu-b3", "lane-gpu-b4"]
    expect(page.locator("#lane-gpu-b3")).to_contain_text("3 of 64 outputs differ by more than 0.001")
    expect(page.locator("#lane-gpu-b3")).to_contain_text("Not begun: switch, post-check, done.")


def test_the_version_that_a_host_serves_stands_out_at_its_end_of_the_lane(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    serving = page.locator(".lane-end.serving").all_inner_texts()
    assert serving == ["v1", "v2", "v2", "v2", "v2", "v1"]


def test_the_first_tab_reaches_the_skip_link_and_it_leads_to_the_content(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_shortcuts_open_the_list_the_search_and_the_pages(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keyboard shortcuts")).to_be_hidden()

    page.keyboard.press("/")
    expect(page.get_by_label("Search everything")).to_be_focused()
    page.keyboard.type("gi?")
    expect(page.get_by_label("Search everything")).to_have_value("gi?")

    page.locator("h1").first.click()
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_url("**/incidents/")


def test_the_account_menu_names_the_roles_and_closes_on_escape(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    menu = page.locator("details.menu", has=page.get_by_label("Your account"))
    menu.locator("summary").click()
    expect(menu).to_contain_text("Approver, Incident commander")
    expect(menu.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(menu.get_by_role("button", name="Sign out")).to_be_hidden()


def test_a_digest_copies_whole(chromium: Browser, gallery_url: str) -> None:
    context = chromium.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.goto(gallery_url + "/gallery/")
    page.get_by_role("button", name="Copy 3f9c1d27").first.click()
    expect(page.locator("#announce")).to_have_text("Copied.")
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "3f9c1d27a8e45b60c7128f0d94ab36e15d7c0a92fb48e613750c2d9e81f4a6b7"
    )
    context.close()


def test_a_countdown_follows_the_servers_clock_not_the_browsers(chromium: Browser, gallery_url: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.add_init_script(YEARS_AHEAD)
    page.goto(gallery_url + "/gallery/")
    assert page.evaluate("new Date(Date.now()).getUTCFullYear()") >= 2030
    shown = page.locator(".approval [data-left]").first.inner_text()
    minutes, seconds = (int(part) for part in shown.split(":"))
    assert 21 * 60 - 10 <= minutes * 60 + seconds <= 21 * 60 + 9
    context.close()


def test_enter_does_not_approve_and_opening_the_question_sends_nothing(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    posts: list[str] = []
    page.on("request", lambda request: posts.append(request.url) if request.method == "POST" else None)

    page.locator("#approve > summary").click()
    expect(page.locator("#approve-question")).to_have_text(
        "Roll back employment-production from version 2 to version 1 on 3 hosts"
    )
    page.locator("#approve [name=reason]").fill("seen the evidence")
    page.locator("#approve [name=impact]").focus()
    page.keyboard.press("Enter")

    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert posts == []
    assert page.evaluate("document.activeElement.name") == "impact"


def test_pages_are_whole_without_script(chromium: Browser, gallery_url: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(gallery_url + "/gallery/")
    expect(page.locator("#lane-gpu-b3 .lane-reason")).to_be_visible()
    expect(page.get_by_role("button", name="Switch between light and dark")).to_be_hidden()
    page.locator("#approve > summary").click()
    expect(page.get_by_role("button", name="Approve the rollback to version 1")).to_be_visible()
    context.close()


def test_a_public_page_loads_no_script_and_one_small_stylesheet(page: Page, gallery_url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.resource_type))
    page.goto(gallery_url + "/public/")
    assert asked.count("script") == 0
    assert asked.count("stylesheet") == 1


def test_a_refusal_names_whom_to_ask_and_a_missing_page_leads_on(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/forbidden/")
    expect(page.locator("main")).to_contain_text("You may not export the log. Ask a person with the role auditor.")
    page.goto(gallery_url + "/nowhere/")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address.")
    page.goto(gallery_url + "/broken/")
    expect(page.locator("main")).not_to_contain_text("on purpose")


def test_a_wrong_password_is_told_in_words_and_the_name_stays(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/accounts/login/")
    page.get_by_label("Username or e-mail").fill("mara")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("The username or the password is wrong.")
    expect(page.get_by_label("Username or e-mail")).to_have_value("mara")


def test_on_paper_there_are_no_buttons_and_the_run_is_there(page: Page, gallery_url: str) -> None:
    page.goto(gallery_url + "/gallery/")
    page.emulate_media(media="print")
    expect(page.locator(".topbar")).to_be_hidden()
    expect(page.locator(".page-head-action")).to_be_hidden()
    expect(page.locator("#lane-gpu-b3")).to_be_visible()
