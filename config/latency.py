"""How long requests take, by what kind of request it was: for `/metrics`, over all web processes.

With PROMETHEUS_MULTIPROC_DIR, an empty folder, processes count in files of it, and whichever answers tells of all;
without it, each tells of itself. `manage.py up` sets it.
"""

import os
import time
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10)
READS = ("GET", "HEAD", "OPTIONS")

_requests = Histogram(
    "lastgood_request_seconds",
    "Time from a request to its answer, by kind (page, verb, api_read, api_write, ingest, health) and class of status",
    ["kind", "status"],
    buckets=BUCKETS,
    registry=None,
)

GetResponse = Callable[[HttpRequest], HttpResponse]


def measured(get_response: GetResponse) -> GetResponse:
    """Middleware that counts every request but those for static files."""

    def answer(request: HttpRequest) -> HttpResponse:
        begun = time.monotonic()
        response = get_response(request)
        if not request.path.startswith(settings.STATIC_URL):
            status = f"{response.status_code // 100}xx"
            observe(kind_of(request), status, time.monotonic() - begun)
        return response

    return answer


def observe(kind: str, status: str, seconds: float) -> None:
    """Count a request of a kind whose answer was of a class of status, such as 2xx."""
    _requests.labels(kind, status).observe(seconds)


def kind_of(request: HttpRequest) -> str:
    """What kind of request it is; few enough that each has a row."""
    if request.path in ("/healthz", "/readyz", "/metrics"):
        return "health"
    if request.path.startswith("/api/"):
        if request.path.startswith("/api/v1/ingest/"):
            return "ingest"
        return "api_read" if request.method in READS else "api_write"
    return "page" if request.method in READS else "verb"


def add_to(registry: CollectorRegistry) -> None:
    """Have the registry tell of the requests of all web processes, or of this one where it is alone."""
    if os.environ.get(FOLDER):
        MultiProcessCollector(registry)
    else:
        registry.register(_requests)
