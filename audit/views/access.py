"""Who may read the log and export it; each refusal is itself on record."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache

from audit.actions import Actor, record_refused_reading

READ, EXPORT, HOLD = "audit.view_auditevent", "audit.export", "audit.place_hold"
AUDITOR = _("Ask an auditor, or an administrator for the role auditor.")
WORDS = {
    READ: (_("read the log"), AUDITOR),
    EXPORT: (_("export the log"), AUDITOR),
    HOLD: (_("place or lift a legal hold"), _("Ask an administrator.")),
}

View = Callable[..., HttpResponseBase]


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person, by pseudonym; the token as well, when one was used."""
    token = getattr(request, "auth", None)
    pseudonym = str(getattr(request.user, "pseudonym", request.user.pk))
    if token is not None:
        return Actor("token", pseudonym, {"method": "token", "token": str(token.prefix)})
    return Actor("user", pseudonym, {"method": "session"})


def require(request: HttpRequest, *permissions: str) -> None:
    """Pass with any of the permissions, or record the denial of the first and raise PermissionDenied, saying whom to
    ask."""
    if any(request.user.has_perm(one) for one in permissions):
        return
    record_refused_reading(actor=actor_of(request), permission=permissions[0], path=request.path)
    what, whom = WORDS[permissions[0]]
    raise PermissionDenied(gettext("You may not %(what)s. %(whom)s") % {"what": what, "whom": whom})


def auditors(*permissions: str) -> Callable[[View], View]:
    """A page for signed-in people with one of the permissions, never kept by a browser."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            require(request, *permissions)
            return view(request, *args, **kwargs)

        return never_cache(login_required(guarded))

    return decorate
