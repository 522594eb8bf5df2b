"""A model's file for the host that was told to fetch it: by a signed token, from where it asks, and nothing else."""

import logging
import re
import threading
from collections.abc import Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.translation import gettext
from django.views.decorators.http import require_GET

from accounts.problems import problem_response
from registry import offers, store

logger = logging.getLogger(__name__)
RANGE = re.compile(r"bytes=([0-9]{1,15})-")
_sending = threading.BoundedSemaphore(1)
"""One file at a time from each web process: its other threads are for people."""


class _Handed(StreamingHttpResponse):
    """The bytes of a file; makes room for the next one when it has been sent, or when whoever asked went away."""

    def __init__(self, pieces: Iterator[bytes], **more: Any) -> None:
        super().__init__(pieces, content_type="application/octet-stream", **more)
        self._holds = True

    def close(self) -> None:
        super().close()
        if self._holds:
            self._holds = False
            _sending.release()


@require_GET
def artifact(request: HttpRequest, sha256: str) -> HttpResponseBase:
    """The file of that digest, from the byte on that `Range` names. 401 without a token for it that is valid now."""
    if not offers.permits(request.headers.get("Authorization", "").removeprefix("Bearer "), sha256):
        said = gettext("This address needs the token that came with it, and for a quarter of an hour only.")
        answer: HttpResponse = problem_response(request, 401, "authentication-failed", said)
        answer["WWW-Authenticate"] = "Bearer"
        return answer
    try:
        size = store.size_of(sha256)
        if size is None:
            raise store.missing(sha256)
    except store.ArtifactMissing as error:
        return problem_response(request, 404, "not-found", str(error))
    except store.ArtifactUnavailable as error:
        return problem_response(request, 502, "store-unavailable", str(error))
    asked = RANGE.fullmatch(request.headers.get("Range", ""))
    start = int(asked[1]) if asked else 0
    if start >= max(size, 1):
        answer = problem_response(request, 416, "beyond-the-end", gettext("The file ends before that byte."))
        answer["Content-Range"] = f"bytes */{size}"
        return answer
    if not _sending.acquire(blocking=False):
        said = gettext("Another host is being given a file. Ask again in two seconds.")
        answer = problem_response(request, 429, "busy", said)
        answer["Retry-After"] = "2"
        return answer
    return _hand_over(request, sha256, start, size)


def _hand_over(request: HttpRequest, sha256: str, start: int, size: int) -> HttpResponseBase:
    headers = {"Content-Length": str(size - start), "Accept-Ranges": "bytes"}
    if start:
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    given = _Handed(store.read(sha256, start), status=206 if start else 200, headers=headers)
    logger.info("artifact.given sha256=%s from=%d to=%d by=%s", sha256, start, size, request.META.get("REMOTE_ADDR"))
    return given
