"""How long ago, and by what means, the person at this session last proved who they are."""

import datetime

from allauth.account.authentication import get_authentication_records
from allauth.core.exceptions import ReauthenticationRequired
from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from accounts.actions import FRESH_PROOF
from accounts.models import ApiToken


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
    newest = max(records, key=lambda entry: entry["at"])
    method = method_of(newest.get("type")) if newest["method"] == "mfa" else str(newest["method"])
    return method, datetime.datetime.fromtimestamp(newest["at"], datetime.UTC)


def require_fresh_proof(request: HttpRequest) -> datetime.datetime:
    """When the person last proved who they are, within the last five minutes. Otherwise allauth keeps what was posted,
    asks for the proof, and then hands the post in again."""
    _, proved_at = last_authentication(request) or ("", None)
    if proved_at is None or timezone.now() - proved_at > FRESH_PROOF:
        raise ReauthenticationRequired
    return proved_at


def proof_of(request: Request) -> tuple[str, datetime.datetime | None]:
    """By what means and when the caller of the API last proved who they are; a token carries its owner's proof from
    its issue."""
    if isinstance(request.auth, ApiToken):
        return "token", request.auth.proved_at
    return last_authentication(request) or ("session", None)
