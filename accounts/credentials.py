"""What allauth tells by signal alone, for the log: codes of the second factor, and changes of what people sign in with.

Signals change nothing here. allauth has no other hook for these moments.
"""

from typing import Any

from allauth.account.signals import password_changed, password_reset, password_set
from allauth.mfa.signals import (
    authentication_failed,
    authenticator_added,
    authenticator_removed,
    authenticator_reset,
    authenticator_used,
)
from allauth.socialaccount.signals import social_account_added, social_account_removed

from accounts.actions import actor_for
from accounts.adapter import record_step_up
from accounts.models import User
from accounts.step_up import method_of
from audit.actions import ANONYMOUS, Target, record


def connect() -> None:
    """Listen. Called when the apps are ready; the names keep a second call from recording twice."""
    authenticator_used.connect(_code_accepted, dispatch_uid="accounts.code_accepted")
    authentication_failed.connect(_code_refused, dispatch_uid="accounts.code_refused")
    social_account_added.connect(_provider_added, dispatch_uid="accounts.provider_added")
    social_account_removed.connect(_provider_removed, dispatch_uid="accounts.provider_removed")
    for signal, action in CHANGES.items():
        signal.connect(_LISTENERS[action], dispatch_uid=f"accounts.{action}")


def _provider_added(*, sociallogin: Any, **_: Any) -> None:
    user = sociallogin.user
    record(action="credential.provider_add", target=Target("user", user.pseudonym), actor=actor_for(user=user))


def _provider_removed(*, socialaccount: Any, **_: Any) -> None:
    user = socialaccount.user
    record(action="credential.provider_remove", target=Target("user", user.pseudonym), actor=actor_for(user=user))


def _code_accepted(*, user: User, authenticator: Any, reauthenticated: bool = False, **_: Any) -> None:
    if reauthenticated:
        record_step_up(user, method_of(authenticator.type), proved=True)


def _code_refused(*, user: User, reauthentication: bool = False, **_: Any) -> None:
    if reauthentication:
        record_step_up(user, "mfa", proved=False)
    else:
        record(
            action="session.sign_in",
            target=Target("user", user.pseudonym),
            actor=ANONYMOUS,
            data={"method": "mfa"},
            outcome="failed",
        )


CHANGES = {
    password_changed: "credential.password_change",
    password_set: "credential.password_set",
    password_reset: "credential.password_reset",
    authenticator_added: "credential.second_factor_add",
    authenticator_removed: "credential.second_factor_remove",
    authenticator_reset: "credential.second_factor_reset",
}


def _listener(action: str) -> Any:
    def listen(*, user: User, authenticator: Any = None, **_: Any) -> None:
        data = {"type": str(authenticator.type)} if authenticator is not None else None
        record(action=action, target=Target("user", user.pseudonym), actor=actor_for(user=user), data=data)

    return listen


# Django keeps only weak references to listeners, so they live here.
_LISTENERS = {action: _listener(action) for action in CHANGES.values()}
