"""The API of alerts from outside: where they come in, and the ledger of what came."""

import django_filters
from django.urls import path
from rest_framework import mixins, serializers, viewsets

from accounts.api import HasScope
from monitoring.inbound.entrance import AlertmanagerView, GrafanaView, JsonView, PagerDutyView
from monitoring.inbound.models import Arrival, ArrivalAlert


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


router_entries = [("arrivals", ArrivalViewSet, "arrival")]

api_urlpatterns = [
    path("ingest/alertmanager/<slug:sender>/", AlertmanagerView.as_view(), name="ingest-alertmanager"),
    path("ingest/grafana/<slug:sender>/", GrafanaView.as_view(), name="ingest-grafana"),
    path("ingest/json/<slug:sender>/", JsonView.as_view(), name="ingest-json"),
    path("ingest/pagerduty/<slug:sender>/v2/enqueue", PagerDutyView.as_view(), name="ingest-pagerduty"),
]
