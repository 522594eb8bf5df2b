"""Which addresses a host may have: http or https, and every address of its name inside the allowed networks."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from accounts.outgoing import AddressRefused, allowed_addresses, split_address

__all__ = ["AddressRefused", "check_address"]


def check_address(url: str, networks: Iterable[str]) -> None:
    """Refuse a URL whose host is, or resolves to, anything outside of `networks` (CIDR).

    Raises AddressRefused, also for another scheme, a user or password, a path, and a name that does not resolve.
    Connections are checked once more when they are made: see accounts.outgoing.
    """
    name, port = split_address(url)
    parts = urlsplit(url)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise AddressRefused("A host's address must end after the port.")
    allowed_addresses(name, port, networks)
