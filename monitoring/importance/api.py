"""The API of importances."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import require
from accounts.problems import Problem
from monitoring.importance.actions import ImportanceRefused, ask
from monitoring.importance.models import Importance
from registry.models import Version


class ImportanceSerializer(serializers.ModelSerializer[Importance]):
    model = serializers.SlugField(source="version.model.slug")
    number = serializers.IntegerField(source="version.number")

    class Meta:
        model = Importance
        fields = [
            "id", "version", "model", "number", "state", "reason", "asked_by", "asked_at", "answered_by", "metric",
            "baseline", "rows", "repeats", "columns", "losses", "weights", "seconds", "done_at",
        ]  # fmt: skip


class AskImportanceSerializer(serializers.Serializer[Any]):
    version = serializers.PrimaryKeyRelatedField(
        queryset=Version.objects.select_related("model"), help_text="The id of a version with a holdout set."
    )


class ImportanceViewSet(viewsets.ReadOnlyModelViewSet[Importance]):
    """How much each input matters to a version, measured on its holdout set. `given`: it came with the profile."""

    queryset = Importance.objects.select_related("version__model").order_by("pk")
    serializer_class = ImportanceSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "registry.write", "*": "view"}
    filterset_fields = ["version", "version__model__slug", "state"]

    @extend_schema(request=AskImportanceSerializer, responses={202: ImportanceSerializer})
    def create(self, request: Request) -> Response:
        """Have it measured, or measured again where it could not be; one that is measured is given as it is."""
        asked = AskImportanceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        version: Version = asked.validated_data["version"]
        require(request, "registry.write", model=version.model.slug, team=version.model.team)
        try:
            one = ask(version=version, actor=actor_for(request=request))
        except ImportanceRefused as refused:
            raise Problem(422, "refused", str(refused)) from refused
        return Response(ImportanceSerializer(one).data, status=202)


router_entries = [("importances", ImportanceViewSet, "importance")]
