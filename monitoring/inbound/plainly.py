"""What a message must be to be taken without the machinery that finds out what is wrong with one, and its answer.

Three questions to the database and what the REST framework does around them took two thirds of a delivery's time.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.http import HttpRequest, HttpResponse

from accounts.actions import token_digest
from accounts.authentication import TOKEN_SHAPE
from accounts.parsers import declared_length
from monitoring.inbound import formats
from monitoring.models import Delivery

SIGNED = ("HTTP_WEBHOOK_SIGNATURE", "HTTP_X_GRAFANA_ALERTING_SIGNATURE")
ANY_ANSWER = ("", "*/*", "application/json")
MOST_KEY = 100


def token_of(request: HttpRequest, source: str) -> str:
    """SHA-256 (hex) of the token that alone vouches for the message; empty where it is not so plain."""
    given = request.META
    scheme, _, secret = given.get("HTTP_AUTHORIZATION", "").partition(" ")
    key = given.get("HTTP_IDEMPOTENCY_KEY", "")
    plain = (
        request.method == "POST"
        and source != formats.PAGERDUTY
        and scheme == "Bearer"
        and TOKEN_SHAPE.fullmatch(secret) is not None
        and 0 < declared_length(request) <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        and given.get("HTTP_ACCEPT", "") in ANY_ANSWER
        and len(key) <= MOST_KEY
        and key.isprintable()
        and not request.GET
        and not any(name in given for name in SIGNED)
    )
    return token_digest(secret) if plain else ""


@contextmanager
def without_asking() -> Iterator[None]:
    """Use the connection without asking first whether it still stands. Where it does not, the statement fails, and who
    comes next asks."""
    connection.health_check_done = True
    try:
        yield
    except (DatabaseError, InterfaceError):
        connection.health_check_done = False
        raise


def answer(delivery: Delivery, methods: list[str]) -> HttpResponse:
    """202, as `monitoring.ingest.answer` says it."""
    told = json.dumps({"delivery": str(delivery.pk), "state": delivery.state}, separators=(",", ":"))
    return HttpResponse(told, status=202, content_type="application/json", headers={"Allow": ", ".join(methods)})
