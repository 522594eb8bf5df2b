"""What a version's page shows of its inputs' importance, in a real browser: readable by everyone, also on a phone."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from monitoring.importance import actions
from tests.monitoring.importance.test_measure import measured, model, registered, too_large
from tests.registry.test_in_browser import page

__all__ = ["model", "page", "too_large"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


def is_readable(page):
    found = [one["id"] for one in Axe().run(page).response["violations"]]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return (found, wide) == ([], 0)


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_each_input_has_its_bar_and_its_row(model, tmp_path, page):
    version = registered(model, tmp_path / "made")
    measured(actions.ask(version=version, actor=actions.WORKER))

    page.goto("/models/toy/1/")
    panel = page.locator("#importance-panel")

    expect(panel.locator(".bars .point path")).to_have_count(3)
    expect(panel.locator(".errorbar")).to_have_count(3)
    assert panel.locator("tbody th").all_text_contents() == ["AGE", "COLOR", "SHAPE"]
    assert is_readable(page)


def test_the_part_follows_what_becomes_of_it(model, tmp_path, page):
    one = actions.begin(version_id=registered(model, tmp_path / "made").pk)
    page.goto("/models/toy/1/")
    panel = page.locator("#importance-panel")
    expect(panel).to_contain_text("0 of 3 columns are done")

    measured(one)

    expect(panel).to_contain_text("AGE matters most")
    expect(panel.locator(".bars .point path")).to_have_count(3)


def test_why_it_is_not_known_is_readable(too_large, page):
    measured(actions.begin(version_id=too_large.pk))

    page.goto("/models/toy/1/")

    expect(page.locator("#importance-panel")).to_contain_text("It is measured once a host serves this version")
    assert is_readable(page)
