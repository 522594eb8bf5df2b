"""The API of registered gates: the same verbs as the pages."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.approvals.acts import ActRefused
from accounts.approvals.models import Act
from accounts.permissions import user_of
from accounts.problems import Problem
from incidents.rollback.gating import queries
from incidents.rollback.gating.actions import accept, retire_gate
from incidents.rollback.gating.acts import ENVIRONMENTS, PLAN_KINDS, register_gate
from incidents.rollback.gating.bodies import GateRefused
from incidents.rollback.gating.models import Acceptance, AskedWhen, Asking, GateDefinition, GateKind
from registry.models import Model

STATUS = {"malformed": 422, "reason_needed": 400, "not_named": 403}


class GateSerializer(serializers.ModelSerializer[GateDefinition]):
    model = serializers.CharField(source="model.slug")
    when = serializers.CharField(source="asked_when")

    class Meta:
        model = GateDefinition
        fields = [
            "id", "model", "name", "kind", "question", "body", "plan_kinds", "environment", "when", "digest",
            "registered_at", "registered_by", "retired_at", "retired_reason",
        ]  # fmt: skip


class RegisterGateSerializer(serializers.Serializer[Any]):
    model = serializers.SlugRelatedField(slug_field="slug", queryset=Model.objects.all())
    name = serializers.SlugField(max_length=40)
    kind = serializers.ChoiceField(choices=GateKind.choices)
    question = serializers.CharField(max_length=200)
    body = serializers.DictField(help_text="docs/gates.md says what each kind takes.")
    plan_kinds = serializers.ListField(
        child=serializers.ChoiceField(choices=[(kind, kind) for kind in PLAN_KINDS]), default=PLAN_KINDS
    )
    environment = serializers.ChoiceField(choices=[(name, name) for name in ENVIRONMENTS], default="any")
    when = serializers.ChoiceField(choices=AskedWhen.choices, default=AskedWhen.WAVE)
    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class GateWaitsSerializer(serializers.Serializer[Any]):
    """The request whose approvals the registration waits for."""

    request = serializers.UUIDField()


class WhySerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=300, default="", allow_blank=True)


class AcceptanceSerializer(serializers.ModelSerializer[Acceptance]):
    class Meta:
        model = Acceptance
        fields = ["pseudonym", "accepted", "reason", "at"]


class AskingSerializer(serializers.ModelSerializer[Asking]):
    gate = serializers.CharField(source="definition.name")
    kind = serializers.CharField(source="definition.kind")
    digest = serializers.CharField(source="definition.digest")
    wave = serializers.IntegerField(
        source="wave.index", allow_null=True, default=None, help_text="Its number; null for the watch after the run."
    )
    acceptances = AcceptanceSerializer(many=True)
    counts = serializers.JSONField()

    class Meta:
        model = Asking
        fields = [
            "id", "run", "wave", "gate", "kind", "digest", "state", "answer", "observed", "interval", "attempts",
            "asked_at", "ended_at", "counts", "report_sha256", "output", "acceptances",
        ]  # fmt: skip


def _doing(verb: Callable[[], Any]) -> Any:
    try:
        return verb()
    except GateRefused as error:
        raise Problem(STATUS.get(error.code, 409), error.code.replace("_", "-"), error.sentence) from error
    except ActRefused as error:
        raise Problem(409, error.code.replace("_", "-"), error.sentence) from error


class GateViewSet(viewsets.ReadOnlyModelViewSet[GateDefinition]):
    """Gates that teams registered for their models; plans that are made from then on ask them."""

    serializer_class = GateSerializer
    permission_classes = [HasScope]
    required_scope = {"list": "view", "retrieve": "view", "*": "registry.write"}
    filterset_fields = ["model__slug", "kind", "name"]
    queryset = queries.gates()

    @extend_schema(request=RegisterGateSerializer, responses={201: GateSerializer, 202: GateWaitsSerializer})
    def create(self, request: Request) -> Response:
        """Register a gate: 201, or 202 with the request whose approvals it waits for."""
        asked = RegisterGateSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        who: dict[str, Any] = {"user": user_of(request), "actor": actor_for(request=request)}
        done = _doing(lambda: register_gate(**asked.validated_data, **who))
        if isinstance(done, Act):
            return Response({"request": str(done.request_id)}, status=status.HTTP_202_ACCEPTED)
        return Response(GateSerializer(self.get_queryset().get(pk=done.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=WhySerializer, responses=GateSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Ask a gate no more."""
        reason, definition = _why(request), self.get_object()
        who: dict[str, Any] = {"user": user_of(request), "actor": actor_for(request=request)}
        _doing(lambda: retire_gate(definition=definition, reason=reason, **who))
        return Response(GateSerializer(self.get_queryset().get(pk=definition.pk)).data)


class AskingViewSet(viewsets.ReadOnlyModelViewSet[Asking]):
    """Registered gates as they were asked in runs: reports of suites, what named people said."""

    serializer_class = AskingSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    filterset_fields = ["run", "state", "answer"]
    queryset = queries.askings().order_by("-asked_at")

    @extend_schema(request=WhySerializer, responses=AskingSerializer)
    @action(detail=True, methods=["post"])
    def accept(self, request: Request, pk: str) -> Response:
        """Accept the version in this wave, as one whom the gate names."""
        return self._say(request, accepted=True)

    @extend_schema(request=WhySerializer, responses=AskingSerializer)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        """Refuse the version, with a reason; the gate fails."""
        return self._say(request, accepted=False)

    def _say(self, request: Request, *, accepted: bool) -> Response:
        reason, row = _why(request), self.get_object()
        who: dict[str, Any] = {"user": user_of(request), "actor": actor_for(request=request)}
        _doing(lambda: accept(asking=row, accepted=accepted, reason=reason, **who))
        return Response(AskingSerializer(self.get_queryset().get(pk=row.pk)).data)


def _why(request: Request) -> str:
    asked = WhySerializer(data=request.data)
    asked.is_valid(raise_exception=True)
    return str(asked.validated_data["reason"])


router_entries = [("gates", GateViewSet, "gate"), ("gate-askings", AskingViewSet, "gate-asking")]
