"""How long ago, and by what means, the person at this session last proved who they are."""

import datetime

from allauth.account.authentication import get_authentication_records
from django.http import HttpRequest


def last_authentication(request: HttpRequest) -> tuple[str, datetime.datetime] | None:
    """The method (password, mfa, …) and time of the newest proof in this session; None where there was none."""
    records = get_authentication_records(request, request.user)
    if not records:
        return None
    newest = max(records, key=lambda entry: entry["at"])
    return str(newest["method"]), datetime.datetime.fromtimestamp(newest["at"], datetime.UTC)
