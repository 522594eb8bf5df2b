"""What people do in an incident beside its lifecycle, over the API."""

from typing import Any

from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.models import User
from audit.clock import database_now
from incidents import severity
from incidents.api.common import done, person, sent
from incidents.models import Impact, IncidentRole, Urgency
from incidents.working import notes, roles, times
from incidents.working.models import RoleOffer, Sighting
from incidents.working.reach import estimate
from incidents.working.resembling import similar
from incidents.working.suspects import suspects

SCOPES = {
    "offers": "incident.respond",
    "accept_role": "incident.respond",
    "refuse_role": "incident.respond",
    "seen": "view",
    "roll_call": "incident.respond",
    "correct_time": "incident.respond",
    "notes": "incident.respond",
    "amend": "incident.respond",
    "pins": "incident.respond",
}


class OfferSerializer(serializers.ModelSerializer[RoleOffer]):
    """`to` is a username."""

    to = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.filter(is_active=True))
    by = serializers.CharField(source="by.username", read_only=True)
    note = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="", write_only=True)

    class Meta:
        model = RoleOffer
        fields = ["id", "role", "to", "by", "note", "state", "offered_at", "settled_at"]
        read_only_fields = ["state", "offered_at", "settled_at"]


class OfferedRoleSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=IncidentRole.choices)


class EndOfferSerializer(OfferedRoleSerializer):
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class SightingSerializer(serializers.ModelSerializer[Sighting]):
    user = serializers.CharField(source="user.username")

    class Meta:
        model = Sighting
        fields = ["user", "at"]


class CorrectTimeSerializer(serializers.Serializer):
    version = serializers.IntegerField(required=False, help_text="The version that was read.")
    which = serializers.ChoiceField(choices=list(times.TIMES.items()))
    at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=1000)


class SuspectSerializer(serializers.Serializer):
    sentence = serializers.CharField()
    why = serializers.CharField()
    weight = serializers.FloatField()
    at = serializers.DateTimeField()
    action = serializers.CharField()
    event = serializers.UUIDField()


class LikenessSerializer(serializers.Serializer):
    incident = serializers.CharField(source="incident.ref")
    title = serializers.CharField(source="incident.title")
    points = serializers.IntegerField()
    because = serializers.CharField()
    helped = serializers.CharField()


class EstimateSerializer(serializers.Serializer):
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    answered = serializers.IntegerField()
    wrong = serializers.IntegerField(allow_null=True)
    low = serializers.IntegerField(allow_null=True)
    high = serializers.IntegerField(allow_null=True)
    sentence = serializers.CharField()


class ContextSerializer(serializers.Serializer):
    """What changed lately, the likeliest cause first; earlier incidents like it; how many it has touched so far."""

    suspects = SuspectSerializer(many=True)
    similar = LikenessSerializer(many=True)
    estimate = EstimateSerializer(allow_null=True)


class NoteSerializer(serializers.Serializer):
    text = serializers.CharField(max_length=4000)


class AmendSerializer(NoteSerializer):
    seq = serializers.IntegerField(min_value=1, help_text="The event's number in the incident.")


class PinSerializer(serializers.Serializer):
    seq = serializers.IntegerField(min_value=1)
    pinned = serializers.BooleanField(default=True)


class MatrixSerializer(serializers.Serializer):
    """`cells`: three rows by impact, each of three severities by urgency; the worst is first, and 1 is worst."""

    edition = serializers.IntegerField(min_value=0, help_text="The edition that was read; 0 before the first edit.")
    cells = serializers.ListField(
        child=serializers.ListField(
            child=serializers.IntegerField(min_value=1, max_value=4), min_length=len(Urgency), max_length=len(Urgency)
        ),
        min_length=len(Impact),
        max_length=len(Impact),
    )
    reason = serializers.CharField(max_length=1000, write_only=True)


class WorkingVerbs(viewsets.GenericViewSet[Any]):
    """The verbs, for the API of incidents."""

    @extend_schema(responses=ContextSerializer, filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def context(self, request: Request, ref: str) -> Response:
        """What a responder asks during triage."""
        incident = self.get_object()
        found = {
            "suspects": suspects(incident),
            "similar": similar(incident),
            "estimate": estimate(incident, database_now()),
        }
        return Response(ContextSerializer(found).data)

    @extend_schema(request=OfferSerializer, responses={201: OfferSerializer})
    @action(detail=True, methods=["post"])
    def offers(self, request: Request, ref: str) -> Response:
        """Offer a role to a person; it changes hands when they accept."""
        typed = sent(request, OfferSerializer)
        incident = self.get_object()
        made = done(
            lambda: roles.offer_role(incident=incident, by=person(request), actor=actor_for(request=request), **typed)
        )
        return Response(OfferSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=OfferedRoleSerializer, responses={204: None})
    @action(detail=True, methods=["post"], url_path="offers/accept")
    def accept_role(self, request: Request, ref: str) -> Response:
        """Accept the role that was offered to the caller."""
        typed = sent(request, OfferedRoleSerializer)
        incident = self.get_object()
        done(
            lambda: roles.accept_role(
                incident=incident, user=person(request), actor=actor_for(request=request), **typed
            )
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=EndOfferSerializer, responses=OfferSerializer)
    @action(detail=True, methods=["post"], url_path="offers/refuse")
    def refuse_role(self, request: Request, ref: str) -> Response:
        """Decline what was offered to the caller, or withdraw what the caller offered."""
        typed = sent(request, EndOfferSerializer)
        incident = self.get_object()
        ended = done(
            lambda: roles.refuse_role(
                incident=incident, user=person(request), actor=actor_for(request=request), **typed
            )
        )
        ended.refresh_from_db()
        return Response(OfferSerializer(ended).data)

    @extend_schema(request=None, responses=SightingSerializer)
    @action(detail=True, methods=["post"])
    def seen(self, request: Request, ref: str) -> Response:
        """Say to have seen the incident."""
        incident = self.get_object()
        made = done(lambda: roles.say_seen(incident=incident, user=person(request), actor=actor_for(request=request)))
        return Response(SightingSerializer(made).data)

    @extend_schema(request=None, responses={204: None})
    @action(detail=True, methods=["post"], url_path="roll-call")
    def roll_call(self, request: Request, ref: str) -> Response:
        """Ask everybody who works on it to say anew that they have seen it."""
        incident = self.get_object()
        done(lambda: roles.call_roll(incident=incident, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=CorrectTimeSerializer, responses={204: None})
    @action(detail=True, methods=["post"], url_path="correct-time")
    def correct_time(self, request: Request, ref: str) -> Response:
        """Put one of the incident's times right, with the reason; what it was stays on record."""
        typed = sent(request, CorrectTimeSerializer)
        seen = typed.pop("version", None)
        incident = self.get_object()
        done(
            lambda: times.correct_time(incident=incident, actor=actor_for(request=request), seen_version=seen, **typed)
        )
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=NoteSerializer, responses={201: NoteSerializer})
    @action(detail=True, methods=["post"])
    def notes(self, request: Request, ref: str) -> Response:
        """Write a note on the timeline."""
        typed = sent(request, NoteSerializer)
        incident = self.get_object()
        done(lambda: notes.add_note(incident=incident, actor=actor_for(request=request), **typed))
        return Response(typed, status=status.HTTP_201_CREATED)

    @extend_schema(request=AmendSerializer, responses={201: AmendSerializer})
    @action(detail=True, methods=["post"])
    def amend(self, request: Request, ref: str) -> Response:
        """Put a correction beside an event, which goes on to say what it said."""
        typed = sent(request, AmendSerializer)
        incident = self.get_object()
        done(lambda: notes.amend(incident=incident, actor=actor_for(request=request), **typed))
        return Response(typed, status=status.HTTP_201_CREATED)

    @extend_schema(request=PinSerializer, responses=PinSerializer)
    @action(detail=True, methods=["post"])
    def pins(self, request: Request, ref: str) -> Response:
        """Pin an event, or take the pin off."""
        typed = sent(request, PinSerializer)
        verb = notes.pin if typed["pinned"] else notes.unpin
        incident = self.get_object()
        done(lambda: verb(incident=incident, seq=typed["seq"], actor=actor_for(request=request)))
        return Response(typed)


@method_decorator(name="list", decorator=extend_schema(responses=MatrixSerializer, filters=False))
class SeverityMatrixViewSet(viewsets.ViewSet):
    """How severity follows from impact and urgency."""

    permission_classes = [HasScope]
    required_scope = {"create": "admin", "*": "view"}
    pagination_class = None

    def list(self, request: Request) -> Response:
        """The table that counts."""
        edition, cells = severity.matrix()
        return Response(MatrixSerializer({"edition": edition, "cells": cells}).data)

    @extend_schema(request=MatrixSerializer, responses={201: MatrixSerializer})
    def create(self, request: Request) -> Response:
        """Put another table into force; refused when somebody else did since `edition`."""
        typed = sent(request, MatrixSerializer)
        done(
            lambda: severity.set_matrix(
                cells=typed["cells"],
                reason=typed["reason"],
                user=person(request),
                actor=actor_for(request=request),
                seen_edition=typed["edition"],
            )
        )
        edition, cells = severity.matrix()
        return Response(MatrixSerializer({"edition": edition, "cells": cells}).data, status=status.HTTP_201_CREATED)
