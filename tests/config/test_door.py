"""Deliveries come in by a shorter way than pages, and are answered as by the whole one."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest
from django.core import signals
from django.core.cache import cache
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections

from config.door import Door, ProgramsHandler
from monitoring.models import Delivery
from tests.config.test_written import ask
from tests.monitoring.world import ingest_token

pytestmark = pytest.mark.django_db
PLACE = "/api/v1/ingest/json/town/"


def brings(application: Any, body: bytes, token: str, path: str = PLACE) -> tuple[str, dict[str, str], bytes]:
    given: dict[str, Any] = {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    return ask(application, path, "POST", CONTENT_TYPE="application/json", HTTP_AUTHORIZATION=token, **given)


@pytest.fixture(autouse=True)
def own_disk(tmp_path: Any, settings: Any) -> Iterator[None]:
    settings.LASTGOOD_VAR = tmp_path
    cache.clear()
    # As Django's own client does: the test's transaction is on the connection that they would close.
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


@pytest.mark.parametrize(
    ("path", "body", "token", "status"),
    [
        (PLACE, b'{"summary": "It is slow"}', "good", "202 Accepted"),
        (PLACE, b"no JSON", "good", "400 Bad Request"),
        (PLACE, b'{"summary": "It is slow"}', "Bearer lg_00000000_" + "x" * 43, "401 Unauthorized"),
        (PLACE, b'{"summary": "It is slow"}', "", "401 Unauthorized"),
        ("/api/v1/ingest/nowhere/", b"{}", "good", "404 Not Found"),
        ("/api/v1/ingest/json/to%00wn/", b"{}", "good", "404 Not Found"),
    ],
)
def test_a_delivery_is_answered_as_by_the_whole_way(path: str, body: bytes, token: str, status: str) -> None:
    token = f"Bearer {ingest_token()}" if token == "good" else token
    ways: list[Any] = [WSGIHandler(), Door(WSGIHandler())]

    whole, short = (brings(way, body, token, path) for way in ways)

    assert (whole[0], short[0]) == (status, status)
    assert {name: short[1][name] for name in short[1]} == {name: whole[1][name] for name in whole[1]}
    if status.startswith("202"):
        assert Delivery.objects.count() == 2


def test_only_deliveries_go_the_short_way() -> None:
    asked: list[str] = []

    def whole(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        asked.append(environ["PATH_INFO"])
        start_response("200 OK", [])
        return [b""]

    door = Door(whole)
    for path in ("/", "/api/v1/incidents/", "/api/v1/ingest", PLACE):
        ask(door, path)

    assert asked == ["/", "/api/v1/incidents/", "/api/v1/ingest"]


def test_the_short_way_changes_the_settings_of_no_other() -> None:
    short = ProgramsHandler()
    assert short._middleware_chain is not None
    assert WSGIHandler()._view_middleware != short._view_middleware
