"""Where files are fetched from: addresses in the networks that the host's own settings name, and nothing beside them.

The name in an address is resolved once, all answers are looked at, and one of them is connected to. Redirects and
proxies are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpcore

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
TIMEOUTS = {"connect": 3.0, "read": 20.0, "write": 20.0, "pool": 3.0}
BUSY = (429, 503)
LONGEST_PAUSE = 5.0
SETTING = "LASTGOOD_HOST_FETCH_NETWORKS"


class SourceRefused(Exception):
    """A source will not give the file, or may not be asked. The message is a sentence without the address's secrets."""


class SourceBusy(Exception):
    """A source wants to be asked again, in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class SourceBroke(Exception):
    """No connection, or one that broke off: what came is good, and the rest can be asked for. The message says why."""


@dataclass(frozen=True)
class Source:
    """One address of a file; `token` goes with the request as a bearer token, "" for none."""

    url: str = field(repr=False)
    token: str = field(repr=False)

    @property
    def place(self) -> str:
        """Scheme, machine and port: what may be written down of the address."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"


def check_source(source: Source) -> None:
    """Raises ValueError, whose message is a sentence, for what is not a http or https address of a machine."""
    parts = urlsplit(source.url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
        raise ValueError("A source's address must begin with http:// or https:// and name a machine.")
    if parts.username is not None or parts.password is not None or not source.url.isascii():
        raise ValueError("A source's address is ASCII, and holds no user and no password.")
    if not source.url.isprintable() or " " in source.url or "\\" in source.url or not source.token.isprintable():
        raise ValueError("A source's address or token holds a character that none has.")


def pieces(source: Source, offset: int, size: int, networks: Sequence[Network]) -> Iterator[bytes]:
    """The bytes of a file of `size` bytes from `offset` on, as they come. Raises SourceRefused, SourceBusy and
    SourceBroke; how many bytes come is for the caller to count."""
    headers: dict[bytes | str, bytes | str] = {"Accept-Encoding": "identity"}
    if source.token:
        headers["Authorization"] = f"Bearer {source.token}"
    if offset:
        headers["Range"] = f"bytes={offset}-"
    context = ssl.create_default_context() if source.url.startswith("https:") else None
    try:
        with (
            httpcore.ConnectionPool(ssl_context=context, network_backend=_Pinned(networks)) as pool,
            pool.stream("GET", source.url, headers=headers, extensions={"timeout": TIMEOUTS}) as response,
        ):
            _check_answer(source, response, offset, size)
            yield from response.iter_stream()
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError) as error:
        raise SourceBroke(f"{source.place} broke off: {error or type(error).__name__}.") from None


def _check_answer(source: Source, response: httpcore.Response, offset: int, size: int) -> None:
    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
    if response.status in BUSY:
        asked = headers.get(b"retry-after", "")
        raise SourceBusy(min(LONGEST_PAUSE, float(asked)) if asked.isdigit() else 1.0)
    if 300 <= response.status < 400:
        raise SourceRefused(f"{source.place} leads elsewhere ({response.status}); redirects are not followed.")
    if response.status >= 500:
        raise SourceBroke(f"{source.place} answered {response.status}.")
    if response.status != (206 if offset else 200):
        raise SourceRefused(f"{source.place} answered {response.status} to the request for the file.")
    if offset and not headers.get(b"content-range", "").startswith(f"bytes {offset}-"):
        raise SourceRefused(f"{source.place} does not go on where it was asked to.")
    if headers.get(b"content-encoding", "identity") != "identity":
        raise SourceRefused(f"{source.place} encodes the file, which was not asked for.")
    length = headers.get(b"content-length")
    if length is not None and length != str(size - offset):
        raise SourceRefused(f"{source.place} has a file of another length than the manifest says.")


class _Pinned(httpcore.SyncBackend):
    """Connects to addresses in the networks only."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = networks

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception | None = None
        for address in _allowed(host.strip("[]"), port, self.networks):
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise SourceRefused("Files are not fetched from sockets of this machine.")


def _allowed(name: str, port: int, networks: Sequence[Network]) -> list[str]:
    """What the name stands for, where each of the answers lies in the networks. Raises SourceRefused, SourceBroke."""
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SourceBroke(f"{name} does not resolve to an address.") from None
    answers = list(dict.fromkeys(str(answer[4][0]) for answer in found))
    for answer in answers:
        ip = ipaddress.ip_address(answer.split("%")[0])
        meant = (ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip
        if not any(meant in network for network in networks):
            raise SourceRefused(f"{name} is {ip}, which is in none of the networks of {SETTING}.")
    return answers
