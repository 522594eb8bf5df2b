"""The API of a version's quality."""

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
from monitoring.comparing.sides import BadSide
from monitoring.quality.report import quality_of
from monitoring.store import StoreDamaged
from registry.models import Endpoint

PARAMETERS = [
    OpenApiParameter("endpoint", str, required=True, description="The endpoint's slug."),
    OpenApiParameter("a_version", str, description="A version's number; default: the one that answered most."),
    OpenApiParameter("hours", int, description="So many hours up to the newest judged window; default: 24."),
    OpenApiParameter("a_since", str, description="Instead of hours: the beginning, RFC 3339, UTC."),
    OpenApiParameter("a_until", str, description="The end of that span."),
    OpenApiParameter("against", str, enum=["before", "week"], description="The earlier span; default: just before."),
    OpenApiParameter("b_version", str, description="The version of the earlier span; default: the same."),
    OpenApiParameter("offline", int, description="The version whose preprocessing served inputs are held against."),
]


class ShareIntervalSerializer(serializers.Serializer):
    value = serializers.FloatField()
    low = serializers.FloatField()
    high = serializers.FloatField()


class QualitySerializer(serializers.Serializer):
    """Shares with 95 % intervals. What is estimated comes from the scores alone and is named so."""

    endpoint = serializers.SlugField()
    version = serializers.CharField()
    sentence = serializers.CharField()
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    rows = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="Older rows of the span that were not read.")
    labelled = serializers.IntegerField()
    accuracy = ShareIntervalSerializer(allow_null=True)
    log_loss = ShareIntervalSerializer(allow_null=True)
    estimated_accuracy = ShareIntervalSerializer(allow_null=True)
    estimate_basis = serializers.CharField()
    label_delay = serializers.DictField()
    groups = serializers.ListField(child=serializers.DictField())
    calibrations = serializers.ListField(child=serializers.DictField())
    accuracy_by_group = serializers.ListField(child=serializers.DictField())
    worst_slice = serializers.CharField(allow_null=True)
    drift_in_slices = serializers.ListField(child=serializers.DictField())
    skew = serializers.DictField()
    detectors = serializers.ListField(
        child=serializers.DictField(), help_text="What rules on errors and on inputs taken together found in the span."
    )


class QualityView(APIView):
    """How good a version's answers are over a span: known and estimated, by group, by slice, and served as declared."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(operation_id="quality", parameters=PARAMETERS, responses=QualitySerializer)
    def get(self, request: Request) -> Response:
        endpoints = Endpoint.objects.select_related("model")
        endpoint = get_object_or_404(endpoints, slug=request.query_params.get("endpoint", ""))
        try:
            found = quality_of(endpoint, request.query_params.dict(), timezone.now())
        except (BadSide, NothingThere) as refused:
            raise serializers.ValidationError(str(refused)) from refused
        except StoreDamaged as damaged:
            raise Problem(409, "store-damaged", str(damaged)) from damaged
        return Response(QualitySerializer(found.to_json()).data)


api_urlpatterns = [path("quality/", QualityView.as_view(), name="quality")]
