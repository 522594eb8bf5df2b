"""allauth's hooks: no self sign-up, and each sign-in, failure, sign-out and step-up goes into the log."""

from collections.abc import Iterable
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.utils import is_mfa_enabled
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from django.http import HttpRequest, HttpResponse

from accounts.actions import actor_for
from accounts.throttles import remember_device, sign_in_key
from audit.actions import ANONYMOUS, Target, record


class AccountAdapter(DefaultAccountAdapter):
    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        return sign_in_key(request, credentials.get("email") or credentials.get("username") or "")

    def post_login(self, request: HttpRequest, user: Any, **details: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **details)
        remember_device(request, response, user)
        return response

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def login(self, request: HttpRequest, user: Any) -> None:
        super().login(request, user)
        record(action="session.sign_in", target=Target("user", user.pseudonym), actor=actor_for(user=user))

    def logout(self, request: HttpRequest) -> None:
        if request.user.is_authenticated:
            actor = actor_for(user=request.user)
            record(action="session.sign_out", target=Target("user", request.user.pseudonym), actor=actor)
        super().logout(request)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        super().authentication_failed(request, **credentials)
        # A step-up asks through here as well; `reauthenticate` records that with the person's pseudonym.
        if not request.user.is_authenticated:
            record(action="session.sign_in", target=Target("session", "sign-in"), actor=ANONYMOUS, outcome="failed")

    def reauthenticate(self, user: Any, password: str) -> bool:
        proved = bool(super().reauthenticate(user, password))
        record_step_up(user, "password", proved=proved)
        return proved

    def get_reauthentication_methods(self, user: Any) -> list[dict[str, Any]]:
        """A person with a second factor steps up with that one: a password alone would not count."""
        methods = super().get_reauthentication_methods(user)
        if user.is_authenticated and is_mfa_enabled(user):
            return [method for method in methods if method["id"] != "reauthenticate"]
        return methods


class SessionsAdapter(DefaultUserSessionsAdapter):
    def end_sessions(self, sessions: Iterable[Any]) -> None:
        """Somebody signs their other browsers out."""
        sessions = list(sessions)
        super().end_sessions(sessions)
        for session in sessions:
            user = session.user
            record(action="session.end", target=Target("user", user.pseudonym), actor=actor_for(user=user))


def record_step_up(user: Any, method: str, *, proved: bool) -> None:
    """That a person at an open session proved again who they are, or failed to."""
    record(
        action="session.step_up",
        target=Target("user", user.pseudonym),
        actor=actor_for(user=user),
        data={"method": method},
        outcome="success" if proved else "failed",
    )
