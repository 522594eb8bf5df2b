"""How long ago, and by what means, the person at this session last proved who they are.

allauth notes the moment by the clock of the web process. Beside it stands the one that counts, by the
database's clock: two web processes may disagree about the time, and neither may be right.
"""

import datetime
import time
from collections.abc import Callable
from typing import Any

from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY, get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest, HttpResponse
from rest_framework.request import Request

from accounts.actions import FRESH_PROOF
from accounts.models import ApiToken
from audit.clock import database_now

MOMENT = "proved_at"
SIGN_IN_PAGES = "/accounts/"


def method_of(kind: str | None) -> str:
    """What the record calls a second factor of allauth's kind (totp, recovery_codes, webauthn)."""
    return "passkey" if kind == "webauthn" else "mfa"


def last_authentication(request: HttpRequest) -> tuple[str, datetime.datetime] | None:
    """The method (password, mfa, passkey) and time of the newest proof in this session; None where there was none.

    For a person with a second factor only that counts: a password alone proves less than the sign-in did.
    """
    counted = {"mfa"} if is_mfa_enabled(request.user) else {"password", "mfa"}
    records = [entry for entry in get_authentication_records(request, request.user) if entry["method"] in counted]
    if not records:
        return None
    _stamp(records)
    newest = max(records, key=lambda entry: entry[MOMENT])
    method = method_of(newest.get("type")) if newest["method"] == "mfa" else str(newest["method"])
    return method, datetime.datetime.fromtimestamp(newest[MOMENT], datetime.UTC)


def require_fresh_proof(request: HttpRequest) -> datetime.datetime:
    """When the person last proved who they are, within the last five minutes. Otherwise allauth keeps what was posted,
    asks for the proof, and then hands the post in again."""
    _, proved_at = last_authentication(request) or ("", None)
    if proved_at is None or database_now() - proved_at > FRESH_PROOF:
        raise ReauthenticationRequired
    return proved_at


def proof_of(request: Request) -> tuple[str, datetime.datetime | None]:
    """By what means and when the caller of the API last proved who they are; a token carries its owner's proof from
    its issue."""
    if isinstance(request.auth, ApiToken):
        return "token", request.auth.proved_at
    return last_authentication(request) or ("session", None)


def by_the_databases_clock(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: a proof is stamped by the request that it was given in, and allauth's own pages, which count its age
    by the process's clock, are told the age that it has by the database's."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.path.startswith(SIGN_IN_PAGES) and (stamped := _entries(request)):
            ahead = time.time() - database_now().timestamp()
            for entry in stamped:
                entry["at"] = entry.get(MOMENT, entry["at"] - ahead) + ahead
        response = get_response(request)
        if request.session.modified and (entries := _entries(request)):
            _stamp(entries)
        return response

    return answer


def _entries(request: HttpRequest) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = request.session.get(AUTHENTICATION_METHODS_SESSION_KEY, [])
    return entries


def _stamp(entries: list[dict[str, Any]]) -> None:
    """Note for each proof when it was given, by the database's clock: as long ago as this process says."""
    fresh = [entry for entry in entries if MOMENT not in entry]
    if fresh:
        now, here = database_now().timestamp(), time.time()
        for entry in fresh:
            entry[MOMENT] = now - max(0.0, here - entry["at"])
