"""What holds for every request and every answer, whichever view made it."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.defaults import bad_request

from accounts.problems import problem_response

GetResponse = Callable[[HttpRequest], HttpResponse]
UNUSED = ("camera", "geolocation", "microphone", "payment", "usb", "serial", "midi", "browsing-topics")
PERMISSIONS_POLICY = ", ".join(f"{feature}=()" for feature in UNUSED)


def safe_answers(get_response: GetResponse) -> GetResponse:
    """Answers are kept by no cache unless their view said that they are public, and use nothing of the browser's that
    Lastgood has no use for. Addresses that hold control characters are refused before anything reads them."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request) if _readable(request) else _refused(request)
        response.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        response.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if not request.path.startswith(settings.STATIC_URL) and "public" not in response.get("Cache-Control", ""):
            response["Cache-Control"] = "private, no-store"
            patch_vary_headers(response, ["Cookie"])
        return response

    return answer


def _readable(request: HttpRequest) -> bool:
    """PostgreSQL holds no NUL, and a line break in an address is meant for a log or a header."""
    query = request.META.get("QUERY_STRING", "").lower()
    return request.path.isprintable() and "%00" not in query


def _refused(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem_response(request, 400, "invalid", "The address holds a character that no name here has.")
    return bad_request(request, ValueError())
