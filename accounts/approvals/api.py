"""The API of approvals: requests, decisions, policies."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.approvals.actions import Refused, decide
from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest, Decision
from accounts.approvals.policies import PolicyError, replace_policy
from accounts.approvals.queries import standing
from accounts.authentication import HasScope
from accounts.models import Role
from accounts.problems import Problem
from accounts.step_up import proof_of


class DecisionSerializer(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", read_only=True)

    class Meta:
        model = ApprovalDecision
        fields = ["id", "by", "decision", "role", "reason", "subject_hash", "auth_method", "auth_time", "decided_at"]


class SeatSerializer(serializers.Serializer):
    role = serializers.CharField(help_text="Empty for any approver.")
    by = serializers.CharField(source="by.username", allow_null=True, default=None)


class ApprovalSerializer(serializers.ModelSerializer):
    proposer = serializers.CharField(source="proposer.username", read_only=True)
    policy = serializers.CharField(source="policy.__str__", read_only=True)
    decisions = DecisionSerializer(many=True, read_only=True)
    seats = serializers.SerializerMethodField()

    class Meta:
        model = ApprovalRequest
        fields = [
            "id", "title", "subject_kind", "subject_ref", "subject_hash", "incident_ref", "policy", "policy_hash",
            "proposer", "state", "opened_at", "expires_at", "consumed_at", "seats", "decisions",
        ]  # fmt: skip

    @extend_schema_field(SeatSerializer(many=True))
    def get_seats(self, request: ApprovalRequest) -> Any:
        return SeatSerializer(standing(request).seats, many=True).data


class DecideSerializer(serializers.Serializer):
    decision = serializers.ChoiceField(choices=Decision.choices)
    subject_hash = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="The hash of the plan that you read.")
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")


REFUSAL_STATUS = {"own_proposal": 403, "not_a_role": 403, "step_up_needed": 403, "reason_needed": 400}


class ApprovalViewSet(viewsets.ReadOnlyModelViewSet):
    """Approval requests. Approving by token needs one that was issued within the policy's step-up time after its
    owner had proved who they are; an older one is answered with the problem step-up-needed."""

    serializer_class = ApprovalSerializer
    permission_classes = [HasScope]
    required_scope = {"decide": "approve", "*": "view"}
    queryset = (
        ApprovalRequest.objects.select_related("policy", "proposer")
        .prefetch_related("decisions__by")
        .order_by("-opened_at")
    )
    filterset_fields = ["state", "subject_kind", "incident_ref"]

    @extend_schema(request=DecideSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def decide(self, request: Request, pk: str) -> Response:
        asked = DecideSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        method, auth_time = proof_of(request)
        try:
            decide(
                request_id=self.get_object().pk,
                user=request.user,
                auth_method=method,
                auth_time=auth_time,
                actor=actor_for(request=request),
                **asked.validated_data,
            )
        except Refused as refused:
            code = REFUSAL_STATUS.get(refused.code, 409)
            raise Problem(code, refused.code.replace("_", "-"), refused.sentence) from refused
        except ApprovalRequest.DoesNotExist as error:
            raise Http404 from error
        return Response(ApprovalSerializer(self.get_queryset().get(pk=pk)).data)


class FactorSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices)
    count = serializers.IntegerField(min_value=1)


class PolicySerializer(serializers.ModelSerializer):
    factors = FactorSerializer(many=True)
    reason = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=2000)

    class Meta:
        model = ApprovalPolicy
        fields = [
            "id", "name", "version", "active", "subject_kind", "risk_tier", "environment", "required", "factors",
            "step_up_seconds", "expires_seconds", "sign_off_required", "automatic_allowed", "created_at", "reason",
        ]  # fmt: skip
        read_only_fields = ["name", "version", "active", "created_at"]
        # The place of a policy is not unique: posting to it again replaces the policy there.
        validators = []


class PolicyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Who must agree to what. Posting puts a new version in force; the one before stays to be read, inactive."""

    serializer_class = PolicySerializer
    permission_classes = [HasScope]
    required_scope = {"create": "admin", "*": "view"}
    queryset = ApprovalPolicy.objects.order_by("name", "-version")
    filterset_fields = ["active", "subject_kind", "risk_tier", "environment"]

    @extend_schema(request=PolicySerializer, responses={201: PolicySerializer})
    def create(self, request: Request) -> Response:
        asked = PolicySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            policy = replace_policy(actor=actor_for(request=request), **asked.validated_data)
        except PolicyError as error:
            raise Problem(422, "policy-refused", str(error)) from error
        policy.refresh_from_db(fields=["created_at"])
        return Response(PolicySerializer(policy).data, status=status.HTTP_201_CREATED)


router_entries = [
    ("approvals", ApprovalViewSet, "approval"),
    ("policies", PolicyViewSet, "policy"),
]
