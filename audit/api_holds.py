"""Legal holds for programs: read by auditors, placed and lifted by administrators."""

import uuid
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from audit import holds
from audit.models import AuditHold, HoldKind
from audit.views.access import actor_of


class HoldSerializer(serializers.ModelSerializer[AuditHold]):
    """``event`` is the record of its placing, whose sealed text says why."""

    event = serializers.UUIDField(source="event.event_uuid")

    class Meta:
        model = AuditHold
        fields: ClassVar = [
            "id", "kind", "ref", "event", "placed_by", "placed_at", "until", "lifted_by", "lifted_at",
        ]  # fmt: skip


class PlaceSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=HoldKind.choices)
    ref = serializers.CharField(max_length=100, help_text="Pseudonym, incident's reference, or model's slug.")
    until = serializers.DateTimeField(required=False, allow_null=True, default=None)
    reason = serializers.CharField(max_length=2000)


class LiftSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000)


class HoldViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[AuditHold]):
    """Legal holds, newest first."""

    serializer_class = HoldSerializer
    queryset = AuditHold.objects.select_related("event")
    required_scope: ClassVar = {"create": "admin", "lift": "admin", "*": "audit.view"}
    lookup_value_converter = "uuid"
    filter_backends = ()

    @extend_schema(request=PlaceSerializer, responses={201: HoldSerializer})
    def create(self, request: Request) -> Response:
        """Keep everything about one person, incident or model from being erased or pruned."""
        asked = PlaceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            hold = holds.place(**asked.validated_data, actor=actor_of(request))
        except holds.HoldError as error:
            raise serializers.ValidationError(str(error)) from error
        return Response(self._shown(hold.pk), status=201)

    @extend_schema(request=LiftSerializer, responses=HoldSerializer)
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, pk: uuid.UUID) -> Response:
        """End a hold, with a reason."""
        asked = LiftSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            holds.lift(hold=self.get_object(), actor=actor_of(request), **asked.validated_data)
        except holds.HoldError as error:
            raise serializers.ValidationError(str(error)) from error
        return Response(self._shown(pk))

    def _shown(self, pk: uuid.UUID) -> Any:
        return HoldSerializer(self.get_queryset().get(pk=pk)).data
