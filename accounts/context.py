"""What every page of a signed-in person may show."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts.approvals.break_glass import owed


def broken_glass(request: HttpRequest) -> dict[str, Any]:
    """Uses of break-glass whose review is owed, read when a page asks for them."""
    return {"broken_glass": SimpleLazyObject(lambda: list(owed()[:5]))}
