"""What people do in an incident beside its lifecycle, over the API."""

from typing import Any

from django.utils.decorators import method_decorator
from drf_spectacular.utils import extend_schema, extend_schema_serializer
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.models import User
from accounts.permissions import require, user_of
from accounts.problems import Problem
from audit.clock import database_now
from incidents import severity
from incidents.api.common import done, sent
from incidents.models import Impact, IncidentRole, Urgency
from incidents.working import notes, roles, runbooks, times, todo
from incidents.working.models import RoleOffer, Runbook, RunbookUse, Sighting, Step, Task, TaskState
from incidents.working.reach import estimate
from incidents.working.resembling import similar
from incidents.working.suspects import suspects
from monitoring.models import RuleKind
from registry.models import Model

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
    "add_task": "incident.respond",
    "settle_task": "incident.respond",
    "take_up": "incident.respond",
    "tick": "incident.respond",
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


def people() -> Any:
    return serializers.SlugRelatedField(
        slug_field="username",
        queryset=User.objects.filter(is_active=True),
        allow_null=True,
        required=False,
        default=None,
    )


class TaskSerializer(serializers.ModelSerializer[Task]):
    """`owner` is a username, or nothing while nobody has it."""

    owner = people()

    class Meta:
        model = Task
        fields = ["id", "text", "owner", "due_at", "state", "created_at", "settled_at"]
        read_only_fields = ["state", "created_at", "settled_at"]


class SettleTaskSerializer(serializers.Serializer):
    state = serializers.ChoiceField(choices=[TaskState.DONE, TaskState.DROPPED])
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class RunbookStepSerializer(serializers.ModelSerializer[Step]):
    done_by = serializers.CharField(source="done_by.username", allow_null=True, default=None, read_only=True)

    class Meta:
        model = Step
        fields = ["id", "position", "text", "done_at", "done_by"]


class RunbookUseSerializer(serializers.ModelSerializer[RunbookUse]):
    runbook = serializers.CharField(source="runbook.slug")
    by = serializers.CharField(source="by.username")
    steps = RunbookStepSerializer(many=True)

    class Meta:
        model = RunbookUse
        fields = ["runbook", "runbook_version", "by", "at", "steps"]


class TakeUpSerializer(serializers.Serializer):
    runbook = serializers.SlugRelatedField(slug_field="slug", queryset=Runbook.objects.filter(retired_at=None))


class TickSerializer(serializers.Serializer):
    done = serializers.BooleanField(default=True)


class RunbookSerializer(serializers.ModelSerializer[Runbook]):
    """`body` is Markdown; `model` a slug, or nothing for any."""

    model = serializers.SlugRelatedField(
        slug_field="slug", queryset=Model.objects.all(), allow_null=True, required=False, default=None
    )
    kind = serializers.ChoiceField(choices=RuleKind.choices, allow_blank=True, required=False, default="")
    body = serializers.CharField(max_length=20_000)
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="", write_only=True)

    class Meta:
        model = Runbook
        fields = ["slug", "title", "body", "model", "kind", "version", "changed_at", "retired_at", "reason"]
        read_only_fields = ["version", "changed_at", "retired_at"]


class RunbookEditSerializer(RunbookSerializer):
    version = serializers.IntegerField(min_value=1, help_text="The version that was read.")

    class Meta(RunbookSerializer.Meta):
        fields = ["title", "body", "model", "kind", "version", "reason"]
        read_only_fields: list[str] = []


@extend_schema_serializer(many=False)
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
            lambda: roles.offer_role(incident=incident, by=user_of(request), actor=actor_for(request=request), **typed)
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
                incident=incident, user=user_of(request), actor=actor_for(request=request), **typed
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
                incident=incident, user=user_of(request), actor=actor_for(request=request), **typed
            )
        )
        ended.refresh_from_db()
        return Response(OfferSerializer(ended).data)

    @extend_schema(request=None, responses=SightingSerializer)
    @action(detail=True, methods=["post"])
    def seen(self, request: Request, ref: str) -> Response:
        """Say to have seen the incident."""
        incident = self.get_object()
        made = done(lambda: roles.say_seen(incident=incident, user=user_of(request), actor=actor_for(request=request)))
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

    @extend_schema(responses=TaskSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def tasks(self, request: Request, ref: str) -> Response:
        """The tasks of the incident, oldest first."""
        return Response(TaskSerializer(self.get_object().tasks.select_related("owner"), many=True).data)

    @extend_schema(request=TaskSerializer, responses={201: TaskSerializer})
    @tasks.mapping.post
    def add_task(self, request: Request, ref: str) -> Response:
        """Write down something that somebody is to do."""
        typed = sent(request, TaskSerializer)
        incident = self.get_object()
        made = done(lambda: todo.add_task(incident=incident, actor=actor_for(request=request), **typed))
        return Response(TaskSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=SettleTaskSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"], url_path=r"tasks/(?P<item>\d+)/settle")
    def settle_task(self, request: Request, ref: str, item: str) -> Response:
        """A task is done, or not needed any more."""
        typed = sent(request, SettleTaskSerializer)
        task = self.get_object().tasks.select_related("incident", "owner").filter(pk=int(item)).first()
        if task is None:
            raise Problem(404, "not-found", f"{ref} has no task {item}.")
        settled = done(lambda: todo.settle_task(task=task, actor=actor_for(request=request), **typed))
        return Response(TaskSerializer(settled).data)

    @extend_schema(responses=RunbookUseSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def runbooks(self, request: Request, ref: str) -> Response:
        """The runbooks taken up in the incident, with their steps."""
        return Response(RunbookUseSerializer(runbooks.uses_of(self.get_object()), many=True).data)

    @extend_schema(request=TakeUpSerializer, responses={201: RunbookUseSerializer})
    @runbooks.mapping.post
    def take_up(self, request: Request, ref: str) -> Response:
        """Take a runbook up, as it reads now."""
        typed = sent(request, TakeUpSerializer)
        incident = self.get_object()
        use = done(
            lambda: runbooks.take_up(
                incident=incident, user=user_of(request), actor=actor_for(request=request), **typed
            )
        )
        return Response(RunbookUseSerializer(use).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=TickSerializer, responses=RunbookStepSerializer)
    @action(detail=True, methods=["post"], url_path=r"steps/(?P<item>\d+)")
    def tick(self, request: Request, ref: str, item: str) -> Response:
        """Say that a step of a runbook is done, or open again."""
        typed = sent(request, TickSerializer)
        steps = Step.objects.select_related("use__runbook", "use__incident", "done_by")
        step = steps.filter(pk=int(item), use__incident=self.get_object()).first()
        if step is None:
            raise Problem(404, "not-found", f"{ref} has no step {item}.")
        ticked = done(
            lambda: runbooks.tick(step=step, user=user_of(request), actor=actor_for(request=request), **typed)
        )
        return Response(RunbookStepSerializer(ticked).data)


class RunbookViewSet(viewsets.ReadOnlyModelViewSet[Runbook]):
    """The library of runbooks."""

    serializer_class = RunbookSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "incident.command", "partial_update": "incident.command", "*": "view"}
    filterset_fields = ["kind", "model__slug"]
    lookup_field = "slug"
    queryset = Runbook.objects.select_related("model").order_by("title")

    @extend_schema(request=RunbookSerializer, responses={201: RunbookSerializer})
    def create(self, request: Request) -> Response:
        """Write a runbook."""
        typed = sent(request, RunbookSerializer)
        self._guard(request, typed)
        made = done(lambda: runbooks.write_runbook(actor=actor_for(request=request), **typed))
        return Response(RunbookSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RunbookEditSerializer, responses=RunbookSerializer)
    def partial_update(self, request: Request, slug: str) -> Response:
        """Replace what a runbook says; refused when somebody else did since `version`."""
        typed = sent(request, RunbookEditSerializer)
        runbook = self.get_object()
        self._guard(request, typed)
        seen = typed.pop("version")
        edited = done(
            lambda: runbooks.edit_runbook(runbook=runbook, seen_version=seen, actor=actor_for(request=request), **typed)
        )
        return Response(RunbookSerializer(edited).data)

    @staticmethod
    def _guard(request: Request, typed: dict[str, Any]) -> None:
        """A role that is limited to some models writes for these alone."""
        model = typed.get("model")
        if model is not None:
            require(request, "incident.command", model=model.slug, team=model.team)


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
                user=user_of(request),
                actor=actor_for(request=request),
                seen_edition=typed["edition"],
            )
        )
        edition, cells = severity.matrix()
        return Response(MatrixSerializer({"edition": edition, "cells": cells}).data, status=status.HTTP_201_CREATED)
