"""An endpoint's charts in a real browser: drawn, zoomed into by an address, taken away as a picture and as CSV."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from monitoring.reading import PointRow
from monitoring.series import keep_points
from registry.models import Endpoint
from tests.monitoring.stream import play, watch
from tests.monitoring.world import START, WINDOW, make_endpoint, make_hosts, make_version, swap_codes
from tests.registry.test_pages import person

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PICTURES = os.environ.get("PICTURES", "")
WINDOWS = int(os.environ.get("WINDOWS", "6"))


@pytest.fixture
def endpoint() -> Endpoint:
    """Six windows of three hosts, the last two by a version that reads two codes the wrong way round; two GPUs."""
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2", "gpu-3")
    make_version(endpoint, 1)
    make_version(endpoint, 2)
    watch(endpoint)

    for index in range(WINDOWS - 2):
        play(endpoint, hosts, index)
    for index in range(WINDOWS - 2, WINDOWS):
        play(endpoint, hosts, index, version=2, accuracy=0.7, change=swap_codes)
    rows = [
        PointRow(name, START + step * WINDOW / 4, value + 0.1 * np.sin(step), 1, "gpu-1", "", f"gpu={gpu}", unit)
        for name, value, unit in (("gpu_utilisation", 0.6, "share"), ("gpu_memory_used_bytes", 6e10, "bytes"))
        for gpu in (0, 1)
        for step in range(4 * WINDOWS)
    ]
    keep_points(endpoint, hosts[0], rows)
    return endpoint


@pytest.fixture
def page(chromium: Browser, live_server: LiveServer) -> Iterator[Page]:
    client = Client()
    client.force_login(person("commander"), backend="django.contrib.auth.backends.ModelBackend")
    context = chromium.new_context(
        viewport={"width": 1280, "height": 800}, base_url=live_server.url, reduced_motion="reduce"
    )
    cookie = client.cookies["sessionid"].value
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": cookie, "url": live_server.url}])
    yield context.new_page()
    context.close()


def drawn(page: Page) -> None:
    """Bring every chart into view, which is when it is asked for, and wait until all are drawn."""
    page.wait_for_function(
        """() => {
            const waiting = document.querySelector("[hx-trigger^='intersect once']");
            waiting?.scrollIntoView({ block: "center" });
            return !waiting;
        }"""
    )
    page.wait_for_function("() => [...document.querySelectorAll('[data-plot]')].every((plot) => plot.dataset.drawn)")


def test_charts_are_drawn_zoomed_by_address_and_taken_away(page: Page, endpoint: Endpoint, tmp_path: Path) -> None:
    problems: list[str] = []
    page.on(
        "console",
        lambda message: problems.append(f"{message.text} {message.location}") if message.type == "error" else None,
    )
    page.goto(f"/monitoring/endpoints/{endpoint.slug}/charts/")
    drawn(page)
    names = page.locator("figure.chart").evaluate_all("(all) => all.map((one) => one.id)")
    assert names == [
        "accuracy", "drift", "heat", "latency", "latency-fan", "hosts-latency", "hosts-accuracy", "accuracy-control",
        "distribution", "metric-gpu_utilisation", "metric-gpu_memory_used_bytes",
    ]  # fmt: skip
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")) if PICTURES else ():
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.reload()
        drawn(page)
        page.screenshot(path=f"{PICTURES}/charts-{width}-{scheme}.png", full_page=True)

    assert problems == []
    plot = page.locator("#latency .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 42, steps=5)
    page.mouse.up()
    page.wait_for_url("**/charts/?since=*")
    expect(page.locator("[data-zoom]")).to_have_attribute("data-query", page.url.split("?")[1])
    drawn(page)
    shown = page.locator("#latency-summary").inner_text()
    page.goto(page.url)
    drawn(page)
    assert page.locator("#latency-summary").inner_text() == shown
    assert START.strftime("%Y-%m-%d %H:%M") not in shown

    assert problems == []
    with page.expect_download() as taken:
        page.locator("#latency [data-png]").click()
    assert taken.value.suggested_filename == "latency.png"
    picture = tmp_path / "latency.png"
    taken.value.save_as(picture)
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture.read_bytes()) > 5_000
    if PICTURES:
        taken.value.save_as(f"{PICTURES}/latency.png")
    assert problems == []


def test_the_endpoint_s_page_shows_the_span_that_its_own_address_names(page: Page, endpoint: Endpoint) -> None:
    since, until = START + WINDOW, START + timedelta(seconds=240)
    page.goto(f"/endpoints/{endpoint.slug}/?since={since:%Y-%m-%dT%H:%M}&until={until:%Y-%m-%dT%H:%M}")
    expect(page.locator("#accuracy-summary")).to_contain_text(f"{since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC")
    drawn(page)


def test_a_single_point_stands_in_the_middle_of_an_hour(page: Page) -> None:
    endpoint, hosts = make_endpoint(), make_hosts("gpu-1", "gpu-2")
    make_version(endpoint, 1)
    watch(endpoint)
    play(endpoint, hosts, 0)
    page.goto(f"/monitoring/endpoints/{endpoint.slug}/charts/")
    drawn(page)

    spans = page.locator("#accuracy [data-plot], #latency [data-plot]").evaluate_all(
        "(plots) => plots.map(({_fullLayout: {xaxis}}) => xaxis.range.map((end) => xaxis.r2l(end) / 60000))"
    )
    assert [until - since for since, until in spans] == [60, 60]


@pytest.mark.parametrize("address", ["/endpoints/{0.slug}/", "/monitoring/models/{0.model.slug}/charts/"])
def test_all_charts_are_drawn_before_the_page_is_printed(page: Page, endpoint: Endpoint, address: str) -> None:
    page.goto(address.format(endpoint))
    button = page.get_by_role("button", name="Print with all charts")
    expect(button).to_be_visible()
    assert page.get_by_text("drawn when it comes into view").count() > 3
    page.emulate_media(media="print")
    expect(page.get_by_text("drawn when it comes into view").last).to_be_hidden()
    expect(page.get_by_text("Not drawn: it had not come into view").last).to_be_visible()
    page.emulate_media(media="screen")

    page.evaluate(
        """() => {
            window.print = () => {
                window.printed = [
                    document.querySelectorAll("[data-plot][data-drawn]").length,
                    document.querySelectorAll("[data-plot]:not([data-drawn])").length,
                    document.body.innerText.includes("drawn when it comes into view"),
                ];
            };
        }"""
    )
    button.click()

    page.wait_for_function("() => window.printed")
    drawn, waiting, placeholders = page.evaluate("window.printed")
    assert drawn > 6
    assert (waiting, placeholders) == (0, False)
    expect(button).to_be_enabled()
