"""A real Chromium for tests of pages, with patience for a machine that has other things to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connections
from playwright.sync_api import Browser, expect, sync_playwright

SYSTEM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 30_000
"""How long a page may take with anything; a failure is told no sooner, a success at once."""


@contextmanager
def launched() -> Iterator[Browser]:
    """The system's Chromium, else Playwright's own."""
    # Playwright's loop lives in this thread; the tests' own look into the database is no part of it.
    with pytest.MonkeyPatch.context() as patched, sync_playwright() as playwright:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=SYSTEM if SYSTEM.exists() else None, args=ARGUMENTS)
        expect.set_options(timeout=PATIENCE_MS)
        # While a loop lives here, Django's connections are others than before and after. One left open would be found
        # again by the next file that launches a browser, and leads to a database that is gone.
        try:
            yield browser
        finally:
            connections.close_all()
        browser.close()
