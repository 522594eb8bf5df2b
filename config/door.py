"""The way in for programs that bring data: the same middleware but for what only browsers and people need. Composing
sessions, forms, messages and static files around each delivery took a fifth of its processor time.
"""

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
PLACE = "/api/v1/ingest/"
KEPT = frozenset(
    {
        "config.latency.measured",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "csp.middleware.CSPMiddleware",
        "config.middleware.safe_answers",
        "django.middleware.common.CommonMiddleware",
    }
)


class ProgramsHandler(WSGIHandler):
    """Django with the middleware of KEPT alone. Nothing behind it may ask for a session."""

    def load_middleware(self, is_async: bool = False) -> None:
        whole = settings.MIDDLEWARE
        settings.MIDDLEWARE = [name for name in whole if name in KEPT]
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
