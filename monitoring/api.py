"""The API of monitoring: data in (monitoring/ingest.py), and what was made of it."""

from typing import Any

import django_filters
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.problems import Problem
from monitoring import intake
from monitoring.actions import Refused, change_rule, unwatch_endpoint, watch_endpoint
from monitoring.comparing import api as comparing
from monitoring.inbound import api as inbound
from monitoring.ingest import LabelsView, MetricsView, PredictionsView
from monitoring.models import (
    Alert,
    Delivery,
    Finding,
    MetricHour,
    MetricMinute,
    MetricPoint,
    Monitor,
    Rollup,
    Rule,
    Window,
)
from monitoring.quality import api as quality_api
from monitoring.questions import limits_in_words
from monitoring.rows import MOST_ROWS, ReadingRefused, read_rows
from monitoring.rules import api as rules_api
from monitoring.sketch import quantile
from monitoring.store import StoreDamaged
from registry.models import Endpoint


class MonitorSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Monitor
        fields = [
            "endpoint", "enabled", "window_seconds", "grace_seconds", "label_delay_seconds", "next_window_at",
        ]  # fmt: skip


class WatchSerializer(serializers.Serializer):
    """How an endpoint is watched. The last three are for rules that it does not have yet."""

    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.all())
    window_seconds = serializers.IntegerField(required=False)
    grace_seconds = serializers.IntegerField(required=False)
    label_delay_seconds = serializers.IntegerField(required=False)
    min_rows = serializers.IntegerField(required=False)
    for_windows = serializers.IntegerField(required=False)
    clear_windows = serializers.IntegerField(required=False)


class UnwatchSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=2000)


class DeliverySerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    host = serializers.CharField(source="host.name", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Delivery
        fields = [
            "id", "source", "sender", "key", "endpoint", "host", "content_type", "size", "sha256", "state", "rows",
            "error", "received_at", "processed_at",
        ]  # fmt: skip


class WindowSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Window
        fields = ["id", "endpoint", "start", "end", "state", "rows", "labelled", "due_at", "judged_at"]


class FindingSerializer(serializers.ModelSerializer):
    endpoint = serializers.CharField(source="rule.endpoint.slug", read_only=True)
    rule = serializers.CharField(source="rule.kind", read_only=True)
    host = serializers.CharField(source="host.name", read_only=True, allow_null=True)
    start = serializers.DateTimeField(source="window.start", read_only=True)
    end = serializers.DateTimeField(source="window.end", read_only=True)

    class Meta:
        model = Finding
        fields = [
            "id", "endpoint", "rule", "window", "start", "end", "version", "host", "answer", "value", "limit", "rows",
            "sentence", "data",
        ]  # fmt: skip


class AlertSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    rule = serializers.CharField(source="rule.kind", read_only=True, allow_null=True)
    host = serializers.CharField(source="host.name", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Alert
        fields = [
            "id", "fingerprint", "source", "endpoint", "rule", "alert_rule", "version", "host", "state", "severity",
            "summary", "labels", "annotations", "suppressed_by", "started_at", "fired_at", "last_seen_at", "ended_at",
        ]  # fmt: skip


class RuleSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    limits = serializers.SerializerMethodField()

    class Meta:
        model = Rule
        fields = [
            "id", "endpoint", "kind", "params", "limits", "for_windows", "clear_windows", "min_rows", "severity",
            "enabled",
        ]  # fmt: skip

    def get_limits(self, rule: Rule) -> str:
        return limits_in_words(rule.kind, rule.params)


class RuleChangeSerializer(serializers.Serializer):
    params = serializers.DictField(child=serializers.FloatField(), required=False)
    for_windows = serializers.IntegerField(required=False)
    clear_windows = serializers.IntegerField(required=False)
    min_rows = serializers.IntegerField(required=False)
    severity = serializers.IntegerField(required=False)
    enabled = serializers.BooleanField(required=False)
    reason = serializers.CharField(max_length=2000)


class PointSerializer(serializers.ModelSerializer):
    endpoint = serializers.CharField(source="series.endpoint.slug", read_only=True)
    name = serializers.CharField(source="series.name", read_only=True)
    host = serializers.CharField(source="series.host.name", read_only=True, allow_null=True)
    version = serializers.CharField(source="series.version", read_only=True)
    column = serializers.CharField(source="series.column", read_only=True)
    unit = serializers.CharField(source="series.unit", read_only=True)

    class Meta:
        model = MetricPoint
        fields = ["endpoint", "name", "host", "version", "column", "unit", "at", "value", "n"]


class RollupSerializer(serializers.Serializer):
    """What a minute or an hour of a series comes to. Quantiles are within 1 % of the true ones."""

    endpoint = serializers.CharField(source="series.endpoint.slug")
    name = serializers.CharField(source="series.name")
    host = serializers.CharField(source="series.host.name", allow_null=True, default=None)
    version = serializers.CharField(source="series.version")
    column = serializers.CharField(source="series.column")
    unit = serializers.CharField(source="series.unit")
    end = serializers.DateTimeField(source="bin", help_text="It holds the points up to and at this moment.")
    count = serializers.IntegerField(help_text="Points.")
    n = serializers.IntegerField(help_text="Observations behind them.")
    low = serializers.FloatField()
    high = serializers.FloatField()
    total = serializers.FloatField()
    last = serializers.FloatField()
    p50 = serializers.SerializerMethodField()
    p95 = serializers.SerializerMethodField()
    p99 = serializers.SerializerMethodField()

    def get_p50(self, rollup: Rollup) -> float:
        return quantile(bytes(rollup.sketch), 0.5)

    def get_p95(self, rollup: Rollup) -> float:
        return quantile(bytes(rollup.sketch), 0.95)

    def get_p99(self, rollup: Rollup) -> float:
        return quantile(bytes(rollup.sketch), 0.99)


class WindowFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")
    since = django_filters.IsoDateTimeFilter("end", "gt")
    until = django_filters.IsoDateTimeFilter("start", "lt")

    class Meta:
        model = Window
        fields = ["endpoint", "state"]


class DeliveryFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")

    class Meta:
        model = Delivery
        fields = ["endpoint", "source", "sender", "state"]


class FindingFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("rule__endpoint__slug")
    rule = django_filters.CharFilter("rule__kind")
    since = django_filters.IsoDateTimeFilter("window__end", "gt")
    until = django_filters.IsoDateTimeFilter("window__start", "lt")

    class Meta:
        model = Finding
        fields = ["endpoint", "rule", "answer", "version", "window"]


class AlertFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")

    class Meta:
        model = Alert
        fields = ["endpoint", "state", "source", "version", "fingerprint", "alert_rule", "suppressed_by"]


class RuleFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")

    class Meta:
        model = Rule
        fields = ["endpoint", "kind"]


class PointFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("series__endpoint__slug")
    name = django_filters.CharFilter("series__name")
    host = django_filters.CharFilter("series__host__name")
    version = django_filters.CharFilter("series__version")
    since = django_filters.IsoDateTimeFilter("at", "gt")
    until = django_filters.IsoDateTimeFilter("at", "lte")

    class Meta:
        model = MetricPoint
        fields: list[str] = []


class RollupFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("series__endpoint__slug")
    name = django_filters.CharFilter("series__name")
    host = django_filters.CharFilter("series__host__name")
    version = django_filters.CharFilter("series__version")
    since = django_filters.IsoDateTimeFilter("bin", "gt")
    until = django_filters.IsoDateTimeFilter("bin", "lte")


class ReadViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    permission_classes = [HasScope]
    required_scope: Any = "view"


class MonitorViewSet(ReadViewSet):
    """Which endpoints are watched, and how. Posting watches one, or changes how it is watched."""

    queryset = Monitor.objects.select_related("endpoint").order_by("endpoint__slug")
    serializer_class = MonitorSerializer
    lookup_field = "endpoint__slug"
    lookup_url_kwarg = "endpoint"
    filterset_fields = ["enabled"]
    required_scope = {"create": "admin", "stop": "admin", "*": "view"}

    @extend_schema(request=WatchSerializer, responses={201: MonitorSerializer})
    def create(self, request: Request) -> Response:
        asked = WatchSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            monitor = watch_endpoint(**asked.validated_data, actor=actor_for(request=request))
        except Refused as refused:
            raise Problem(status.HTTP_400_BAD_REQUEST, "monitor-refused", str(refused)) from refused
        return Response(MonitorSerializer(monitor).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=UnwatchSerializer, responses=MonitorSerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, endpoint: str) -> Response:
        """Watch it no longer; alerts of its rules end."""
        monitor = self.get_object()
        asked = UnwatchSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        reason, actor = asked.validated_data["reason"], actor_for(request=request)
        if not unwatch_endpoint(endpoint=monitor.endpoint, reason=reason, actor=actor):
            raise Problem(409, "not-watched", f"{endpoint} is not watched. Nothing was changed.")
        return Response(MonitorSerializer(self.get_object()).data)


class DeliveryViewSet(ReadViewSet):
    """What was sent in, newest first; `?state=unparseable` lists what could not be read, and why."""

    required_scope = {"read_again": "incident.respond", "*": "view"}
    queryset = Delivery.objects.select_related("endpoint", "host").defer("body").order_by("-received_at", "-id")
    serializer_class = DeliverySerializer
    filterset_class = DeliveryFilter

    @extend_schema(request=None, responses=DeliverySerializer)
    @action(detail=True, methods=["post"], url_path="read-again")
    def read_again(self, request: Request, pk: str) -> Response:
        """Have a delivery that could not be read be read once more, as after the registry was mended."""
        delivery = self.get_object()
        if not intake.read_again(delivery=delivery, actor=actor_for(request=request)):
            raise Problem(409, "nothing-to-read", "It was read meanwhile, or its body is gone.")
        delivery.refresh_from_db(fields=["state", "error"])
        return Response(DeliverySerializer(delivery).data)


class WindowViewSet(ReadViewSet):
    """Spans of an endpoint's traffic, newest first."""

    queryset = Window.objects.select_related("endpoint").order_by("-start", "-id")
    serializer_class = WindowSerializer
    filterset_class = WindowFilter


class FindingViewSet(ReadViewSet):
    """The answers of rules about windows, newest first."""

    queryset = Finding.objects.select_related("rule__endpoint", "window", "host").order_by("-window__start", "id")
    serializer_class = FindingSerializer
    filterset_class = FindingFilter


class AlertViewSet(ReadViewSet):
    """Alerts of rules and webhooks, newest first."""

    queryset = Alert.objects.select_related("endpoint", "rule", "host").order_by("-fired_at", "-id")
    serializer_class = AlertSerializer
    filterset_class = AlertFilter


class RuleViewSet(ReadViewSet):
    """The rules of each endpoint, with their limits in words. Administrators may change them."""

    queryset = Rule.objects.select_related("endpoint").order_by("endpoint_id", "kind")
    serializer_class = RuleSerializer
    filterset_class = RuleFilter
    required_scope = {"partial_update": "admin", "*": "view"}

    @extend_schema(request=RuleChangeSerializer, responses=RuleSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        asked = RuleChangeSerializer(data=request.data, partial=False)
        asked.is_valid(raise_exception=True)
        changes = dict(asked.validated_data)
        reason = changes.pop("reason")
        try:
            rule = change_rule(rule=self.get_object(), changes=changes, reason=reason, actor=actor_for(request=request))
        except Refused as refused:
            raise Problem(status.HTTP_400_BAD_REQUEST, "rule-refused", str(refused)) from refused
        return Response(RuleSerializer(rule).data)


class PointViewSet(mixins.ListModelMixin, viewsets.GenericViewSet):
    """Metric points, newest first: what windows showed, and what was pushed."""

    permission_classes = [HasScope]
    required_scope = "view"
    queryset = MetricPoint.objects.select_related("series__endpoint", "series__host").order_by("-at", "series_id")
    serializer_class = PointSerializer
    filterset_class = PointFilter


class MinuteViewSet(mixins.ListModelMixin, viewsets.GenericViewSet):
    """What each minute of a series comes to, newest first."""

    permission_classes = [HasScope]
    required_scope = "view"
    queryset = MetricMinute.objects.select_related("series__endpoint", "series__host").order_by("-bin", "series_id")
    serializer_class = RollupSerializer
    filterset_class = RollupFilter


class HourViewSet(MinuteViewSet):
    """What each hour of a series comes to, newest first."""

    queryset = MetricHour.objects.select_related("series__endpoint", "series__host").order_by("-bin", "series_id")


class RowsRequestSerializer(serializers.Serializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.all())
    since = serializers.DateTimeField()
    until = serializers.DateTimeField(help_text="Not included; at most 31 days after `since`.")
    version = serializers.CharField(required=False, allow_blank=True, max_length=40)
    host = serializers.CharField(required=False, allow_blank=True, max_length=50)
    limit = serializers.IntegerField(required=False, min_value=1, max_value=MOST_ROWS, default=100)
    reason = serializers.CharField(max_length=2000, help_text="Why rows about people are read; goes on record.")


class RowsSerializer(serializers.Serializer):
    found = serializers.IntegerField(help_text="Predictions in the span; the oldest of them are in `rows`.")
    columns = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.DictField())


class PredictionRowsView(APIView):
    """Single predictions with their inputs: each is about a person. The reading is recorded, with its reason."""

    permission_classes = [HasScope]
    required_scope = "predictions.read"

    @extend_schema(operation_id="predictions_read", request=RowsRequestSerializer, responses=RowsSerializer)
    def post(self, request: Request) -> Response:
        asked = RowsRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            found = read_rows(**asked.validated_data, actor=actor_for(request=request))
        except ReadingRefused as refused:
            raise serializers.ValidationError(str(refused)) from refused
        except StoreDamaged as damaged:
            raise Problem(409, "store-damaged", str(damaged)) from damaged
        return Response({"found": found.found, "columns": found.columns, "rows": found.rows})


router_entries = [
    ("monitors", MonitorViewSet, "monitor"),
    ("deliveries", DeliveryViewSet, "delivery"),
    *inbound.router_entries,
    ("windows", WindowViewSet, "window"),
    ("findings", FindingViewSet, "finding"),
    ("alerts", AlertViewSet, "alert"),
    ("rules", RuleViewSet, "rule"),
    *rules_api.router_entries,
    *comparing.router_entries,
    ("metrics", PointViewSet, "metric"),
    ("metrics-by-minute", MinuteViewSet, "metric-minute"),
    ("metrics-by-hour", HourViewSet, "metric-hour"),
]

api_urlpatterns = [
    path("predictions/read/", PredictionRowsView.as_view(), name="predictions-read"),
    path("ingest/predictions/", PredictionsView.as_view(), name="ingest-predictions"),
    path("ingest/labels/", LabelsView.as_view(), name="ingest-labels"),
    path("ingest/metrics/", MetricsView.as_view(), name="ingest-metrics"),
    *inbound.api_urlpatterns,
    *comparing.api_urlpatterns,
    *quality_api.api_urlpatterns,
]
