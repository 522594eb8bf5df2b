"""The API of approvals: requests, decisions, policies."""

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.approvals import break_glass, evidence
from accounts.approvals.actions import Refused, decide
from accounts.approvals.acts import ActRefused
from accounts.approvals.models import (
    Act,
    ApprovalDecision,
    ApprovalEvidence,
    ApprovalPolicy,
    ApprovalRequest,
    BreakGlass,
    Decision,
    Verdict,
)
from accounts.approvals.policies import PolicyError, ask_to_retire, change_policy
from accounts.approvals.queries import standing
from accounts.approvals.subjects import subject_of
from accounts.authentication import HasScope
from accounts.models import Role
from accounts.problems import Problem
from accounts.step_up import proof_of


class DecisionSerializer(serializers.ModelSerializer):
    by = serializers.CharField(source="by.username", read_only=True)

    class Meta:
        model = ApprovalDecision
        fields = [
            "id", "by", "decision", "role", "grant", "reason", "subject_hash", "evidence", "auth_method", "auth_time",
            "decided_at",
        ]  # fmt: skip


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
            "id", "title", "subject_kind", "subject_ref", "subject_hash", "incident_ref", "model", "team", "policy",
            "policy_hash", "proposer", "state", "opened_at", "expires_at", "consumed_at", "seats", "decisions",
        ]  # fmt: skip

    @extend_schema_field(SeatSerializer(many=True))
    def get_seats(self, request: ApprovalRequest) -> Any:
        return SeatSerializer(standing(request).seats, many=True).data


class ShownSerializer(serializers.Serializer):
    """What an approver reads now, and the digest of exactly that, which an approval names."""

    digest = serializers.CharField()
    moved = serializers.ListField(child=serializers.CharField(), help_text="What has changed since it was proposed.")
    body = serializers.DictField()


class WaitingActSerializer(serializers.Serializer):
    """An act that a policy puts under approval, and waits for it."""

    act = serializers.UUIDField(source="id")
    kind = serializers.CharField()
    title = serializers.CharField()
    act_hash = serializers.CharField()
    request = serializers.UUIDField(source="request_id")


def waiting_answer(act: Act) -> Response:
    """202: it was not done, it waits for its approvals."""
    return Response(WaitingActSerializer(act).data, status=status.HTTP_202_ACCEPTED)


class DecideSerializer(serializers.Serializer):
    decision = serializers.ChoiceField(choices=Decision.choices)
    subject_hash = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="The hash of the plan that you read.")
    evidence = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        required=False,
        default="",
        help_text="The digest from GET /approvals/{id}/evidence/ as you read it; an approval needs it.",
    )
    reason = serializers.CharField(required=False, allow_blank=True, max_length=2000, default="")


class GlassSerializer(serializers.ModelSerializer):
    title = serializers.CharField(source="request.title", read_only=True)
    by = serializers.CharField(source="by.username", read_only=True)
    reviewed_by = serializers.CharField(source="reviewed_by.username", read_only=True, allow_null=True, default=None)

    class Meta:
        model = BreakGlass
        fields = [
            "id", "request", "title", "by", "role", "reason", "broken_at", "expires_at", "used_at", "review_due",
            "review_limit", "verdict", "review_reason", "reviewed_by", "reviewed_at",
        ]  # fmt: skip


class BreakSerializer(serializers.Serializer):
    subject_hash = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="The hash of the plan that you read.")
    evidence = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="The digest from GET /approvals/{id}/evidence/.")
    reason = serializers.CharField(max_length=2000)


class ReviewSerializer(serializers.Serializer):
    verdict = serializers.ChoiceField(choices=Verdict.choices)
    reason = serializers.CharField(max_length=2000)


FORBIDDEN = ("own_proposal", "excluded", "lent", "not_a_role", "step_up_needed", "took_part", "review_owed", "locked")
REFUSAL_STATUS = {"reason_needed": 400, **dict.fromkeys(FORBIDDEN, 403)}


def problem_of(refused: Refused) -> Problem:
    code = REFUSAL_STATUS.get(refused.code, 409)
    return Problem(code, refused.code.replace("_", "-"), refused.sentence)


class ApprovalViewSet(viewsets.ReadOnlyModelViewSet):
    """Approval requests. Approving by token needs one that was issued within the policy's step-up time after its
    owner had proved who they are; an older one is answered with the problem step-up-needed."""

    serializer_class = ApprovalSerializer
    permission_classes = [HasScope]
    required_scope = {"decide": "approve", "break_glass": "break_glass", "review": "approve", "*": "view"}
    queryset = (
        ApprovalRequest.objects.select_related("policy", "proposer")
        .prefetch_related("decisions__by")
        .order_by("-opened_at")
    )
    filterset_fields = ["state", "subject_kind", "incident_ref"]

    @extend_schema(responses=ShownSerializer)
    @action(detail=True, methods=["get"])
    def evidence(self, request: Request, pk: str) -> Response:
        """What an approver reads now. It is kept under the digest, which an approval then names."""
        entry = self.get_object()
        subject = subject_of(entry)
        digest, body = evidence.show(entry, request.user, subject)
        return Response({"digest": digest, "moved": subject.moved, "body": body})

    @extend_schema(responses=ShownSerializer)
    @action(detail=True, methods=["get"], url_path="evidence/(?P<digest>[0-9a-f]{64})")
    def shown(self, request: Request, pk: str, digest: str) -> Response:
        """What an approver was shown, as it was."""
        try:
            body = evidence.shown(self.get_object(), digest)
        except ApprovalEvidence.DoesNotExist as error:
            raise Http404 from error
        return Response({"digest": digest, "moved": [], "body": body})

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
            raise problem_of(refused) from refused
        except ApprovalRequest.DoesNotExist as error:
            raise Http404 from error
        return Response(ApprovalSerializer(self.get_queryset().get(pk=pk)).data)

    @extend_schema(request=BreakSerializer, responses={201: GlassSerializer})
    @action(detail=True, methods=["post"], url_path="break-glass")
    def break_glass(self, request: Request, pk: str) -> Response:
        """Start the plan without its approvals, in front of everybody; a review is owed for it."""
        asked = BreakSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        _, auth_time = proof_of(request)
        try:
            glass = break_glass.break_glass(
                request_id=self.get_object().pk,
                user=request.user,
                auth_time=auth_time,
                actor=actor_for(request=request),
                **asked.validated_data,
            )
        except Refused as refused:
            raise problem_of(refused) from refused
        return Response(GlassSerializer(glass).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReviewSerializer, responses=GlassSerializer)
    @action(detail=True, methods=["post"], url_path="break-glass/review")
    def review(self, request: Request, pk: str) -> Response:
        """The verdict of somebody who took no part on a break-glass."""
        asked = ReviewSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            glass = break_glass.review(
                request_id=self.get_object().pk,
                user=request.user,
                actor=actor_for(request=request),
                **asked.validated_data,
            )
        except Refused as refused:
            raise problem_of(refused) from refused
        return Response(GlassSerializer(glass).data)


class GlassViewSet(viewsets.ReadOnlyModelViewSet):
    """Every use of break-glass, newest first, with its review or until when one is owed."""

    serializer_class = GlassSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    queryset = BreakGlass.objects.select_related("request", "by", "reviewed_by").order_by("-broken_at")
    filterset_fields = {"reviewed_at": ["isnull"], "request": ["exact"]}


class FactorSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices)
    count = serializers.IntegerField(min_value=1)


class PolicySerializer(serializers.ModelSerializer):
    factors = FactorSerializer(many=True)
    stop_roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), required=False)
    reason = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=2000)

    class Meta:
        model = ApprovalPolicy
        fields = [
            "id", "name", "version", "active", "subject_kind", "risk_tier", "environment", "required", "factors",
            "step_up_seconds", "expires_seconds", "sign_off_required", "automatic_allowed", "stop_roles", "created_at",
            "reason",
        ]  # fmt: skip
        read_only_fields = ["name", "version", "active", "created_at"]
        # The place of a policy is not unique: posting to it again replaces the policy there.
        validators = []


class RetireSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=2000)


class PolicyViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Who must agree to what. Posting puts a new version in force, or asks for the approvals that this needs; the one
    before stays to be read, inactive."""

    serializer_class = PolicySerializer
    permission_classes = [HasScope]
    required_scope = {"create": "admin", "retire": "admin", "*": "view"}
    queryset = ApprovalPolicy.objects.order_by("name", "-version")
    filterset_fields = ["active", "subject_kind", "risk_tier", "environment"]

    @extend_schema(request=PolicySerializer, responses={201: PolicySerializer, 202: WaitingActSerializer})
    def create(self, request: Request) -> Response:
        asked = PolicySerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            policy = change_policy(user=request.user, actor=actor_for(request=request), **asked.validated_data)
        except PolicyError as error:
            raise Problem(422, "policy-refused", str(error)) from error
        except ActRefused as error:
            raise Problem(409, error.code.replace("_", "-"), error.sentence) from error
        if isinstance(policy, Act):
            return waiting_answer(policy)
        policy.refresh_from_db(fields=["created_at"])
        return Response(PolicySerializer(policy).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RetireSerializer, responses={200: PolicySerializer, 202: WaitingActSerializer})
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Take a policy out of force, or ask for the approvals that this needs."""
        asked = RetireSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        policy = self.get_object()
        try:
            act = ask_to_retire(
                policy=policy, user=request.user, actor=actor_for(request=request), **asked.validated_data
            )
        except PolicyError as error:
            raise Problem(422, "policy-refused", str(error)) from error
        except ActRefused as error:
            raise Problem(409, error.code.replace("_", "-"), error.sentence) from error
        if act is not None:
            return waiting_answer(act)
        policy.refresh_from_db()
        return Response(PolicySerializer(policy).data)


router_entries = [
    ("approvals", ApprovalViewSet, "approval"),
    ("break-glass", GlassViewSet, "break-glass"),
    ("policies", PolicyViewSet, "policy"),
]
