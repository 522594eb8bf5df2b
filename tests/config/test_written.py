"""Public status pages before Django: the same answers, and none that is older than its file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from django.conf import LazySettings
from django.core.handlers.wsgi import WSGIHandler

from config import latency
from config.written import WrittenPages
from incidents import status_files

# Django looks after its connections around each request, though these need none.
pytestmark = pytest.mark.django_db
PAGE = "/status/services/"


class Counted:
    """Django, and how often it was asked."""

    def __init__(self) -> None:
        self.django, self.asked = WSGIHandler(), 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.asked += 1
        return self.django(environ, start_response)


Told = tuple[str, dict[str, str], bytes]


def ask(application: Any, path: str = PAGE, method: str = "GET", **environ: str) -> Told:
    told: list[tuple[str, dict[str, str]]] = []
    given: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method} | environ
    setup_testing_defaults(given)
    answer = application(given, lambda status, headers, exc_info=None: told.append((status, dict(headers))))
    return (*told[-1], b"".join(answer))


@pytest.fixture
def folder(settings: LazySettings, tmp_path: Path) -> Path:
    settings.LASTGOOD_VAR = tmp_path
    here = status_files.directory("services")
    status_files._write(here / "index.html", b"<p>All works</p>")
    status_files._write(here / "feed.atom", b"<feed/>")
    return here


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}feed.atom"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_answer_that_is_remembered_is_djangos_own(folder: Path, path: str, method: str, scheme: str) -> None:
    counted = Counted()
    pages = WrittenPages(counted)
    asked: dict[str, Any] = {"path": path, "method": method, "wsgi.url_scheme": scheme}
    expected = ask(WSGIHandler(), **asked)
    assert [ask(pages, **asked) for _ in range(3)] == [expected] * 3
    assert counted.asked == 1
    assert expected[0] == "200 OK"
    assert expected[1]["Content-Security-Policy"]


def test_whoever_has_the_file_is_answered_304_from_memory(folder: Path) -> None:
    counted = Counted()
    pages = WrittenPages(counted)
    etag = ask(pages)[1]["ETag"]
    answers = [ask(pages, HTTP_IF_NONE_MATCH=etag) for _ in range(3)]
    assert answers == [ask(WSGIHandler(), HTTP_IF_NONE_MATCH=etag)] * 3
    assert (answers[0][0], answers[0][2], counted.asked) == ("304 Not Modified", b"", 2)
    assert ask(pages, HTTP_IF_NONE_MATCH='"another"')[0] == "200 OK"


def test_a_page_that_was_written_anew_is_answered_anew_and_one_that_was_withdrawn_not(folder: Path) -> None:
    gone: list[str] = []

    def elsewhere(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if not folder.exists():
            gone.append(environ["PATH_INFO"])
            start_response("404 Not Found", [])
            return [b""]
        return WSGIHandler()(environ, start_response)

    pages = WrittenPages(elsewhere)
    assert [ask(pages)[2], ask(pages)[2]] == [b"<p>All works</p>"] * 2
    status_files._write(folder / "index.html", b"<p>Some fails</p>")
    assert [ask(pages)[2], ask(pages)[2]] == [b"<p>Some fails</p>"] * 2
    status_files.withdraw("services")
    assert ask(pages)[0] == "404 Not Found"
    assert gone == [PAGE]


@pytest.mark.parametrize(
    "environ",
    [{"QUERY_STRING": "a=%00"}, {"SCRIPT_NAME": "/below"}, {"REQUEST_METHOD": "POST"}, {"PATH_INFO": "/status/../x"}],
)
def test_what_is_unusual_is_left_to_django(folder: Path, environ: dict[str, str]) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        seen.append(environ)
        start_response("200 OK", [])
        return [b""]

    pages = WrittenPages(application)
    given = {"path": environ.pop("PATH_INFO", PAGE), "method": environ.pop("REQUEST_METHOD", "GET")}
    ask(pages, **given, **environ)
    ask(pages, **given, **environ)
    assert len(seen) == 2


def test_plain_http_behind_a_proxy_is_sent_to_tls_again_and_again(folder: Path, settings: LazySettings) -> None:
    settings.SECURE_SSL_REDIRECT, settings.SECURE_PROXY_SSL_HEADER = True, ("HTTP_X_FORWARDED_PROTO", "https")
    pages = WrittenPages(WSGIHandler())
    by_tls = {"HTTP_X_FORWARDED_PROTO": "https"}
    found = [ask(pages, **given)[0] for given in ({}, by_tls, by_tls, {})]
    assert found == ["301 Moved Permanently", "200 OK", "200 OK", "301 Moved Permanently"]


def test_each_is_counted_among_the_requests(folder: Path) -> None:
    pages = WrittenPages(WSGIHandler())
    ask(pages)
    before = _pages_counted()
    ask(pages)
    ask(pages)
    assert _pages_counted() == before + 2


def _pages_counted() -> float:
    return next(
        sample.value
        for family in latency._requests.collect()
        for sample in family.samples
        if sample.name.endswith("_count") and sample.labels == {"kind": "page", "status": "2xx"}
    )
