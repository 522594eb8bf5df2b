"""The API of comparisons."""

from collections.abc import Callable
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import require_on
from accounts.problems import Problem
from monitoring.comparing import actions, kept
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import compare_sides
from monitoring.comparing.models import ExactComparison, ExactState
from monitoring.comparing.sides import AGAINST, BadSide, asked_by
from monitoring.sketches import TooMuch
from registry.models import Endpoint

SIDES = [
    OpenApiParameter(f"{side}_{name}", str, description=f"{words}: {what}")
    for side, words in (("a", "The side that is looked at"), ("b", "The side that it is held against"))
    for name, what in (
        ("version", "a version's number; any without"), ("host", "a host's name; any without"),
        ("since", "its beginning, RFC 3339, UTC"), ("until", "its end"),
    )
]  # fmt: skip
OTHERS = [
    OpenApiParameter("endpoint", str, required=True, description="The endpoint's slug."),
    OpenApiParameter("hours", int, description="Instead of a_since: so many hours up to the newest judged window."),
    OpenApiParameter("against", str, enum=list(AGAINST), description="What it is held against; default: training."),
]


class ComparedSideSerializer(serializers.Serializer):
    version = serializers.CharField(allow_blank=True)
    host = serializers.CharField(allow_blank=True)
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    rows = serializers.IntegerField()


class ComparedFigureSerializer(serializers.Serializer):
    name = serializers.CharField()
    found = serializers.ChoiceField(["worse", "better", "other", "alike", "unclear"])
    values = serializers.DictField(child=serializers.FloatField(allow_null=True))


class ComparedColumnSerializer(serializers.Serializer):
    """How a column differs. What a sketch leaves open is never counted, so the true distances are no smaller."""

    column = serializers.CharField()
    kind = serializers.ChoiceField(["numeric", "categorical"])
    answer = serializers.ChoiceField(["drift", "no drift", "not enough data"])
    sentence = serializers.CharField()
    psi = serializers.FloatField(allow_null=True)
    ks = serializers.FloatField(allow_null=True)
    wasserstein = serializers.FloatField(allow_null=True)
    js = serializers.FloatField(allow_null=True)
    chi_square = serializers.FloatField(allow_null=True)
    p_adjusted = serializers.FloatField(allow_null=True)
    missing = serializers.FloatField()
    missing_before = serializers.FloatField()
    rows = serializers.IntegerField()
    rows_before = serializers.IntegerField()
    error = serializers.FloatField(help_text="By how much a share may be another; 0: exact.")
    importance = serializers.FloatField(allow_null=True)


class ComparisonSerializer(serializers.Serializer):
    endpoint = serializers.SlugField()
    sentence = serializers.CharField()
    against = serializers.ChoiceField(list(AGAINST))
    exact = serializers.BooleanField()
    error = serializers.FloatField()
    now = ComparedSideSerializer()
    before = ComparedSideSerializer(allow_null=True)
    training_of = serializers.CharField(allow_null=True, help_text="The version whose training data is the other side.")
    figures = ComparedFigureSerializer(many=True)
    columns = ComparedColumnSerializer(many=True)
    left_out = serializers.ListField(child=serializers.CharField())


class ComparisonView(APIView):
    """Two spans, versions or hosts of an endpoint, or one and its training data, held against each other: from
    sketches of the windows. `exact-comparisons/` has them compared from every row."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(operation_id="comparison", parameters=[*OTHERS, *SIDES], responses=ComparisonSerializer)
    def get(self, request: Request) -> Response:
        endpoint = get_object_or_404(Endpoint, slug=request.query_params.get("endpoint", ""))
        try:
            found = compare_sides(asked_by(endpoint, request.query_params.dict(), timezone.now()))
        except (BadSide, NothingThere, TooMuch) as refused:
            raise serializers.ValidationError(str(refused)) from refused
        return Response(ComparisonSerializer(found.to_json()).data)


class ExactSidesSerializer(serializers.Serializer):
    """Both sides, as the query of `comparison/` names them. A sliding span is fixed when it is asked for."""

    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    hours = serializers.IntegerField(required=False, help_text="Instead of a_since.")
    against = serializers.ChoiceField(list(AGAINST), required=False)
    a_version = serializers.CharField(max_length=50, required=False, allow_blank=True)
    a_host = serializers.CharField(max_length=50, required=False, allow_blank=True)
    a_since = serializers.CharField(max_length=40, required=False, help_text="RFC 3339; UTC without an offset.")
    a_until = serializers.CharField(max_length=40, required=False)
    b_version = serializers.CharField(max_length=50, required=False, allow_blank=True)
    b_host = serializers.CharField(max_length=50, required=False, allow_blank=True)
    b_since = serializers.CharField(max_length=40, required=False)
    b_until = serializers.CharField(max_length=40, required=False)


class ExactComparisonSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    asked_by = serializers.SlugRelatedField(slug_field="username", read_only=True)
    state = serializers.ChoiceField(ExactState.choices, read_only=True)

    class Meta:
        model = ExactComparison
        fields = [
            "id", "endpoint", "asked", "asked_by", "state", "done", "total", "rows", "problem", "sha256", "created_at",
            "started_at", "ended_at",
        ]  # fmt: skip


class ExactResultSerializer(ExactComparisonSerializer):
    comparison = serializers.SerializerMethodField(help_text="What came of it; null until it is done.")

    class Meta(ExactComparisonSerializer.Meta):
        fields = [*ExactComparisonSerializer.Meta.fields, "comparison"]

    @extend_schema_field(ComparisonSerializer(allow_null=True))
    def get_comparison(self, one: ExactComparison) -> dict[str, Any] | None:
        if one.content is None:
            return None
        try:
            found = kept.unpacked(one.endpoint, bytes(one.content), one.sha256)
        except kept.Altered as altered:
            raise Problem(409, "store-damaged", str(altered)) from altered
        return ComparisonSerializer(found.to_json()).data


class ExactComparisonViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Comparisons that a worker computes from every row, followed by asking, and kept with their SHA-256."""

    permission_classes = [HasScope]
    required_scope: Any = {"*": "view"}
    queryset = ExactComparison.objects.select_related("endpoint__model", "asked_by")
    serializer_class = ExactComparisonSerializer

    def get_serializer_class(self) -> type[serializers.Serializer]:
        return ExactResultSerializer if self.action == "retrieve" else ExactComparisonSerializer

    @extend_schema(request=ExactSidesSerializer, responses={201: ExactComparisonSerializer})
    def create(self, request: Request) -> Response:
        given = ExactSidesSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        values = {name: str(value) for name, value in given.validated_data.items() if name != "endpoint"}
        try:
            asked = asked_by(given.validated_data["endpoint"], values, timezone.now())
        except BadSide as refused:
            raise serializers.ValidationError(str(refused)) from refused
        return self._told(lambda: actions.ask_exactly(asked=asked, user=request.user, actor=actor_for(request=request)))

    @extend_schema(request=None, responses=ExactComparisonSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Compute it no further. Who asked for it may, and whoever responds to the model's incidents."""
        one = self.get_object()
        if one.asked_by_id != request.user.pk:
            require_on(request, "incident.respond", one)

        def act() -> ExactComparison:
            actions.cancel(comparison=one, actor=actor_for(request=request))
            return one

        return self._told(act, status.HTTP_200_OK)

    def _told(self, act: Callable[[], ExactComparison], code: int = status.HTTP_201_CREATED) -> Response:
        try:
            one = act()
        except actions.ExactRefused as refused:
            raise Problem(409, "comparison-refused", str(refused)) from refused
        one.refresh_from_db()
        return Response(ExactComparisonSerializer(one).data, status=code)


router_entries = [("exact-comparisons", ExactComparisonViewSet, "exact-comparison")]
api_urlpatterns = [path("comparison/", ComparisonView.as_view(), name="comparison")]
