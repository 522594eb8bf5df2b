"""Which addresses a host may have: http or https, and every address of its name inside the allowed networks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit


class AddressRefused(ValueError):
    """A host's address is not one that Lastgood may call. The message says what is wrong with it."""


def check_address(url: str, networks: Iterable[str]) -> None:
    """Refuse a URL whose host is, or resolves to, anything outside of `networks` (CIDR).

    Raises AddressRefused, also for another scheme, a user or password, a path, and a name that does not resolve.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise AddressRefused(f"{url!r} is not a URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressRefused("A host's address must begin with http:// or https:// and name a machine.")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("A host's address must not hold a user or a password.")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AddressRefused("A host's address must end after the port.")
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"{parts.hostname} does not resolve to an address.") from None
    allowed = [ipaddress.ip_network(network.strip(), strict=False) for network in networks]
    for *_, address in found:
        ip = ipaddress.ip_address(str(address[0]).split("%")[0])
        ip = getattr(ip, "ipv4_mapped", None) or ip
        if not any(ip in network for network in allowed):
            raise AddressRefused(
                f"{parts.hostname} is {ip}, which is in none of the allowed networks; "
                "add its network to LASTGOOD_HOST_NETWORKS if hosts live there."
            )
