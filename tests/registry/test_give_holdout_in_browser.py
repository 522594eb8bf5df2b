"""A holdout set is given on the version's page, in a real browser: readable by everyone, also on a phone."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from django.test import Client
from playwright.sync_api import Page, expect

from registry.models import Version
from tests.registry.test_give_holdout import PAGE, parquet, version
from tests.registry.test_in_browser import page
from tests.registry.test_pages import person

__all__ = ["page", "version"]
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


@pytest.fixture
def registrar(page: Page) -> Page:
    client = Client()
    client.force_login(person("administrator", name="ada"), backend="django.contrib.auth.backends.ModelBackend")
    page.goto("/")
    name, key = settings.SESSION_COOKIE_NAME, client.cookies["sessionid"].value
    page.context.add_cookies([{"name": name, "value": key, "url": page.url}])
    return page


def is_readable(page: Page) -> bool:
    found = [one["id"] for one in Axe().run(page).response["violations"]]
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return (found, wide) == ([], 0)


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_a_file_that_is_none_is_said_beside_the_field_and_a_good_one_is_taken(
    version: Version, registrar: Page, tmp_path: Path
) -> None:
    bad, good = tmp_path / "bad.parquet", tmp_path / "good.parquet"
    bad.write_bytes(parquet(SHAPE=None))
    good.write_bytes(parquet())
    registrar.goto(PAGE)
    assert is_readable(registrar)

    registrar.get_by_label("Labelled rows, as a Parquet file").set_input_files(bad)
    registrar.get_by_role("button", name="Give it this set").click()

    expect(registrar.locator("#holdout")).to_contain_text("The holdout set lacks the columns SHAPE.")
    assert is_readable(registrar)

    registrar.get_by_label("Labelled rows, as a Parquet file").set_input_files(good)
    registrar.get_by_role("button", name="Give it this set").click()

    expect(registrar.get_by_text("Version 1 has its holdout set now.")).to_be_visible()
    expect(registrar.locator("#holdout")).to_have_count(0)
    assert Version.objects.get().holdout_id is not None
