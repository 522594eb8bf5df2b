"""Waiting for a condition instead of sleeping."""

import time
from collections.abc import Callable

import httpx


def until(condition: Callable[[], object], seconds: float = 60.0, every: float = 0.05) -> None:
    """Return when the condition holds. Raises AssertionError when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} s"
        time.sleep(every)


def answers(url: str) -> bool:
    """Whether whoever is behind the address says that all is well."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False
