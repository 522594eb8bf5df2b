"""How often one may fail to prove who one is. Guessing is slowed down, and no stranger's guesses lock anybody out: a
browser in which a person has signed in before is counted by itself, and a token that is good is never refused.

Device cookies: OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
"""

import secrets
from typing import Any

from allauth.core.internal.httpkit import get_client_ip
from django.conf import settings
from django.core import signing
from django.core.cache import cache
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import Throttled

from accounts.models import User

DEVICE_SECONDS = 180 * 86400
SALT = "accounts.throttles.device"
FAILURES, WINDOW_SECONDS = 300, 60
VISITS, VISIT_SECONDS = 20, 3600


def sign_in_key(request: HttpRequest, login: str) -> str:
    """Under what a failed sign-in is counted: the device, where it is one that this person has used, else the name that
    was typed, for all strangers together."""
    device = _device(request)
    if device is not None and login.casefold() in device["names"]:
        return f"device:{device['id']}"
    return f"stranger:{login.casefold()}"


def remember_device(request: HttpRequest, response: HttpResponse, user: User) -> None:
    """Let this browser be told from strangers' the next time that the person signs in."""
    known = _device(request)
    names = {user.username.casefold(), user.email.casefold()} - {""}
    kept = {"id": secrets.token_hex(16), "names": sorted(names)}
    if known is not None and names & set(known["names"]):
        kept["id"] = known["id"]
    response.set_cookie(
        settings.DEVICE_COOKIE_NAME,
        signing.dumps(kept, salt=SALT),
        max_age=DEVICE_SECONDS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _device(request: HttpRequest) -> dict[str, Any] | None:
    try:
        device = signing.loads(request.COOKIES.get(settings.DEVICE_COOKIE_NAME, ""), salt=SALT, max_age=DEVICE_SECONDS)
    except signing.BadSignature:
        return None
    return device if isinstance(device, dict) else None


def count_failure(request: Any) -> None:
    """Count a token or signature that was refused, by the address that it came from.

    Raises Throttled from the 301st of a minute on: the answer is 429 then, with a Retry-After.
    """
    if _count(request, "refused", WINDOW_SECONDS) > FAILURES:
        raise Throttled(wait=WINDOW_SECONDS)


def is_one_too_many(request: HttpRequest, what: str) -> bool:
    """Count something that strangers may do, by their address: whether it is the 21st of an hour, or later."""
    return _count(request, what, VISIT_SECONDS) > VISITS


def _count(request: Any, what: str, seconds: int) -> int:
    key = f"lastgood:{what}:{get_client_ip(request) or 'unknown'}"
    cache.add(key, 0, seconds)
    try:
        return cache.incr(key)
    except ValueError:  # it ran out between the two
        return 1
