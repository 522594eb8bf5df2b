"""How long ago, and by what means, the person at this session last proved who they are."""

import datetime

from allauth.account.authentication import get_authentication_records
from allauth.mfa.utils import is_mfa_enabled
from django.http import HttpRequest


def last_authentication(request: HttpRequest) -> tuple[str, datetime.datetime] | None:
    """The method (password, mfa) and time of the newest proof in this session; None where there was none.

    For a person with a second factor only that counts: a password alone proves less than the sign-in did.
    """
    counted = {"mfa"} if is_mfa_enabled(request.user) else {"password", "mfa"}
    records = [entry for entry in get_authentication_records(request, request.user) if entry["method"] in counted]
    if not records:
        return None
    newest = max(records, key=lambda entry: entry["at"])
    return str(newest["method"]), datetime.datetime.fromtimestamp(newest["at"], datetime.UTC)
