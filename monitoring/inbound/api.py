"""The API of alerts from outside: where they come in, the ledger of what came, and the senders that sign."""

import django_filters
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.problems import Problem
from monitoring import sources
from monitoring.inbound.entrance import AlertmanagerView, GrafanaView, JsonView, PagerDutyView
from monitoring.inbound.models import Arrival, ArrivalAlert
from monitoring.models import WebhookSource


class ArrivalAlertSerializer(serializers.ModelSerializer):
    class Meta:
        model = ArrivalAlert
        fields = ["fingerprint", "alert", "decision", "incident_ref"]


class ArrivalSerializer(serializers.ModelSerializer):
    alerts = ArrivalAlertSerializer(many=True, read_only=True)
    decided_ms = serializers.IntegerField(read_only=True, allow_null=True)

    class Meta:
        model = Arrival
        fields = [
            "id", "received_at", "source", "sender", "delivery", "sha256", "size", "spooled", "decision", "why",
            "stored_ms", "decided_at", "decided_ms", "alerts",
        ]  # fmt: skip


class ArrivalFilter(django_filters.FilterSet):
    since = django_filters.IsoDateTimeFilter("received_at", "gte")
    until = django_filters.IsoDateTimeFilter("received_at", "lt")
    incident = django_filters.CharFilter("alerts__incident_ref", distinct=True)

    class Meta:
        model = Arrival
        fields = ["source", "sender", "decision", "sha256", "delivery"]


class ArrivalViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The ledger: every message of a sender of alerts, newest first, taken or not, and what came of it."""

    permission_classes = [HasScope]
    required_scope = "view"
    queryset = Arrival.objects.prefetch_related("alerts").order_by("-received_at", "-id")
    serializer_class = ArrivalSerializer
    filterset_class = ArrivalFilter


class WebhookSourceSerializer(serializers.ModelSerializer):
    name = serializers.SlugField(max_length=40)

    class Meta:
        model = WebhookSource
        fields = ["name", "created_at", "previous_until", "ended_at"]
        read_only_fields = ["created_at", "previous_until", "ended_at"]


class WebhookSecretSerializer(WebhookSourceSerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown once.")

    class Meta(WebhookSourceSerializer.Meta):
        fields = [*WebhookSourceSerializer.Meta.fields, "secret"]


class WebhookSourceViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Senders that sign their webhooks, for administrators."""

    serializer_class = WebhookSourceSerializer
    permission_classes = [HasScope]
    required_scope = "admin"
    queryset = WebhookSource.objects.order_by("name")
    lookup_field = "name"

    @extend_schema(request=WebhookSourceSerializer, responses={201: WebhookSecretSerializer})
    def create(self, request: Request) -> Response:
        """A sender and its secret. From now on, nothing unsigned is taken under that name."""
        asked = WebhookSourceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            source, secret = sources.create_source(**asked.validated_data, actor=actor_for(request=request))
        except sources.SourceError as error:
            raise Problem(409, "already-there", str(error)) from error
        return self._secret(source, secret, status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=WebhookSecretSerializer)
    @action(detail=True, methods=["post"])
    def rotate(self, request: Request, name: str) -> Response:
        """Another secret; the one before counts for a day more."""
        source = self.get_object()
        try:
            secret = sources.rotate_source(source=source, actor=actor_for(request=request))
        except sources.SourceError as error:
            raise Problem(409, "ended", str(error)) from error
        return self._secret(source, secret, status.HTTP_200_OK)

    @extend_schema(request=None, responses=WebhookSourceSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, name: str) -> Response:
        """Take nothing of that sender's any more."""
        source = self.get_object()
        try:
            sources.end_source(source=source, actor=actor_for(request=request))
        except sources.SourceError as error:
            raise Problem(409, "ended", str(error)) from error
        source.refresh_from_db()
        return Response(WebhookSourceSerializer(source).data)

    @staticmethod
    def _secret(source: WebhookSource, secret: str, code: int) -> Response:
        source.refresh_from_db()
        source.secret = secret
        return Response(WebhookSecretSerializer(source).data, status=code)


router_entries = [
    ("arrivals", ArrivalViewSet, "arrival"),
    ("webhook-sources", WebhookSourceViewSet, "webhook-source"),
]

api_urlpatterns = [
    path("ingest/alertmanager/<slug:sender>/", AlertmanagerView.as_view(), name="ingest-alertmanager"),
    path("ingest/grafana/<slug:sender>/", GrafanaView.as_view(), name="ingest-grafana"),
    path("ingest/json/<slug:sender>/", JsonView.as_view(), name="ingest-json"),
    path("ingest/pagerduty/<slug:sender>/v2/enqueue", PagerDutyView.as_view(), name="ingest-pagerduty"),
]
