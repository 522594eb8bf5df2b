"""Incidents and what is done to them."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import user_of
from audit.queries import timeline
from incidents import actions, queries
from incidents.api import serializers as shapes
from incidents.api import working
from incidents.api.common import done, sent
from incidents.api.working import WorkingVerbs
from incidents.models import Evidence, Incident, Update
from incidents.narrative import tell
from incidents.proposing import propose_rollback
from incidents.working.timeline import KINDS
from incidents.working.views.timeline import asked_of

TIMELINE_PAGE = 500


class IncidentViewSet(WorkingVerbs, viewsets.ReadOnlyModelViewSet[Incident]):
    """Incidents, by their reference (INC-1). They are opened by alerts; every verb of the pages is here."""

    serializer_class = shapes.IncidentSerializer
    permission_classes = [HasScope]
    required_scope = {
        "acknowledge": "incident.respond",
        "triage": "incident.respond",
        "severity": "incident.respond",
        "roles": "incident.respond",
        "post_update": "incident.respond",
        "propose": "plan.propose",
        "resolve": "incident.command",
        "move": "incident.command",
        **working.SCOPES,
        "*": "view",
    }
    filterset_fields = ["state", "severity", "endpoint__slug"]
    lookup_field = "ref"
    queryset = Incident.objects.all()

    def get_queryset(self) -> QuerySet[Incident]:
        return queries.incidents()

    @extend_schema(request=shapes.AcknowledgeSerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def acknowledge(self, request: Request, ref: str) -> Response:
        """Say that somebody has it."""
        typed = sent(request, shapes.AcknowledgeSerializer)
        return self._do(
            request,
            lambda incident: actions.acknowledge(
                incident=incident,
                user=user_of(request),
                actor=actor_for(request=request),
                seen_version=typed.get("version"),
            ),
        )

    @extend_schema(request=shapes.TriageSerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def triage(self, request: Request, ref: str) -> Response:
        """Impact, urgency and what it is thought to be; the severity follows from the first two."""
        typed = sent(request, shapes.TriageSerializer)
        seen = typed.pop("version", None)
        return self._do(
            request,
            lambda incident: actions.triage(
                incident=incident, user=user_of(request), actor=actor_for(request=request), seen_version=seen, **typed
            ),
        )

    @extend_schema(request=shapes.SeveritySerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def severity(self, request: Request, ref: str) -> Response:
        """Raise it without a word, or lower it with a reason."""
        return self._do(request, self._changing(request, shapes.SeveritySerializer, actions.set_severity))

    @extend_schema(request=shapes.RoleSerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def roles(self, request: Request, ref: str) -> Response:
        """Give a role at once, as programs that page people do; `offers/` asks the person first."""
        typed = sent(request, shapes.RoleSerializer)
        return self._do(
            request,
            lambda incident: actions.hold_role(incident=incident, actor=actor_for(request=request), **typed),
        )

    @extend_schema(request=shapes.UpdateSerializer, responses={201: shapes.UpdateSerializer})
    @action(detail=True, methods=["post"], url_path="updates")
    def post_update(self, request: Request, ref: str) -> Response:
        """A report in CAN form: conditions, actions, needs."""
        typed = {"actions": "", "needs": ""} | sent(request, shapes.UpdateSerializer)
        incident = self.get_object()
        made = done(
            lambda: actions.post_update(
                incident=incident, user=user_of(request), actor=actor_for(request=request), **typed
            )
        )
        return Response(shapes.UpdateSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.ProposeRollbackSerializer, responses={201: shapes.ProposedSerializer})
    @action(detail=True, methods=["post"])
    def propose(self, request: Request, ref: str) -> Response:
        """Propose to go back to a version; the plan is preflighted and then its approvers are asked."""
        typed = sent(request, shapes.ProposeRollbackSerializer)
        incident = self.get_object()
        plan = done(
            lambda: propose_rollback(
                incident=incident, user=user_of(request), actor=actor_for(request=request), **typed
            )
        )
        return Response({"plan": str(plan.pk), "plan_hash": plan.plan_hash}, status=status.HTTP_201_CREATED)

    @extend_schema(request=shapes.ResolveSerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, ref: str) -> Response:
        """Say that it is over. Refused while a rollback runs or is not verified."""
        return self._do(request, self._changing(request, shapes.ResolveSerializer, actions.resolve))

    @extend_schema(request=shapes.MoveSerializer, responses=shapes.IncidentSerializer)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, ref: str) -> Response:
        """Move along the lifecycle, or reopen."""
        return self._do(request, self._changing(request, shapes.MoveSerializer, actions.move))

    @extend_schema(
        parameters=[
            OpenApiParameter("before", int, description="Only events with a smaller number."),
            OpenApiParameter("kind", enum=list(KINDS), description="Only events of that kind."),
            OpenApiParameter("by", enum=["people", "programs"]),
            OpenApiParameter("who", str, description="A pseudonym, or a part of a name."),
            OpenApiParameter("amiss", bool, description="1: only what failed or was denied."),
        ],
        responses=shapes.TimelineSerializer(many=True),
        filters=False,
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def timeline(self, request: Request, ref: str) -> Response:
        """The newest 500 events on record, in the order of their numbers."""
        asked = asked_of(request)
        entries = timeline(self.get_object().ref, newest=TIMELINE_PAGE, before=asked.before, only=asked.condition())
        return Response(shapes.TimelineSerializer(tell(entries), many=True).data)

    @extend_schema(responses=shapes.EvidenceSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def evidence(self, request: Request, ref: str) -> Response:
        """What was frozen when the incident was opened, with the digest of each piece."""
        pieces = self.get_object().evidence.select_related("incident")
        return Response(shapes.EvidenceSerializer(pieces, many=True).data)

    @extend_schema(responses=shapes.DiagnosisSerializer)
    @action(detail=True, methods=["get"])
    def diagnosis(self, request: Request, ref: str) -> Response:
        """What it looks like, in fixed words with the evidence, and what could be done."""
        return Response(shapes.DiagnosisSerializer(queries.situation(self.get_object()).diagnosis()).data)

    def _changing(self, request: Request, shape: type, verb: Callable[..., Any]) -> Callable[[Incident], Any]:
        """A verb that takes what was sent, the actor and the version seen."""
        typed = sent(request, shape)
        seen = typed.pop("version", None)
        return lambda incident: verb(incident=incident, actor=actor_for(request=request), seen_version=seen, **typed)

    def _do(self, request: Request, verb: Callable[[Incident], Any]) -> Response:
        incident = self.get_object()
        done(lambda: verb(incident))
        return Response(shapes.IncidentSerializer(self.get_object()).data)


class UpdateViewSet(viewsets.ReadOnlyModelViewSet[Update]):
    """Reports in CAN form."""

    serializer_class = shapes.UpdateSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    filterset_fields = ["incident__ref"]
    queryset = Update.objects.select_related("incident", "by")


class EvidenceViewSet(viewsets.ReadOnlyModelViewSet[Evidence]):
    """Pieces of evidence."""

    serializer_class = shapes.EvidenceSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    filterset_fields = ["incident__ref", "kind"]
    queryset = Evidence.objects.select_related("incident")
