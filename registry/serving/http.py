"""HTTP to serving hosts: to checked addresses, with limits on time and size, and errors that say
whether a call can have been executed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx

from accounts.outgoing import CONNECT_SECONDS, AddressRefused, client
from audit import strictjson
from registry.serving.base import HostAddress, HostUnreachable, OutcomeUnknown, Refused, ServingError, StaleFence

MAX_ANSWER_BYTES = 32 * 2**20
CHUNK_BYTES = 2**20


@dataclass(frozen=True)
class Tail:
    """The bytes of a file from `offset` on, as a body."""

    path: Path
    offset: int = 0


@dataclass(frozen=True)
class HttpAnswer:
    """A successful answer, read whole. `seconds` is the round trip."""

    status: int
    data: bytes
    seconds: float

    def granted(self, reason: Callable[[HttpAnswer], str]) -> HttpAnswer:
        """This answer where it is a 200; else raises Refused (`engine-refused`) with the reason in it."""
        if self.status == 200:
            return self
        raise Refused(self.status, "engine-refused", reason(self))

    def json(self) -> Any:
        """The body as JSON. Raises ServingError when it is none."""
        try:
            return strictjson.parse(self.data)
        except strictjson.NotStrictJson:
            raise ServingError("The host's answer is not JSON.") from None


def _read(response: httpx.Response, deadline: float) -> bytes:
    pieces, size = [], 0
    for piece in response.iter_bytes():
        size += len(piece)
        if size > MAX_ANSWER_BYTES:
            raise OutcomeUnknown(f"The host's answer is longer than {MAX_ANSWER_BYTES} bytes.")
        if time.monotonic() > deadline:
            raise OutcomeUnknown("The host's answer came too slowly.")
        pieces.append(piece)
    return b"".join(pieces)


def call(
    address: HostAddress,
    method: str,
    path: str,
    *,
    seconds: float,
    content: bytes | Tail | None = None,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    accept: tuple[int, ...] = (),
) -> HttpAnswer:
    """Call a host; `seconds` bounds each read and the whole answer. `accept` lists statuses beside 2xx to return.

    Raises HostUnreachable when no connection was made, OutcomeUnknown when the call was sent and no answer to rely on
    came back, Refused or StaleFence when the host said no. A read that finds its pooled connection closed is repeated
    once on a new one; a call that may change something never is.
    """
    attempts = 2 if method in ("GET", "HEAD") else 1
    while True:
        attempts -= 1
        try:
            return _call_once(address, method, path, seconds, content, params, headers or {}, accept)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise HostUnreachable(f"No connection to {address.url}: {error}") from error
        except AddressRefused as error:
            raise HostUnreachable(str(error)) from error
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError) as error:
            if not attempts:
                raise OutcomeUnknown(f"{address.url} cut the connection: {error}") from error
        except httpx.TransportError as error:
            raise OutcomeUnknown(f"{address.url} did not answer within {seconds:g} s.") from error


def _call_once(
    address: HostAddress,
    method: str,
    path: str,
    seconds: float,
    content: bytes | Tail | None,
    params: Mapping[str, str] | None,
    more_headers: Mapping[str, str],
    accept: tuple[int, ...],
) -> HttpAnswer:
    started = time.monotonic()
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    headers = dict(more_headers)
    if address.token:
        headers["Authorization"] = f"Bearer {address.token}"
    file: IO[bytes] | None = None
    if isinstance(content, Tail):
        file = content.path.open("rb")
        headers["Content-Length"] = str(max(0, content.path.stat().st_size - content.offset))
        file.seek(content.offset)
    body = content if isinstance(content, bytes) else _chunks(file) if file else None
    try:
        url = address.url.rstrip("/") + path
        sending = client(address.networks).stream(
            method, url, content=body, params=params, headers=headers, timeout=timeout
        )
        with sending as response:
            data = _read(response, started + seconds)
    finally:
        if file:
            file.close()
    if response.is_success or response.status_code in accept:
        return HttpAnswer(response.status_code, data, time.monotonic() - started)
    raise _refusal(response.status_code, data)


def _chunks(file: IO[bytes]) -> Any:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def _refusal(status: int, data: bytes) -> ServingError:
    """The error for a status other than 2xx. A 5xx without a problem may come from between us and the host."""
    try:
        problem = strictjson.parse(data)
    except strictjson.NotStrictJson:
        problem = None
    if not isinstance(problem, dict) or not isinstance(problem.get("type"), str):
        if status >= 500:
            return OutcomeUnknown(f"The host answered {status} without saying why.")
        return Refused(status, "redirect" if 300 <= status < 400 else "", f"The host answered {status}.")
    kind, detail = problem["type"], str(problem.get("detail", f"The host answered {status}."))
    missing = problem.get("missing")
    if kind == "missing-blobs" and isinstance(missing, list):
        return MissingBlobs(status, kind, detail, [str(item) for item in missing])
    return (StaleFence if kind == "stale-fence" else Refused)(status, kind, detail)


class MissingBlobs(Refused):
    """The host lacks blobs of a manifest; `missing` lists their SHA-256."""

    def __init__(self, status: int, type_: str, detail: str, missing: list[str]) -> None:
        super().__init__(status, type_, detail)
        self.missing = missing
