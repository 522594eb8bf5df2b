"""allauth's hooks: no self sign-up, and each sign-in, failure, sign-out and step-up goes into the log."""

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from accounts.actions import actor_for
from audit.actions import ANONYMOUS, Target, record


class AccountAdapter(DefaultAccountAdapter):
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
        record(action="session.sign_in", target=Target("session", "sign-in"), actor=ANONYMOUS, outcome="failed")

    def reauthenticate(self, user: Any, password: str) -> bool:
        proved = super().reauthenticate(user, password)
        record(
            action="session.step_up",
            target=Target("user", user.pseudonym),
            actor=actor_for(user=user),
            data={"method": "password"},
            outcome="success" if proved else "failed",
        )
        return bool(proved)
