"""Errors as RFC 9457 problem details, for every answer of the API that is not a success."""

from typing import Any
from urllib.parse import quote

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, JsonResponse
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import set_rollback

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "/problems/"

TITLES = {
    400: "The request can't be used as it is",
    401: "Sign in, or send a token",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "No such representation",
    409: "In conflict with the present state",
    412: "Changed in the meantime",
    413: "Too large",
    415: "Unsupported media type",
    422: "Understood, but not acceptable",
    428: "Say which version you saw",
    429: "Too many requests",
    500: "Something broke on our side",
    503: "Not available right now",
}


class Problem(exceptions.APIException):
    """Raise it anywhere below an API view: it becomes the answer. `kind` is the last part of the problem's type URI."""

    def __init__(self, status_code: int, kind: str, detail: str, **members: Any) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.kind = kind
        self.members = members


def problem_body(status_code: int, kind: str, detail: str, instance: str = "", **members: Any) -> dict[str, Any]:
    body = {
        "type": TYPE_BASE + kind,
        "title": TITLES.get(status_code, "Error"),
        "status": status_code,
        "detail": detail,
    }
    if instance:
        body["instance"] = quote(instance)
    return body | members


def problem_response(request: HttpRequest, status_code: int, kind: str, detail: str, **members: Any) -> JsonResponse:
    """For plain Django views below /api/."""
    body = problem_body(status_code, kind, detail, request.path, **members)
    return JsonResponse(body, status=status_code, content_type=MEDIA_TYPE)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's hook: turn what was raised into a problem; what is not expected goes on to Django's 500."""
    translated = _translate(error)
    if translated is None:
        return None
    set_rollback()
    request = context.get("request")
    instance = request.path if request is not None else ""
    members: dict[str, Any] = dict(getattr(translated, "members", {}))
    kind = getattr(translated, "kind", "") or str(translated.default_code).replace("_", "-")
    detail = translated.detail
    if isinstance(translated, exceptions.ValidationError):
        members["errors"] = _flatten(detail)
        sentence = "; ".join(f"{entry['field']}: {entry['detail']}" for entry in members["errors"]) or "Invalid."
    else:
        sentence = str(detail)
    body = problem_body(translated.status_code, kind, sentence, instance, **members)
    response = Response(body, status=translated.status_code, content_type=MEDIA_TYPE)
    if header := getattr(translated, "auth_header", None):
        response["WWW-Authenticate"] = header
    if wait := getattr(translated, "wait", None):
        response["Retry-After"] = str(int(wait))
    return response


def _translate(error: Exception) -> exceptions.APIException | None:
    if isinstance(error, exceptions.APIException):
        return error
    if isinstance(error, Http404):
        return exceptions.NotFound(str(error) or None)
    if isinstance(error, PermissionDenied):
        return exceptions.PermissionDenied(str(error) or None)
    if isinstance(error, ValidationError):
        return exceptions.ValidationError(getattr(error, "message_dict", None) or error.messages)
    if isinstance(error, DataError):
        # Of the right shape, and beyond what PostgreSQL has a place for, such as an offset of 23 hours.
        return Problem(status.HTTP_400_BAD_REQUEST, "invalid", "A value is outside of what can be kept here.")
    if isinstance(error, OperationalError):
        unavailable = Problem(status.HTTP_503_SERVICE_UNAVAILABLE, "unavailable", "The database is down. Try again.")
        unavailable.wait = 5
        return unavailable
    return None


def _flatten(detail: Any, field: str = "") -> list[dict[str, str]]:
    """Nested validation errors as a flat list of {"field", "detail"}."""
    if isinstance(detail, dict):
        return [entry for key, value in detail.items() for entry in _flatten(value, f"{field}.{key}".strip("."))]
    if isinstance(detail, list):
        return [entry for value in detail for entry in _flatten(value, field)]
    return [{"field": field or "request", "detail": str(detail)}]
