"""Where Lastgood may connect to. At the moment of connecting, all that an address's name stands for is held against an
allow-list, and the connection goes to one of those answers: a name can't be asked twice and answer differently.

No Django here: the drivers of serving engines stand on it as well.
"""

from __future__ import annotations

import functools
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

PUBLIC = "public"
"""A word among allowed networks: every address that is routed on the Internet."""

CONNECT_SECONDS = 2.0
MOST_ORIGINS = 128
"""To so many peers connections are kept that nobody uses at the moment."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
HOSTS = "LASTGOOD_HOST_NETWORKS"
"""The setting that lists where serving hosts live."""
_ends: ContextVar[float | None] = ContextVar("ends", default=None)
"""When the call that is under way must be over, by the monotonic clock."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(ValueError):
    """An address is not one that Lastgood may call. The message says what is wrong with it."""


class FetchFailed(OSError):
    """What was to be fetched did not come. The message says why, for people."""


def split_address(url: str) -> tuple[str, int]:
    """The machine's name and the port of a http or https URL. Raises AddressRefused for any other URL, and for one that
    holds a user or a password."""
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        connected_to = httpx.URL(url).raw_host.decode("ascii").strip("[]")
    except (ValueError, TypeError, httpx.InvalidURL):
        raise AddressRefused(f"{url!r} is not a URL.") from None
    if not url.isprintable() or " " in url or "\\" in url or connected_to != (parts.hostname or ""):
        raise AddressRefused(f"{url!r} is not a URL that everybody reads in the same way.")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressRefused("An address must begin with http:// or https:// and name a machine.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("An address must not hold a user or a password.")
    return parts.hostname, port


def allowed_addresses(name: str, port: int, networks: Iterable[str], setting: str = HOSTS) -> list[str]:
    """What the name stands for, in the resolver's order. `networks` are CIDRs, or PUBLIC; `setting` lists them.

    Raises AddressRefused when it stands for nothing, or when any one of the answers lies outside of the networks.
    """
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"{name} does not resolve to an address.") from None
    wanted = [network.strip() for network in networks]
    ranges = [ipaddress.ip_network(network, strict=False) for network in wanted if network != PUBLIC]
    answers = list(dict.fromkeys(str(address[0]) for *_, address in found))
    for answer in answers:
        for ip in _meant(ipaddress.ip_address(answer.split("%")[0])):
            if not any(ip in network for network in ranges) and not (PUBLIC in wanted and _is_public(ip)):
                raise AddressRefused(
                    f"{name} is {ip}, which is in none of the allowed networks; "
                    f"add its network to {setting} if it is meant to be called."
                )
    return answers


def _meant(ip: Address) -> list[Address]:
    """The address, and the IPv4 address that it carries inside, where a tunnel or a translator would go on to that."""
    if not isinstance(ip, ipaddress.IPv6Address):
        return [ip]
    if ip.ipv4_mapped:
        return [ip.ipv4_mapped]
    inside = [ip.sixtofour, ip.teredo[1] if ip.teredo else None]
    if ip in NAT64:
        inside.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return [ip, *(carried for carried in inside if carried is not None)]


def _is_public(ip: Address) -> bool:
    return ip.is_global and not ip.is_multicast


class TimedStream(httpcore.NetworkStream):
    """A connection on which no read or write goes on beyond the end of the call that is under way: a peer that sends a
    byte now and then can't draw out a header or a body."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self.inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max_bytes, _remaining(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.inner.write(buffer, _remaining(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        within = _remaining(timeout, httpcore.ConnectTimeout)
        return TimedStream(self.inner.start_tls(ssl_context, server_hostname, within))

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def _remaining(timeout: float | None, late: type[Exception]) -> float | None:
    ends = _ends.get()
    if ends is None:
        return timeout
    left = ends - time.monotonic()
    if left <= 0:
        raise late("it came too slowly")
    return left if timeout is None else min(left, timeout)


class PinnedBackend(httpcore.SyncBackend):
    """Opens connections only to addresses that were checked: the name is resolved once, all answers are looked at, and
    one of them is connected to. Host header and TLS name stay those of the URL."""

    def __init__(self, networks: Sequence[str], setting: str) -> None:
        self.networks, self.setting = tuple(networks), setting

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        failed: Exception | None = None
        for address in allowed_addresses(host.strip("[]"), port, self.networks, self.setting):
            within = _remaining(timeout, httpcore.ConnectTimeout)
            try:
                return TimedStream(super().connect_tcp(address, port, within, local_address, socket_options))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"{host} has no address.")


class PoolPerOrigin(httpcore.ConnectionPool):
    """A pool of connections for each origin. httpcore's own looks at every connection it holds, those to all other
    hosts too, at the begin and at the end of each request: a fifth of a call's processor time at fifty hosts."""

    def __init__(self, **kept: Any) -> None:
        super().__init__(**kept)
        self._kept = kept
        self._pools: dict[tuple[bytes, bytes, int | None], httpcore.ConnectionPool] = {}
        self._adding = threading.Lock()

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        url = request.url
        return self._pool_of((url.scheme, url.host, url.port)).handle_request(request)

    def _pool_of(self, origin: tuple[bytes, bytes, int | None]) -> httpcore.ConnectionPool:
        pool = self._pools.get(origin)
        if pool is not None:
            return pool
        with self._adding:
            if len(self._pools) >= MOST_ORIGINS:
                # Let go and not closed: a thread that has just been given one goes on with it, and it ends with that.
                self._pools = {key: pool for key, pool in self._pools.items() if _is_busy(pool)}
            return self._pools.setdefault(origin, httpcore.ConnectionPool(**self._kept))

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


def _is_busy(pool: httpcore.ConnectionPool) -> bool:
    return not all(connection.is_idle() or connection.is_closed() for connection in pool.connections)


class PinnedTransport(httpx.HTTPTransport):
    """httpx's transport on such connections: no proxies, no redirects, certificates checked against the machine's
    trusted ones (SSL_CERT_FILE names others)."""

    def __init__(self, networks: Sequence[str], limits: httpx.Limits, setting: str) -> None:
        context = ssl.create_default_context()
        super().__init__(verify=context, limits=limits, trust_env=False)
        self._pool = PoolPerOrigin(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=PinnedBackend(networks, setting),
        )


@functools.cache
def client(networks: tuple[str, ...], setting: str = HOSTS) -> httpx.Client:
    """The process's one client for those networks, which are listed in `setting`. Connections idle for long are not
    used again.

    Its calls raise AddressRefused beside httpx's own errors.
    """
    limits = httpx.Limits(max_connections=64, max_keepalive_connections=64, keepalive_expiry=20)
    return httpx.Client(transport=PinnedTransport(networks, limits, setting), follow_redirects=False, trust_env=False)


@dataclass(frozen=True)
class Answer:
    """What came back, read whole."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    method: str,
    url: str,
    *,
    networks: Sequence[str],
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
    seconds: float = 10.0,
    limit: int = 2**21,
    setting: str = HOSTS,
) -> Answer:
    """The answer to one request, whatever its status, within a number of bytes and of seconds from the first byte sent
    to the last one read; redirects are not followed. `setting` lists the networks, and is what a refusal names.

    Raises AddressRefused, FetchFailed.
    """
    split_address(url)
    deadline, pieces, size = time.monotonic() + seconds, [], 0
    timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
    opened, before = client(tuple(networks), setting), _ends.set(deadline)
    try:
        with opened.stream(
            method, url, content=content or None, headers=dict(headers or {}), timeout=timeout
        ) as response:
            for piece in response.iter_bytes():
                size += len(piece)
                if size > limit:
                    raise FetchFailed(f"The answer is longer than {limit} bytes.")
                if time.monotonic() > deadline:
                    raise FetchFailed("The answer came too slowly.")
                pieces.append(piece)
    except httpx.HTTPError as error:
        if isinstance(error, httpx.TimeoutException) and time.monotonic() > deadline - 0.05:
            raise FetchFailed("The answer came too slowly.") from error
        raise FetchFailed(f"No answer: {str(error) or type(error).__name__}.") from error
    finally:
        _ends.reset(before)
    return Answer(response.status_code, dict(response.headers), b"".join(pieces))


def fetch(
    url: str, *, networks: Sequence[str], seconds: float = 10.0, limit: int = 2**21, setting: str = HOSTS
) -> bytes:
    """What a GET of the URL brings. Only a 2xx counts; a redirect is a failure. Raises AddressRefused, FetchFailed."""
    answer = ask("GET", url, networks=networks, seconds=seconds, limit=limit, setting=setting)
    if not 200 <= answer.status < 300:
        raise FetchFailed(f"The answer was {answer.status}; redirects are not followed.")
    return answer.body
