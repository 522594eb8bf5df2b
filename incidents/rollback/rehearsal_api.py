"""The API of rehearsals: order one, and see what became of it."""

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import user_of
from accounts.problems import Problem
from incidents.rollback.models import Trial, TrialLoad
from incidents.rollback.rehearsal import NotRehearsed, ask_rehearsal
from registry.models import Endpoint, Version


class LoadSerializer(serializers.ModelSerializer[TrialLoad]):
    host = serializers.CharField(source="host.name")
    version = serializers.IntegerField(source="version.number")

    class Meta:
        model = TrialLoad
        fields = ["host", "version", "brought_at", "left_at", "left_because"]


class RehearsalSerializer(serializers.ModelSerializer[Trial]):
    endpoint = serializers.CharField(source="endpoint.slug")
    version = serializers.IntegerField(source="version.number")
    digest = serializers.CharField(source="version.digest")
    golden = serializers.CharField(source="version.golden_id", allow_null=True)
    metrics = serializers.DictField(source="version.metrics")
    loads = LoadSerializer(many=True)

    class Meta:
        model = Trial
        fields = [
            "id", "endpoint", "version", "digest", "state", "reason", "incident_ref", "asked_at", "ended_at", "golden",
            "metrics", "loads",
        ]  # fmt: skip


class OrderSerializer(serializers.Serializer[Trial]):
    version = serializers.PrimaryKeyRelatedField(queryset=Version.objects.select_related("model"))
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    incident_ref = serializers.CharField(default="", allow_blank=True, max_length=40)


class RehearsalViewSet(viewsets.ReadOnlyModelViewSet[Trial]):
    """Composed versions asked on real hosts, beside what these serve."""

    serializer_class = RehearsalSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "plan.propose", "*": "view"}
    filterset_fields = ["state", "endpoint__slug", "version", "incident_ref"]
    queryset = (
        Trial.objects.filter(version__isnull=False)
        .select_related("endpoint", "version")
        .prefetch_related("loads__host", "loads__version")
        .order_by("-asked_at")
    )

    @extend_schema(request=OrderSerializer, responses={202: RehearsalSerializer})
    def create(self, request: Request) -> Response:
        """Have a composed version rehearsed; one that goes on already is answered as it is."""
        asked = OrderSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.check_object_permissions(request, asked.validated_data["endpoint"])
        try:
            trial = ask_rehearsal(**asked.validated_data, user=user_of(request), actor=actor_for(request=request))
        except NotRehearsed as error:
            raise Problem(409, "not-rehearsed", str(error)) from error
        return Response(RehearsalSerializer(self.get_queryset().get(pk=trial.pk)).data, status=202)
