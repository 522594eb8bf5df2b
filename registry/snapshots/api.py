"""The API of snapshots."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.permissions import require
from registry.api_base import RegistryViewSet, doing, slug_of
from registry.models import Endpoint
from registry.snapshots import actions, queries
from registry.snapshots.models import Reason, Snapshot


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    endpoint = slug_of(Endpoint)

    class Meta:
        model = Snapshot
        fields = [
            "id", "endpoint", "reason", "change_ref", "taken_at", "taken_by", "digest", "content", "files",
            "verified_at", "kept_reason",
        ]  # fmt: skip
        read_only_fields = [name for name in fields if name != "endpoint"]


class KeepSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, allow_blank=True, help_text="Empty: it is no longer kept.")


class ChangeSerializer(serializers.Serializer[Any]):
    what = serializers.CharField()
    before = serializers.CharField()
    after = serializers.CharField()


class SnapshotViewSet(RegistryViewSet):
    """What an endpoint was at a moment. Taking one and keeping one are for those who command."""

    queryset = Snapshot.objects.select_related("endpoint__model", "endpoint__fallback").order_by("-taken_at", "-pk")
    serializer_class = SnapshotSerializer
    filterset_fields = ["endpoint__slug", "reason"]
    required_scope: Any = {"list": "view", "retrieve": "view", "differences": "view", "*": "incident.command"}

    def create(self, request: Request) -> Response:
        """Take one now."""
        endpoint = self.ask(SnapshotSerializer)["endpoint"]
        require(request, "incident.command", model=endpoint.model.slug, team=endpoint.model.team)
        taken = doing(actions.take, endpoint=endpoint, reason=Reason.BY_HAND, actor=actor_for(request=request))
        return Response(SnapshotSerializer(taken).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=KeepSerializer, responses=SnapshotSerializer)
    @action(detail=True, methods=["post"])
    def keep(self, request: Request, pk: str) -> Response:
        """Keep it for longer than the rule of retention says, with a reason; with an empty one no longer."""
        asked = self.ask(KeepSerializer)
        snapshot = self.get_object()
        doing(actions.keep, snapshot=snapshot, **asked, actor=actor_for(request=request))
        return Response(SnapshotSerializer(snapshot).data)

    @extend_schema(
        parameters=[OpenApiParameter("with", OpenApiTypes.INT, description="Another one; without it, what is now.")],
        responses=ChangeSerializer(many=True),
    )
    @action(detail=True, methods=["get"], pagination_class=None, filter_backends=[])
    def differences(self, request: Request, pk: str) -> Response:
        """What differs from it to now, or to another of the same endpoint."""
        snapshot = self.get_object()
        asked = request.query_params.get("with", "")
        field = serializers.PrimaryKeyRelatedField(queryset=Snapshot.objects.filter(endpoint=snapshot.endpoint))
        other = field.run_validation(asked) if asked else None
        return Response(ChangeSerializer(queries.against(snapshot, other), many=True).data)


router_entries = [("snapshots", SnapshotViewSet, "snapshot")]
