"""Reading HTTP requests and writing answers for the ASGI application: bodies with limits, JSON, problems."""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from host import strictjson
from host.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Answer = tuple[int, str, bytes]
JSON_TYPE = "application/json"


class Disconnected(Exception):
    """The client went away before its request was whole."""


def as_json(value: Any, status: int = 200) -> Answer:
    return status, JSON_TYPE, json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def problem(error: Problem) -> Answer:
    return error.status, "application/problem+json", as_json(error.body())[2]


async def chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next piece of the body, and whether more follows."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)


async def body(receive: Receive, limit: int) -> bytes:
    """The whole body; 413 when it is longer than `limit` bytes."""
    data, more = await chunk(receive)
    if more:
        pieces, size = [data], len(data)
        while more and size <= limit:
            data, more = await chunk(receive)
            pieces.append(data)
            size += len(data)
        data = b"".join(pieces)
    if len(data) > limit:
        raise Problem(413, "too-large", f"The body may have at most {limit} bytes.")
    return data


def parse(data: bytes) -> Any:
    try:
        return strictjson.parse(data)
    except ValueError as error:
        raise Problem(400, "not-json", f"The body is not JSON: {error}.") from None


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object; an empty body is an empty object."""
    value = parse(data) if data.strip() else {}
    if not isinstance(value, dict):
        raise Problem(400, "bad-request", "The body must be a JSON object.")
    return value


def header(scope: MutableMapping[str, Any], name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def check_token(scope: MutableMapping[str, Any], token: str) -> None:
    """401 unless the request carries the control token."""
    if not hmac.compare_digest(header(scope, b"authorization"), b"Bearer " + token.encode()):
        raise Problem(401, "unauthorized", "Send the host's control token as 'Authorization: Bearer'.")


async def respond(send: Send, answer: Answer) -> None:
    status, content_type, data = answer
    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(data)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
