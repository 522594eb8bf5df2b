"""How the API reads bodies: within a limit, and as strict JSON."""

from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from accounts.problems import Problem
from audit.strictjson import NotStrictJson, parse


class StrictJsonParser(BaseParser):
    """Bodies of application/json. 400 for JSON that two readers could take for two things, 413 for a long body."""

    media_type = "application/json"

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: dict[str, Any] | None = None
    ) -> Any:
        data = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(data) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise too_large("A body", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        try:
            return parse(data)
        except NotStrictJson as error:
            raise ParseError(f"The body can't be read as JSON: {error}.") from None


def limited_body(request: HttpRequest) -> bytes:
    """The raw body of a delivery. Raises Problem 413 where it is longer than the limit, 400 where it is empty."""
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    if declared_length(request) > limit:
        raise too_large("A delivery", limit)
    body: bytes = request.read(limit + 1)
    if len(body) > limit:
        raise too_large("A delivery", limit)
    if not body:
        raise Problem(400, "empty", "The body is empty; there is nothing to store.")
    return body


def declared_length(request: HttpRequest | Request) -> int:
    """The Content-Length that was promised; 0 where there was none that is a number."""
    text = str(request.META.get("CONTENT_LENGTH") or "")
    return int(text) if text.isdecimal() and len(text) < 19 else 0


def too_large(what: str, limit: int) -> Problem:
    return Problem(413, "too-large", f"{what} has at most {limit} bytes. Send it in smaller parts.")
