"""The API of people, their roles, and the roles that they lend."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import AccountError, actor_for, create_user, deactivate_user, reactivate_user
from accounts.authentication import HasScope
from accounts.authority.actions import (
    FRESH_PROOF,
    AuthorityRefused,
    confirm_role,
    delegate,
    end_delegation,
    end_role,
    give_role,
    refuse_role,
)
from accounts.authority.models import Delegation, Role, RoleGrant, RoleProposal
from accounts.authority.queries import loans, open_proposals, people
from accounts.erasure.actions import erase_person
from accounts.holdings import MOST_NAMES
from accounts.models import User
from accounts.permissions import require
from accounts.problems import Problem
from accounts.step_up import proof_of
from audit.clock import database_now

REFUSAL_STATUS = {
    "own_proposal": 403,
    "own_role": 403,
    "step_up_needed": 403,
    "not_an_administrator": 403,
    "reason_needed": 400,
    "bad_scope": 422,
    "bad_time": 422,
    "unknown_role": 422,
    "not_lendable": 422,
    "to_oneself": 422,
}


def problem(refused: AuthorityRefused) -> Problem:
    return Problem(REFUSAL_STATUS.get(refused.code, 409), refused.code.replace("_", "-"), refused.sentence)


class ScopeSerializer(serializers.Serializer):
    """What a role is limited to; both empty, or absent: everywhere."""

    teams = serializers.ListField(child=serializers.CharField(max_length=100), required=False, max_length=MOST_NAMES)
    models = serializers.ListField(
        child=serializers.CharField(max_length=100), required=False, max_length=MOST_NAMES, help_text="Slugs."
    )


class GrantSerializer(serializers.ModelSerializer):
    id = serializers.UUIDField(source="uuid")
    scope = ScopeSerializer()

    class Meta:
        model = RoleGrant
        fields = ["id", "role", "scope", "since", "counts_from"]


class ProposalSerializer(serializers.ModelSerializer):
    user = serializers.CharField(source="user.username")
    proposer = serializers.CharField(source="proposer.username")
    scope = ScopeSerializer()

    class Meta:
        model = RoleProposal
        fields = ["id", "user", "role", "scope", "proposer", "state", "proposed_at", "expires_at"]


class UserSerializer(serializers.ModelSerializer):
    name = serializers.CharField(source="__str__", read_only=True)
    roles = serializers.SerializerMethodField(help_text="Those that count now.")
    grants = GrantSerializer(source="live_grants", many=True)

    class Meta:
        model = User
        fields = ["username", "name", "pseudonym", "is_active", "roles", "grants"]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_roles(self, user: User) -> list[str]:
        now = self.context["now"]
        return sorted({grant.role for grant in user.live_grants if grant.counts_from <= now})


class NewUserSerializer(serializers.Serializer):
    username = serializers.RegexField(r"^[\w.@+-]+$", max_length=150)
    email = serializers.EmailField(max_length=254)
    full_name = serializers.CharField(max_length=200)
    password = serializers.CharField(max_length=500, write_only=True, trim_whitespace=False)
    roles = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), default=list, max_length=20)


class GivenRoleSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=Role.choices)
    scope = ScopeSerializer(required=False)
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class ErasureSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=2000, help_text="Why; goes on record.")


class ErasedSerializer(serializers.Serializer):
    pseudonym = serializers.CharField()
    texts = serializers.IntegerField(help_text="Sealed texts that can't be opened any more.")
    rows = serializers.DictField(child=serializers.IntegerField(), help_text="Changed rows by table.")


class UserViewSet(viewsets.ReadOnlyModelViewSet):
    """People and their roles, for administrators."""

    serializer_class = UserSerializer
    permission_classes = [HasScope]
    required_scope = "admin"
    lookup_field = "username"
    lookup_value_regex = r"[\w.@+-]+"

    def get_queryset(self) -> Any:
        return people().order_by("username")

    def get_serializer_context(self) -> dict[str, Any]:
        return super().get_serializer_context() | {"now": database_now()}

    @extend_schema(request=NewUserSerializer, responses={201: UserSerializer})
    def create(self, request: Request) -> Response:
        """A person who can sign in. Roles that approve are proposed only; passwords are checked as on the pages."""
        asked = NewUserSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            made = create_user(**asked.validated_data, by=request.user, actor=actor_for(request=request))
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        except AccountError as error:
            raise Problem(409, "already-there", str(error)) from error
        return self._shown(made.username, status.HTTP_201_CREATED)

    @extend_schema(request=GivenRoleSerializer, responses={200: UserSerializer, 202: ProposalSerializer})
    @action(detail=True, methods=["post"])
    def roles(self, request: Request, username: str) -> Response:
        """Give a role; giving one that is held changes nothing. A role that approves is proposed (202): it counts when
        another administrator has confirmed it and it has rested."""
        person = self.get_object()
        asked = GivenRoleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wish = {"scope": None} | asked.validated_data
        try:
            made = give_role(user=person, by=request.user, actor=actor_for(request=request), **wish)
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        if isinstance(made, RoleProposal):
            return Response(ProposalSerializer(made).data, status=status.HTTP_202_ACCEPTED)
        return self._shown(username)

    @extend_schema(request=None, responses=UserSerializer)
    @action(detail=True, methods=["delete"], url_path="roles/(?P<role>[a-z]+)")
    def end_role(self, request: Request, username: str, role: str) -> Response:
        """Take a role away from now on, in every scope."""
        try:
            end_role(user=self.get_object(), role=role, actor=actor_for(request=request))
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        except AccountError as error:
            raise Problem(409, "not-held", str(error)) from error
        return self._shown(username)

    @extend_schema(request=None, responses=UserSerializer)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, username: str) -> Response:
        """Nobody signs in as this person any more; sessions, tokens, roles and loans end."""
        try:
            deactivate_user(user=self.get_object(), by=request.user, actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "refused", str(error)) from error
        return self._shown(username)

    @extend_schema(request=ErasureSerializer, responses=ErasedSerializer)
    @action(detail=True, methods=["post"])
    def erase(self, request: Request, username: str) -> Response:
        """Erase the person for good: the account becomes its pseudonym. While a legal hold keeps it: 409."""
        asked = ErasureSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        person, actor = self.get_object(), actor_for(request=request)
        try:
            erased = erase_person(user=person, by=request.user, actor=actor, **asked.validated_data)
        except AccountError as error:
            raise Problem(409, "refused", str(error)) from error
        return Response({"pseudonym": person.pseudonym, "texts": erased.texts, "rows": erased.rows})

    @extend_schema(request=None, responses=UserSerializer)
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, username: str) -> Response:
        """Let the person sign in again, without any role."""
        try:
            reactivate_user(user=self.get_object(), actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "refused", str(error)) from error
        return self._shown(username)

    def _shown(self, username: str, code: int = status.HTTP_200_OK) -> Response:
        person = self.get_queryset().get(username=username)
        return Response(UserSerializer(person, context=self.get_serializer_context()).data, status=code)


class RefusalSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=1000)


class ProposalViewSet(viewsets.ReadOnlyModelViewSet):
    """Roles that wait for a second administrator. Confirming by token needs one that was issued within the last five
    minutes after its owner had proved who they are."""

    serializer_class = ProposalSerializer
    permission_classes = [HasScope]
    required_scope = "admin"

    def get_queryset(self) -> Any:
        if self.action == "list":
            return open_proposals()
        return RoleProposal.objects.select_related("user", "proposer")

    @extend_schema(request=None, responses={201: GrantSerializer})
    @action(detail=True, methods=["post"])
    def confirm(self, request: Request, pk: str) -> Response:
        method, auth_time = proof_of(request)
        try:
            grant = confirm_role(
                proposal_id=self.get_object().pk,
                by=request.user,
                auth_method=method,
                auth_time=auth_time,
                actor=actor_for(request=request),
            )
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        return Response(GrantSerializer(grant).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RefusalSerializer, responses=ProposalSerializer)
    @action(detail=True, methods=["post"])
    def refuse(self, request: Request, pk: str) -> Response:
        asked = RefusalSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        proposal = self.get_object()
        try:
            refuse_role(
                proposal_id=proposal.pk, by=request.user, actor=actor_for(request=request), **asked.validated_data
            )
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        proposal.refresh_from_db()
        return Response(ProposalSerializer(proposal).data)


class DelegationSerializer(serializers.ModelSerializer):
    lender = serializers.CharField(source="lender.username", read_only=True)
    borrower = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.filter(is_active=True))
    scope = ScopeSerializer(required=False)
    reason = serializers.CharField(max_length=1000, write_only=True)

    class Meta:
        model = Delegation
        fields = ["id", "lender", "borrower", "role", "scope", "starts", "ends", "ended_at", "reason"]
        read_only_fields = ["ended_at"]


class DelegationViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet
):
    """Roles that people lend each other. Posting lends one of the caller's own, and needs a fresh proof as approving
    does."""

    serializer_class = DelegationSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "role.lend", "destroy": "role.lend", "*": "view"}

    def get_queryset(self) -> Any:
        everything = Delegation.objects.select_related("lender", "borrower").order_by("-created_at")
        return loans() if self.action == "list" else everything

    @extend_schema(request=DelegationSerializer, responses={201: DelegationSerializer})
    def create(self, request: Request) -> Response:
        asked = DelegationSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        _, proved_at = proof_of(request)
        if proved_at is None or database_now() - proved_at > FRESH_PROOF:
            raise Problem(403, "step-up-needed", "Confirm who you are first: lending a role needs a fresh proof.")
        try:
            loan = delegate(lender=request.user, actor=actor_for(request=request), **asked.validated_data)
        except AuthorityRefused as refused:
            raise problem(refused) from refused
        return Response(DelegationSerializer(loan).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """End it before its time: by the lender, the borrower, or an administrator."""
        loan = self.get_object()
        if request.user.pk not in (loan.lender_id, loan.borrower_id):
            require(request, "admin")
        try:
            end_delegation(delegation=loan, actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(409, "refused", str(error)) from error
        return Response(status=status.HTTP_204_NO_CONTENT)


router_entries = [
    ("users", UserViewSet, "user"),
    ("role-proposals", ProposalViewSet, "role-proposal"),
    ("delegations", DelegationViewSet, "delegation"),
]
