"""allauth's hooks for people who come from an OpenID Connect provider."""

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.contrib import messages
from django.http import HttpRequest
from django.shortcuts import redirect

from accounts.models import User
from audit.actions import ANONYMOUS, Target, record, service_actor


class OidcAdapter(DefaultSocialAccountAdapter):
    """Who comes for the first time gets an account without any role; whose address is known here is nobody new."""

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return True

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """One person, one account: else somebody could fill two seats, or take over an account by its address."""
        address = (sociallogin.user.email or "").strip()
        connects = sociallogin.state.get("process") == "connect"
        if sociallogin.is_existing or connects or not address:
            return
        if User.objects.filter(email__iexact=address).exists():
            self.on_authentication_error(request, None)
            messages.error(
                request,
                "There is an account with your address here. Sign in to it as before, and connect the provider under "
                "your account; then you can sign in with either.",
            )
            raise ImmediateHttpResponse(redirect("account_login"))

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> Any:
        user = super().save_user(request, sociallogin, form)
        record(action="user.create", target=Target("user", user.pseudonym), actor=service_actor("oidc"))
        return user

    def on_authentication_error(self, request: HttpRequest, provider: Any, *_: Any, **__: Any) -> None:
        """A sign-in that the provider or we refused."""
        record(
            action="session.sign_in",
            target=Target("session", "sign-in"),
            actor=ANONYMOUS,
            data={"method": "oidc"},
            outcome="failed",
        )
