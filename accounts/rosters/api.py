"""The API of on-call rosters."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import oncall
from accounts.actions import AccountError, actor_for
from accounts.authentication import HasScope
from accounts.problems import Problem
from accounts.rosters.actions import remove_roster, set_roster
from accounts.rosters.calendars import MOST_BYTES
from accounts.rosters.models import Roster, Shift


class ShiftSerializer(serializers.ModelSerializer):
    user = serializers.CharField(source="user.username", allow_null=True, default=None, read_only=True)

    class Meta:
        model = Shift
        fields = ["user", "name", "starts", "ends"]


class RosterSerializer(serializers.ModelSerializer):
    current = ShiftSerializer(many=True, read_only=True)

    class Meta:
        model = Roster
        fields = ["id", "team", "address", "read_at", "problem", "current"]


class NewRosterSerializer(serializers.Serializer):
    team = serializers.CharField(max_length=100)
    address = serializers.CharField(max_length=2000, required=False, allow_blank=True, default="")
    calendar = serializers.CharField(
        max_length=MOST_BYTES,
        required=False,
        allow_blank=True,
        default="",
        help_text="iCalendar, instead of an address.",
    )


class RosterViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Who is on call, by team, as the team's calendar says. Posting a team's roster replaces the one before."""

    serializer_class = RosterSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "admin", "destroy": "admin", "*": "view"}

    def get_queryset(self) -> Any:
        return oncall.rosters()

    @extend_schema(request=NewRosterSerializer, responses={201: RosterSerializer})
    def create(self, request: Request) -> Response:
        asked = NewRosterSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            made = set_roster(**asked.validated_data, actor=actor_for(request=request))
        except AccountError as error:
            raise Problem(422, "roster-refused", str(error)) from error
        return Response(RosterSerializer(oncall.rosters().get(pk=made.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        remove_roster(roster=self.get_object(), actor=actor_for(request=request))
        return Response(status=status.HTTP_204_NO_CONTENT)


router_entries = [("rosters", RosterViewSet, "roster")]
