"""The API of pulled metrics: sources, stored queries, pages of figures."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.problems import Problem
from monitoring.pull import actions
from monitoring.pull.models import Credential, Exporter, Query, Scrape, Source
from registry.models import Endpoint, Host


class SourceSerializer(serializers.ModelSerializer):
    class Meta:
        model = Source
        fields = ["name", "address", "credential", "username", "host_label", "created_at", "ended_at"]


class CredentialSerializer(serializers.Serializer):
    credential = serializers.ChoiceField(choices=Credential.choices, default=Credential.NONE)
    username = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    secret = serializers.CharField(
        max_length=2000, required=False, allow_blank=True, default="", write_only=True, help_text="Never shown again."
    )


class NewSourceSerializer(CredentialSerializer):
    name = serializers.SlugField(max_length=40)
    address = serializers.URLField(max_length=500, help_text="Without /api/v1.")
    host_label = serializers.CharField(max_length=60, required=False, default="instance")


class QuerySerializer(serializers.ModelSerializer):
    source = serializers.SlugRelatedField(slug_field="name", read_only=True)
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)

    class Meta:
        model = Query
        fields = [
            "id", "source", "endpoint", "name", "promql", "unit", "step_seconds", "done_until", "answered_at", "lines",
            "points", "problem", "created_at", "ended_at",
        ]  # fmt: skip


class NewQuerySerializer(serializers.Serializer):
    source = serializers.SlugRelatedField(slug_field="name", queryset=Source.objects.all())
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    name = serializers.CharField(max_length=60)
    promql = serializers.CharField(max_length=2000)
    step_seconds = serializers.IntegerField(required=False, default=60)
    unit = serializers.CharField(max_length=20, required=False, allow_blank=True, default="")


class ScrapeSerializer(serializers.ModelSerializer):
    host = serializers.SlugRelatedField(slug_field="name", read_only=True)

    class Meta:
        model = Scrape
        fields = [
            "id", "host", "exporter", "address", "every_seconds", "answered_at", "down_since", "problem", "ended_at",
        ]  # fmt: skip


class NewScrapeSerializer(serializers.Serializer):
    host = serializers.SlugRelatedField(slug_field="name", queryset=Host.objects.all())
    exporter = serializers.ChoiceField(choices=Exporter.choices)
    address = serializers.URLField(max_length=500, help_text="With its path.")
    every_seconds = serializers.IntegerField(required=False, default=15)


class PulledViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """What is pulled can be read by everybody; administrators say what."""

    permission_classes = [HasScope]
    required_scope: Any = {"list": "view", "retrieve": "view", "*": "admin"}
    asked_with: type[serializers.Serializer]

    def _make(self, request: Request, make: Any) -> Response:
        asked = self.asked_with(data=request.data)
        asked.is_valid(raise_exception=True)
        made = self._try(lambda: make(**asked.validated_data, actor=actor_for(request=request)))
        made.refresh_from_db()
        return Response(self.get_serializer_class()(made).data, status=status.HTTP_201_CREATED)

    def _end(self, request: Request, end: Any) -> Response:
        row = self.get_object()
        self._try(lambda: end(row, actor_for(request=request)))
        row.refresh_from_db()
        return Response(self.get_serializer_class()(row).data)

    @staticmethod
    def _try(act: Any) -> Any:
        try:
            return act()
        except actions.PullRefused as refused:
            raise Problem(422, "pull-refused", str(refused)) from refused


class SourceViewSet(PulledViewSet):
    """Servers that answer PromQL."""

    queryset = Source.objects.order_by("name")
    serializer_class = SourceSerializer
    asked_with = NewSourceSerializer
    lookup_field = "name"

    @extend_schema(request=NewSourceSerializer, responses={201: SourceSerializer})
    def create(self, request: Request) -> Response:
        return self._make(request, actions.create_source)

    @extend_schema(request=CredentialSerializer, responses=SourceSerializer)
    @action(detail=True, methods=["post"])
    def credential(self, request: Request, name: str) -> Response:
        """Ask it with another credential from now on."""
        asked = CredentialSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return self._end(request, lambda s, who: actions.set_credential(source=s, **asked.validated_data, actor=who))

    @extend_schema(request=None, responses=SourceSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, name: str) -> Response:
        """Ask it nothing any more."""
        return self._end(request, lambda source, who: actions.end_source(source=source, actor=who))


class QueryViewSet(PulledViewSet):
    """PromQL whose answers become a metric of an endpoint."""

    queryset = Query.objects.select_related("source", "endpoint").order_by("-pk")
    serializer_class = QuerySerializer
    asked_with = NewQuerySerializer

    @extend_schema(request=NewQuerySerializer, responses={201: QuerySerializer})
    def create(self, request: Request) -> Response:
        return self._make(request, actions.create_query)

    @extend_schema(request=None, responses=QuerySerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """Pull it no more; what came stays."""
        return self._end(request, lambda query, who: actions.end_query(query=query, actor=who))


class ScrapeViewSet(PulledViewSet):
    """Pages of figures of hosts and exporters that are read by the clock."""

    queryset = Scrape.objects.select_related("host").order_by("-pk")
    serializer_class = ScrapeSerializer
    asked_with = NewScrapeSerializer

    @extend_schema(request=NewScrapeSerializer, responses={201: ScrapeSerializer})
    def create(self, request: Request) -> Response:
        return self._make(request, actions.scrape_host)

    @extend_schema(request=None, responses=ScrapeSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """Read it no more."""
        return self._end(request, lambda scrape, who: actions.end_scrape(scrape=scrape, actor=who))


router_entries = [
    ("metric-sources", SourceViewSet, "metric-source"),
    ("metric-queries", QueryViewSet, "metric-query"),
    ("scrapes", ScrapeViewSet, "scrape"),
]
