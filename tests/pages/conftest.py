"""A web server with the gallery of parts: the product's settings, middleware and templates, without a database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pytest
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.test import override_settings
from django.urls import clear_url_caches
from playwright.sync_api import Browser, Page

from tests.chromium import PATIENCE_MS
from tests.pages.gallery.views import LIVE, LiveState
from tests.ports import free_port

HERE = Path(__file__).parent


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


def gallery_settings() -> dict[str, object]:
    engine = settings.TEMPLATES[0]
    # What every page asks of the database stays out; the rest is the product's own.
    shown = [name for name in engine["OPTIONS"]["context_processors"] if name != "accounts.context.broken_glass"]
    options = engine["OPTIONS"] | {"context_processors": shown}
    more = {"DIRS": [*engine["DIRS"], HERE / "gallery" / "templates"], "OPTIONS": options}
    return {
        "ROOT_URLCONF": "tests.pages.gallery.urls",
        "TEMPLATES": [engine | more],
        "STORAGES": settings.STORAGES
        | {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
        "ALLOWED_HOSTS": ["127.0.0.1", "testserver"],
        "SOCIALACCOUNT_ADAPTER": "tests.pages.gallery.views.NoProviders",
    }


@pytest.fixture(scope="module")
def gallery_url() -> Iterator[str]:
    with override_settings(**gallery_settings()):
        clear_url_caches()
        server: WSGIServer = ThreadedWSGIServer(("127.0.0.1", free_port()), QuietHandler)
        server.set_app(StaticFilesHandler(get_wsgi_application()))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()
        thread.join()
    clear_url_caches()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    yield page
    context.close()


@pytest.fixture
def live() -> LiveState:
    fresh = LiveState()
    LIVE.__dict__.update(fresh.__dict__)
    return LIVE
