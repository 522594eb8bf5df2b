"""Who may read the log and export it; each refusal is itself on record."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.cache import never_cache

from audit.actions import Actor, record_refused_reading

READ, EXPORT = "audit.view_auditevent", "audit.export"
WORDS = {READ: "read the log", EXPORT: "export the log"}

View = Callable[..., HttpResponseBase]


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person, by pseudonym; the token as well, when one was used."""
    token = getattr(request, "auth", None)
    pseudonym = str(getattr(request.user, "pseudonym", request.user.pk))
    if token is not None:
        return Actor("token", pseudonym, {"method": "token", "token": str(token.prefix)})
    return Actor("user", pseudonym, {"method": "session"})


def require(request: HttpRequest, permission: str) -> None:
    """Pass, or record the denial and raise PermissionDenied, saying whom to ask."""
    if request.user.has_perm(permission):
        return
    record_refused_reading(actor=actor_of(request), permission=permission, path=request.path)
    raise PermissionDenied(
        f"You may not {WORDS[permission]}. Ask an auditor, or an administrator for the role auditor."
    )


def auditors(permission: str) -> Callable[[View], View]:
    """A page for signed-in people with that permission, never kept by a browser."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            require(request, permission)
            return view(request, *args, **kwargs)

        return never_cache(login_required(guarded))

    return decorate
