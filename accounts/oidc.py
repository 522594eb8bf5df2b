"""allauth's hooks for people who come from an OpenID Connect provider."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import requests
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter, get_adapter
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from accounts.models import User
from accounts.outgoing import AddressRefused, FetchFailed, ask
from audit.actions import ANONYMOUS, Target, record, service_actor

logger = logging.getLogger(__name__)


class Pinned(requests.adapters.BaseAdapter):
    """What allauth asks the provider goes out as all our requests do: to addresses that were checked when connecting,
    without redirects and proxies, within a time and a size."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        body = request.body or b""
        try:
            answer = ask(
                str(request.method),
                str(request.url),
                networks=settings.LASTGOOD_OIDC_NETWORKS,
                setting="LASTGOOD_OIDC_NETWORKS",
                content=body.encode() if isinstance(body, str) else bytes(body),
                headers={name: str(value) for name, value in request.headers.items() if name != "Accept-Encoding"},
            )
        except (AddressRefused, FetchFailed) as error:
            raise requests.exceptions.ConnectionError(str(error), request=request) from error
        response = requests.Response()
        response.status_code, response.url, response.request = answer.status, str(request.url), request
        response.headers = requests.structures.CaseInsensitiveDict(answer.headers)
        response._content = answer.body
        response.encoding = requests.utils.get_encoding_from_headers(response.headers)
        return response

    def close(self) -> None:
        """The connections are those of the whole process."""


def unreachable_provider(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: where the provider does not answer, or may not be asked, people are told so at the sign-in page."""

    def tell(request: HttpRequest, error: Exception) -> HttpResponse | None:
        if not isinstance(error, requests.RequestException):
            return None
        logger.warning("oidc.unreachable %s", error)
        get_adapter().on_authentication_error(request, None)
        messages.error(request, "Your provider can't be reached from here. Try again, or sign in with your password.")
        return redirect("account_login")

    def answer(request: HttpRequest) -> HttpResponse:
        return get_response(request)

    answer.process_exception = tell  # type: ignore[attr-defined]
    return answer


class OidcAdapter(DefaultSocialAccountAdapter):
    """Who comes for the first time gets an account without any role; whose address is known here is nobody new."""

    def get_requests_session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env, session.max_redirects = False, 0
        for scheme in ("https://", "http://"):
            session.mount(scheme, Pinned())
        return session

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
