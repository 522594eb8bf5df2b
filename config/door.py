"""The way in for programs that bring data: the same middleware but for what only browsers and people need. Composing
sessions, forms, messages and static files around each delivery took a fifth of its processor time.
"""

from collections.abc import Callable, Iterable
from typing import Any

from csp.middleware import CSPMiddleware
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse

Environ = dict[str, Any]
GetResponse = Callable[[HttpRequest], HttpResponse]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
PLACE = "/api/v1/ingest/"
KEPT = frozenset(
    {
        "config.latency.measured",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "config.middleware.safe_answers",
        "django.middleware.common.CommonMiddleware",
    }
)


def one_policy(get_response: GetResponse) -> GetResponse:
    """The policy that CSPMiddleware composes for each answer, composed once: no answer here has a nonce in it."""
    bare = HttpResponse()
    CSPMiddleware(get_response).process_response(HttpRequest(), bare)
    policy = {name: value for name, value in bare.items() if name.startswith("Content-Security-Policy")}

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in policy.items():
            response[name] = value
        return response

    return answer


class ProgramsHandler(WSGIHandler):
    """Django with the middleware of KEPT alone. Nothing behind it may ask for a session, or for a nonce."""

    def load_middleware(self, is_async: bool = False) -> None:
        whole = settings.MIDDLEWARE
        settings.MIDDLEWARE = ["config.door.one_policy", *(name for name in whole if name in KEPT)]
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = whole


class Door:
    """The application, with deliveries taken the short way."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.programs = ProgramsHandler()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        brings = environ.get("PATH_INFO", "").startswith(PLACE) and not environ.get("SCRIPT_NAME")
        return (self.programs if brings else self.application)(environ, start_response)
