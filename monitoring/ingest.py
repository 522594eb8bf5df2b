"""The API's entrance for data: authenticated, small enough, stored and committed, then answered. Read later."""

from typing import Any

from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import HasScope, TokenAuthentication
from accounts.parsers import limited_body
from accounts.problems import Problem
from monitoring import intake
from monitoring.exposition import OPENMETRICS, TEXT, read_points
from monitoring.models import Delivery
from monitoring.reading import ARROW, Unreadable
from registry.models import Endpoint, Host

JSON_LINES = "application/x-ndjson"

ENDPOINT = OpenApiParameter("endpoint", str, required=True, description="Slug of the endpoint that answered.")
HOST = OpenApiParameter("host", str, description="Name of the host that answered.")
KEY = OpenApiParameter("Idempotency-Key", str, OpenApiParameter.HEADER, description="Default: SHA-256 of the body.")
ACCEPTED = inline_serializer("Accepted", {"delivery": serializers.UUIDField(), "state": serializers.CharField()})
PROBLEM = OpenApiTypes.OBJECT
RESPONSES = {200: ACCEPTED, 202: ACCEPTED, 404: PROBLEM, 409: PROBLEM, 413: PROBLEM, 503: PROBLEM}


class IngestView(APIView):
    """Takes one delivery: 202 when it is stored, 200 when it had come before, 503 when it must be sent again."""

    authentication_classes = [TokenAuthentication]
    permission_classes = [HasScope]
    parser_classes: list[Any] = []
    required_scope = "ingest"
    source: str

    def take(self, request: Request, *, endpoint: Endpoint | None, host: Host | None) -> Response:
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > 100 or not key.isprintable():
            raise Problem(400, "key-too-long", "An Idempotency-Key has at most 100 printable characters.")
        content_type, body = request.content_type or "", limited_body(request._request)
        return self.accepted(key=key, endpoint=endpoint, host=host, content_type=content_type, body=body)

    def accepted(self, **delivered: Any) -> Response:
        try:
            delivery, created = intake.accept(source=self.source, **delivered)
        except intake.KeyReused as reused:
            raise Problem(status.HTTP_409_CONFLICT, "key-reused", str(reused)) from reused
        return answer(delivery, created)


def answer(delivery: Delivery, created: bool, **more: str) -> Response:
    """202 with the delivery that was stored, 200 with the one that came before."""
    told = {"delivery": str(delivery.pk), "state": delivery.state} | more
    return Response(told, status=status.HTTP_202_ACCEPTED if created else status.HTTP_200_OK)


class EndpointIngestView(IngestView):
    """A delivery about one endpoint."""

    def post(self, request: Request) -> Response:
        slug, name = request.query_params.get("endpoint", ""), request.query_params.get("host", "")
        endpoint = Endpoint.objects.filter(slug=slug).first()
        if endpoint is None:
            raise Problem(404, "no-such-endpoint", f"No endpoint is called {slug!r}. Add ?endpoint=<slug> of one.")
        return self.take(request, endpoint=endpoint, host=Host.objects.filter(name=name).first() if name else None)


class PredictionsView(EndpointIngestView):
    source = intake.PREDICTIONS

    @extend_schema(parameters=[ENDPOINT, HOST, KEY], request={ARROW: bytes, JSON_LINES: bytes}, responses=RESPONSES)
    def post(self, request: Request) -> Response:
        """Predictions of a host, as an Arrow stream or JSON lines in the columns of the prediction log."""
        return super().post(request)


class LabelsView(EndpointIngestView):
    source = intake.LABELS

    @extend_schema(parameters=[ENDPOINT, KEY], request={JSON_LINES: bytes}, responses=RESPONSES)
    def post(self, request: Request) -> Response:
        """The truth about predictions, as JSON lines {"id", "label", "ts"}; a later one replaces an earlier one."""
        return super().post(request)


class MetricsView(EndpointIngestView):
    source = intake.METRICS

    @extend_schema(
        parameters=[ENDPOINT, HOST, KEY],
        request={JSON_LINES: bytes, OPENMETRICS: bytes, TEXT: bytes},
        responses=RESPONSES | {400: PROBLEM},
    )
    def post(self, request: Request) -> Response:
        """Metric points: JSON lines {"name", "ts", "value"} with n, host, version, column, unit where they apply, or
        OpenMetrics, or Prometheus' text format. 400 for what can't be read; it is kept for people to see."""
        return super().post(request)

    def accepted(self, **delivered: Any) -> Response:
        stored = super().accepted(**delivered)
        try:
            read_points(delivered["content_type"], delivered["body"], received_at=timezone.now())
        except Unreadable as error:
            # It was stored all the same: nothing that was sent is lost, and its reason is shown.
            kept = f"It is kept as delivery {stored.data['delivery']}."
            raise Problem(status.HTTP_400_BAD_REQUEST, "unreadable", f"{error} {kept}") from error
        return stored
