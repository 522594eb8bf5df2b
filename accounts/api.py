"""The API of people, tokens and approvals."""

import datetime
from typing import Any

from django.http import Http404
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import (
    AccountError,
    actor_for,
    create_user,
    end_role,
    grant_role,
    issue_token,
    revoke_token,
)
from accounts.approvals.actions import Refused, decide
from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest, Decision
from accounts.approvals.policies import PolicyError, replace_policy
from accounts.approvals.queries import standing
from accounts.authentication import HasScope, TokenAuthentication
from accounts.models import ApiToken, Role, RoleGrant, User
from accounts.permissions import SCOPES, permissions_of, user_roles
from accounts.problems import Problem
from accounts.step_up import last_authentication

__all__ = ["HasScope", "TokenAuthentication", "router_entries"]


@extend_schema_serializer(many=False)
class MeSerializer(serializers.ModelSerializer):
    name = serializers.CharField(source="__str__", read_only=True)
    roles = serializers.SerializerMethodField()
    permissions = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["username", "name", "pseudonym", "roles", "permissions"]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_roles(self, user: User) -> list[str]:
        return sorted(user_roles(user))

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_permissions(self, user: User) -> list[str]:
        return sorted(permissions_of(user_roles(user)))


class MeViewSet(viewsets.ViewSet):
    """Who this token or session belongs to, and what that person may do."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(operation_id="me", responses=MeSerializer)
    def list(self, request: Request) -> Response:
        return Response(MeSerializer(request.user).data)


class UserSerializer(serializers.ModelSerializer):
    name = serializers.CharField(source="__str__", read_only=True)
    roles = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["username", "name", "pseudonym", "is_active", "roles"]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_roles(self, user: User) -> list[str]:
        return sorted(grant.role for grant in user.live_grants)


class NewUserSerializer(serializers.Serializer):
    username = serializers.RegexField(r"^[\w.@+-]+$", max_length=150)
    email = serializers.EmailField(max_length=254)
    full_name = serializers.CharField(max_length=200)
    password = serializers.CharField(max_length=500, write_only=True, trim_whitespace=False)
    roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), default=list)


class GivenRoleSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices)


class UserViewSet(viewsets.ReadOnlyModelViewSet):
    """People and their roles, for administrators."""

    serializer_class = UserSerializer
    permission_classes = [HasScope]
    required_scope = "admin"
    lookup_field = "username"
    lookup_value_regex = r"[\w.@+-]+"

    def get_queryset(self) -> Any:
        from django.db.models import Prefetch

        live = Prefetch("role_grants", queryset=RoleGrant.objects.filter(until=None), to_attr="live_grants")
        return User.objects.prefetch_related(live).order_by("username")

    @extend_schema(request=NewUserSerializer, responses={201: UserSerializer})
    def create(self, request: Request) -> Response:
        """A person who can sign in. Passwords are checked as on the sign-in pages."""
        asked = NewUserSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            made = create_user(**asked.validated_data, actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "already-there", str(error)) from error
        return self._shown(made.username, status.HTTP_201_CREATED)

    @extend_schema(request=GivenRoleSerializer, responses=UserSerializer)
    @action(detail=True, methods=["post"])
    def roles(self, request: Request, username: str) -> Response:
        """Give a role; giving one that is held changes nothing."""
        person = self.get_object()
        asked = GivenRoleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        grant_role(user=person, **asked.validated_data, granted_by=request.user, actor=actor_for(request=request))
        return self._shown(username)

    @extend_schema(request=None, responses=UserSerializer)
    @action(detail=True, methods=["delete"], url_path="roles/(?P<role>[a-z]+)")
    def end_role(self, request: Request, username: str, role: str) -> Response:
        """Take a role away from now on."""
        try:
            end_role(user=self.get_object(), role=role, actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "not-held", str(error)) from error
        return self._shown(username)

    def _shown(self, username: str, code: int = status.HTTP_200_OK) -> Response:
        return Response(UserSerializer(self.get_queryset().get(username=username)).data, status=code)


class TokenSerializer(serializers.ModelSerializer):
    class Meta:
        model = ApiToken
        fields = ["id", "name", "prefix", "scopes", "created_at", "expires_at", "last_used_at", "revoked_at"]


class TokenRequestSerializer(serializers.Serializer):
    name = serializers.CharField(max_length=100)
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=sorted(SCOPES)), allow_empty=False)
    days = serializers.IntegerField(min_value=1, max_value=366, default=90)


class IssuedTokenSerializer(TokenSerializer):
    secret = serializers.CharField(read_only=True, help_text="Shown once; only its digest is kept.")

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "secret"]


class TokenViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """The caller's own tokens. Issuing one asks for a session: a token can't make tokens."""

    serializer_class = TokenSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    queryset = ApiToken.objects.none()

    def get_queryset(self) -> Any:
        return ApiToken.objects.filter(owner=self.request.user).order_by("-created_at")

    @extend_schema(request=TokenRequestSerializer, responses={201: IssuedTokenSerializer})
    def create(self, request: Request) -> Response:
        if request.auth is not None:
            raise Problem(
                403, "session-needed", "A token can't issue tokens. Sign in and issue it at /account/tokens/."
            )
        asked = TokenRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        expires_at = timezone.now() + datetime.timedelta(days=asked.validated_data["days"])
        try:
            token, secret = issue_token(
                owner=request.user,
                name=asked.validated_data["name"],
                scopes=asked.validated_data["scopes"],
                expires_at=expires_at,
                actor=actor_for(request=request),
                proved_at=_proved_at(request),
            )
        except AccountError as error:
            raise Problem(422, "scope-not-allowed", str(error)) from error
        token.secret = secret
        token.refresh_from_db(fields=["created_at"])
        return Response(IssuedTokenSerializer(token).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        try:
            revoke_token(token=self.get_object(), actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "already-revoked", str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)


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
        method, auth_time = _proof(request)
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


def _proof(request: Request) -> tuple[str, datetime.datetime | None]:
    """By what means and when the caller last proved who they are; a token carries its owner's proof from its issue."""
    if isinstance(request.auth, ApiToken):
        return "token", request.auth.proved_at
    return last_authentication(request) or ("session", None)


def _proved_at(request: Request) -> datetime.datetime | None:
    return _proof(request)[1]


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
    ("me", MeViewSet, "me"),
    ("users", UserViewSet, "user"),
    ("tokens", TokenViewSet, "token"),
    ("approvals", ApprovalViewSet, "approval"),
    ("policies", PolicyViewSet, "policy"),
]
