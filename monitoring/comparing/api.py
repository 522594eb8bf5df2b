"""The API of comparisons."""

from django.shortcuts import get_object_or_404
from django.urls import path
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import HasScope
from accounts.problems import Problem
from monitoring.comparing.columns import NothingThere
from monitoring.comparing.comparison import compare_sides
from monitoring.comparing.sides import AGAINST, BadSide, asked_by
from monitoring.sketches import TooMuch
from monitoring.store import StoreDamaged
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
    OpenApiParameter("exact", int, description="1: computed from the rows, and not from sketches of them."),
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
    """Two spans, versions or hosts of an endpoint, or one and its training data, held against each other."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(operation_id="comparison", parameters=[*OTHERS, *SIDES], responses=ComparisonSerializer)
    def get(self, request: Request) -> Response:
        endpoint = get_object_or_404(Endpoint, slug=request.query_params.get("endpoint", ""))
        try:
            found = compare_sides(asked_by(endpoint, request.query_params.dict(), timezone.now()))
        except (BadSide, NothingThere, TooMuch) as refused:
            raise serializers.ValidationError(str(refused)) from refused
        except StoreDamaged as damaged:
            raise Problem(409, "store-damaged", str(damaged)) from damaged
        return Response(ComparisonSerializer(found.to_json()).data)


api_urlpatterns = [path("comparison/", ComparisonView.as_view(), name="comparison")]
