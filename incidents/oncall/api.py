"""The API of on-call: rotations, policies, escalations, and how the asking person is called."""

import datetime
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.authentication import HasScope
from accounts.models import User
from accounts.permissions import require_on, user_of
from accounts.problems import Problem
from audit.clock import database_now
from incidents.api.common import done, sent
from incidents.oncall import contacts, duty, escalations, policies, rotations
from incidents.oncall.models import Call, Contact, Escalation, Policy, Rotation
from incidents.telling.models import Kind

AHEAD = datetime.timedelta(days=28)
LONGEST = datetime.timedelta(days=366)


class HoursSerializer(serializers.Serializer):
    days = serializers.ListField(child=serializers.IntegerField(min_value=0, max_value=6), help_text="0 is Monday.")
    start = serializers.CharField(max_length=5, help_text="HH:MM by the rotation's clock.")
    until = serializers.CharField(max_length=5, help_text="HH:MM; not later than start: on the next day.")


class LayerSerializer(serializers.Serializer):
    people = serializers.ListField(child=serializers.CharField(max_length=40), help_text="Pseudonyms, in order.")
    begins = serializers.CharField(max_length=16, help_text="When the first shift begins: 2026-11-23T09:00, no zone.")
    hours = serializers.IntegerField(min_value=1, max_value=92 * 24, help_text="How long a shift lasts.")
    windows = HoursSerializer(many=True, required=False, default=list)


class RotationSerializer(serializers.ModelSerializer):
    layers = LayerSerializer(many=True)
    on_call = serializers.SerializerMethodField(help_text="The user name of who is on call now.")
    version = serializers.IntegerField(required=False)

    class Meta:
        model = Rotation
        fields = ["id", "team", "name", "zone", "layers", "version", "on_call"]

    @extend_schema_field(serializers.CharField())
    def get_on_call(self, rotation: Rotation) -> str:
        found = duty.on_call(rotation, database_now())
        return User.objects.filter(pseudonym=found, is_active=True).values_list("username", flat=True).first() or ""


class TurnSerializer(serializers.Serializer):
    user = serializers.CharField(help_text="Empty in a gap.")
    starts = serializers.DateTimeField()
    ends = serializers.DateTimeField()


class OverrideSerializer(serializers.Serializer):
    user = serializers.SlugRelatedField("username", queryset=User.objects.filter(is_active=True))
    starts = serializers.DateTimeField()
    ends = serializers.DateTimeField()
    reason = serializers.CharField(max_length=500)


class RotationViewSet(viewsets.GenericViewSet, mixins.ListModelMixin, mixins.RetrieveModelMixin):
    """Who is on call, by turns that are kept here."""

    serializer_class = RotationSerializer
    permission_classes = [HasScope]
    required_scope = {
        "create": "admin", "update": "admin", "destroy": "admin", "overrides": "incident.respond", "*": "view"
    }  # fmt: skip
    queryset = Rotation.objects.filter(retired_at=None)

    def get_queryset(self) -> Any:
        return duty.rotations()

    @extend_schema(responses={201: RotationSerializer})
    def create(self, request: Request) -> Response:
        made = self._set(request, None)
        return Response(self.get_serializer(made).data, status=status.HTTP_201_CREATED)

    def update(self, request: Request, pk: str) -> Response:
        return Response(self.get_serializer(self._set(request, self.get_object())).data)

    def _set(self, request: Request, rotation: Rotation | None) -> Rotation:
        typed = sent(request, RotationSerializer)
        seen = typed.pop("version", None)
        actor = actor_for(request=request)
        return done(lambda: rotations.set_rotation(**typed, rotation=rotation, seen_version=seen, actor=actor))

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        found = self.get_object()
        done(lambda: rotations.retire_rotation(rotation=found, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        parameters=[
            OpenApiParameter("since", datetime.datetime, description="From when on; now, where it is absent."),
            OpenApiParameter("until", datetime.datetime, description="Until when; 28 days later, where it is absent."),
        ],
        responses=TurnSerializer(many=True),
        filters=False,
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def turns(self, request: Request, pk: str) -> Response:
        """Who is on call from when to when, gaps among them."""
        field = serializers.DateTimeField()
        asked = {name: request.query_params.get(name) for name in ("since", "until")}
        since = field.run_validation(asked["since"]) if asked["since"] else database_now()
        until = field.run_validation(asked["until"]) if asked["until"] else since + AHEAD
        if not since < until <= since + LONGEST:
            raise Problem(422, "bad-span", "Ask for a time that ends after it begins, and is at most a year long.")
        found = duty.turns_of(self.get_object(), since, until)
        users = User.objects.filter(pseudonym__in={turn.person for turn in found}, is_active=True)
        named = dict(users.values_list("pseudonym", "username"))
        shown = [{"user": named.get(one.person, ""), "starts": one.starts, "ends": one.ends} for one in found]
        return Response(TurnSerializer(shown, many=True).data)

    @extend_schema(request=OverrideSerializer, responses={201: OverrideSerializer})
    @action(detail=True, methods=["post"])
    def overrides(self, request: Request, pk: str) -> Response:
        """Take a turn, or give it to another, with a reason."""
        typed, found = sent(request, OverrideSerializer), self.get_object()
        require_on(request, "incident.respond", found)
        by, actor = user_of(request), actor_for(request=request)
        made = done(lambda: rotations.override(rotation=found, by=by, actor=actor, **typed))
        return Response(OverrideSerializer(made).data, status=status.HTTP_201_CREATED)


class EscalationStepSerializer(serializers.Serializer):
    targets = serializers.ListField(
        child=serializers.CharField(max_length=120),
        help_text="person:<pseudonym>, rotation:<id>, calendar:<team>, channel:<id>, everybody.",
    )
    seconds = serializers.IntegerField(min_value=10, max_value=86400, help_text="Until the next step is called.")


class EscalationPolicySerializer(serializers.ModelSerializer):
    team = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    severities = serializers.ListField(child=serializers.IntegerField(min_value=1, max_value=4))
    steps = EscalationStepSerializer(many=True)
    repeats = serializers.IntegerField(min_value=0, max_value=20, default=1)
    silence_seconds = serializers.IntegerField(min_value=0, max_value=7 * 86400, default=3600)
    version = serializers.IntegerField(required=False)

    class Meta:
        model = Policy
        fields = ["id", "name", "team", "severities", "steps", "repeats", "silence_seconds", "version"]


class EscalationPolicyViewSet(viewsets.GenericViewSet, mixins.ListModelMixin, mixins.RetrieveModelMixin):
    """In which order people are called to an incident."""

    serializer_class = EscalationPolicySerializer
    permission_classes = [HasScope]
    required_scope = {"create": "admin", "update": "admin", "destroy": "admin", "*": "view"}
    queryset = Policy.objects.filter(retired_at=None)

    @extend_schema(responses={201: EscalationPolicySerializer})
    def create(self, request: Request) -> Response:
        made = self._set(request, None)
        return Response(self.get_serializer(made).data, status=status.HTTP_201_CREATED)

    def update(self, request: Request, pk: str) -> Response:
        return Response(self.get_serializer(self._set(request, self.get_object())).data)

    def _set(self, request: Request, policy: Policy | None) -> Policy:
        typed = sent(request, EscalationPolicySerializer)
        seen = typed.pop("version", None)
        actor = actor_for(request=request)
        return done(lambda: policies.set_policy(**typed, policy=policy, seen_version=seen, actor=actor))

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        found = self.get_object()
        done(lambda: policies.retire_policy(policy=found, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)


class EscalationCallSerializer(serializers.ModelSerializer):
    user = serializers.CharField(source="user.username", default=None, read_only=True)
    way = serializers.CharField(source="contact.name", read_only=True)
    message = serializers.CharField(source="message.state", read_only=True)

    class Meta:
        model = Call
        fields = ["at", "wave", "round", "step", "user", "way", "message", "answered_at"]


class EscalationSerializer(serializers.ModelSerializer):
    incident = serializers.CharField(source="incident.ref", read_only=True)
    policy = serializers.CharField(source="policy.name", read_only=True)
    taken_by = serializers.CharField(source="taken_by.username", default=None, read_only=True)
    calls = EscalationCallSerializer(many=True, read_only=True)

    class Meta:
        model = Escalation
        fields = [
            "id", "incident", "policy", "state", "severity", "wave", "due_at", "taken_by", "taken_at", "began_at",
            "ended_at", "calls",
        ]  # fmt: skip


class HandOverSerializer(serializers.Serializer):
    to = serializers.SlugRelatedField("username", queryset=User.objects.filter(is_active=True))
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class CallNextSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=500, required=False, allow_blank=True, default="")


class EscalationViewSet(viewsets.ReadOnlyModelViewSet[Escalation]):
    """Who was called to an incident, and the three answers to a call."""

    serializer_class = EscalationSerializer
    permission_classes = [HasScope]
    required_scope = {
        "acknowledge": "incident.respond", "hand_over": "incident.respond", "call_now": "incident.respond", "*": "view"
    }  # fmt: skip
    filterset_fields = ["incident__ref", "state"]
    queryset = Escalation.objects.select_related("incident__endpoint__model", "policy", "taken_by").prefetch_related(
        "calls__user", "calls__contact", "calls__message"
    )

    @extend_schema(request=None, responses=EscalationSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, pk: str) -> Response:
        """Say that you have it."""
        found, actor = self._mine(request), actor_for(request=request)
        done(lambda: escalations.acknowledge(escalation=found, user=user_of(request), actor=actor))
        return self._answer()

    @extend_schema(request=HandOverSerializer, responses=EscalationSerializer)
    @action(detail=True, methods=["post"], url_path="hand-over")
    def hand_over(self, request: Request, pk: str) -> Response:
        """Ask another person to take it."""
        typed, found, actor = sent(request, HandOverSerializer), self._mine(request), actor_for(request=request)
        done(lambda: escalations.hand_over(escalation=found, user=user_of(request), actor=actor, **typed))
        return self._answer()

    @extend_schema(request=CallNextSerializer, responses=EscalationSerializer)
    @action(detail=True, methods=["post"], url_path="call-now")
    def call_now(self, request: Request, pk: str) -> Response:
        """Call the next step at once."""
        typed, found, actor = sent(request, CallNextSerializer), self._mine(request), actor_for(request=request)
        done(lambda: escalations.call_now(escalation=found, actor=actor, **typed))
        return self._answer()

    def _mine(self, request: Request) -> Escalation:
        found = self.get_object()
        require_on(request, "incident.respond", found)
        return found

    def _answer(self) -> Response:
        return Response(self.get_serializer(self.get_object()).data)


class WaySerializer(serializers.ModelSerializer):
    kind = serializers.ChoiceField(choices=Kind.choices, source="receiver.kind")
    address = serializers.CharField(source="receiver.address", required=False, allow_blank=True, max_length=1000)
    state = serializers.CharField(source="receiver.state", read_only=True)
    key = serializers.CharField(write_only=True, required=False, allow_blank=True, max_length=100)
    secret = serializers.CharField(read_only=True, required=False, help_text="Of a new webhook, once.")

    class Meta:
        model = Contact
        fields = [
            "id", "kind", "name", "address", "key", "secret", "state", "least_severity", "quiet_from", "quiet_until",
            "quiet_severity", "zone",
        ]  # fmt: skip


class WayViewSet(viewsets.GenericViewSet, mixins.ListModelMixin):
    """How the asking person is called."""

    serializer_class = WaySerializer
    permission_classes = [HasScope]
    # A token that may only look must not decide who is called.
    required_scope = {
        "create": "incident.respond", "destroy": "incident.respond", "test": "incident.respond", "*": "view"
    }  # fmt: skip
    queryset = Contact.objects.none()

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Contact.objects.none()
        return contacts.contacts().filter(user=user_of(self.request), own=False)

    @extend_schema(responses={201: WaySerializer})
    def create(self, request: Request) -> Response:
        """Enter a way. An e-mail address is used once its reader has followed the link that is sent there."""
        typed = sent(request, WaySerializer)
        typed |= typed.pop("receiver")
        actor = actor_for(request=request)
        made, secret = done(lambda: contacts.add_contact(user=user_of(request), actor=actor, **typed))
        shown = self.get_serializer(contacts.contacts().get(pk=made.pk)).data
        return Response(shown | ({"secret": secret} if secret else {}), status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        found = self.get_object()
        done(lambda: contacts.remove_contact(contact=found, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses={202: None})
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str) -> Response:
        """Send a message that wakes nobody."""
        found = self.get_object()
        done(lambda: contacts.test(contact=found, actor=actor_for(request=request)))
        return Response(status=status.HTTP_202_ACCEPTED)


router_entries: list[tuple[str, type[Any], str]] = [
    ("on-call/rotations", RotationViewSet, "api-rotation"),
    ("on-call/policies", EscalationPolicyViewSet, "api-escalation-policy"),
    ("on-call/ways", WayViewSet, "api-way"),
    ("escalations", EscalationViewSet, "api-escalation"),
]
