"""Public status pages before Django: the copy of a page is answered by what the whole middleware answered for it
before, as long as its file is the same. Django makes the first answer for each file, and every answer that is unusual.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from config import latency
from incidents import status_files

Environ = dict[str, Any]
Headers = list[tuple[str, str]]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]
REMEMBERED = ("200 OK", "304 Not Modified")


@dataclass(frozen=True)
class Answer:
    """What Django answered, and the file that it answered from."""

    file: status_files.Written
    status: str
    headers: Headers
    body: bytes


class WrittenPages:
    """The application, behind the copies of public status pages."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.known: dict[tuple[object, ...], Answer] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        begun = time.monotonic()
        found = _asked(environ)
        if found is None:
            return self.application(environ, start_response)
        file, key = found
        known = self.known.get(key)
        if known is None or known.file is not file:
            return self._from_django(file, key, environ, start_response)
        start_response(known.status, list(known.headers))
        latency.observe("page", f"{known.status[0]}xx", time.monotonic() - begun)
        return [known.body]

    def _from_django(
        self, file: status_files.Written, key: tuple[object, ...], environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        told: list[tuple[str, Headers]] = []

        def heard(status: str, headers: Headers, exc_info: Any = None) -> Any:
            told.append((status, headers))
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        answer = self.application(environ, heard)
        try:
            body = b"".join(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        status, headers = told[-1]
        # The file may have been replaced since it was looked at: then the answer is the newer one's.
        if status in REMEMBERED and dict(headers).get("ETag") == file.etag:
            self.known[key] = Answer(file, status, list(headers), body)
        return [body]


def _asked(environ: Environ) -> tuple[status_files.Written, tuple[object, ...]] | None:
    """The file that is asked for, and all else on which its answer depends. None for what Django must look at."""
    path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
    if not path.startswith("/status/") or method not in ("GET", "HEAD"):
        return None
    if environ.get("SCRIPT_NAME") or environ.get("QUERY_STRING"):
        return None
    file = status_files.copy_at(path)
    had = environ.get("HTTP_IF_NONE_MATCH", "")
    if file is None or had not in ("", file[1].etag):
        return None
    # Whether it came by TLS, here or before a proxy: then a header more is sent, or else it is sent elsewhere.
    secure = environ.get("wsgi.url_scheme") == "https", environ.get("HTTP_X_FORWARDED_PROTO") == "https"
    return file[1], (path, method, bool(had), *secure)
