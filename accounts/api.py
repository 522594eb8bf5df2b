"""The API of people and tokens."""

import datetime
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field, extend_schema_serializer
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import (
    AccountError,
    actor_for,
    issue_token,
    revoke_token,
)
from accounts.approvals import api as approvals
from accounts.authentication import HasScope, TokenAuthentication
from accounts.authority import api as authority
from accounts.models import ApiToken, User
from accounts.permissions import SCOPES, permissions_of, user_roles
from accounts.problems import Problem
from accounts.rosters import api as rosters
from accounts.step_up import proof_of
from audit.clock import database_now

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
        expires_at = database_now() + datetime.timedelta(days=asked.validated_data["days"])
        try:
            token, secret = issue_token(
                owner=request.user,
                name=asked.validated_data["name"],
                scopes=asked.validated_data["scopes"],
                expires_at=expires_at,
                actor=actor_for(request=request),
                proved_at=proof_of(request)[1],
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


router_entries = [
    ("me", MeViewSet, "me"),
    ("tokens", TokenViewSet, "token"),
    *approvals.router_entries,
    *authority.router_entries,
    *rosters.router_entries,
]
