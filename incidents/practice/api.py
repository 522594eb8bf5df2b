"""The API of practice: readiness, drills and their schedules."""

from collections.abc import Callable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.approvals.queries import NoPolicy
from accounts.permissions import require, user_of
from accounts.problems import Problem
from incidents.models import Incident
from incidents.practice import by_hand, drills, queries, readiness, rules
from incidents.practice.models import AutomaticRule, Drill, DrillSchedule, Runbook
from incidents.rollback.plan import PlanRefused
from registry.models import Endpoint, Environment, Model, Placement, Version


class ReadinessSerializer(serializers.Serializer[Any]):
    endpoint = serializers.CharField()
    model = serializers.CharField()
    serves = serializers.IntegerField(allow_null=True, help_text="The number of the version that it serves.")
    target = serializers.IntegerField(allow_null=True, help_text="Of the version that it would be rolled back to.")
    target_digest = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=[(state, word) for state, word in readiness.WORDS.items()])
    sentence = serializers.CharField()
    hindrances = serializers.ListField(child=serializers.CharField(), help_text="Why it could not be done now.")
    notes = serializers.ListField(child=serializers.CharField())
    warm = serializers.BooleanField(help_text="Whether each host was last seen with it in memory.")
    seconds = serializers.FloatField(allow_null=True, help_text="Predicted, from the last approval to the last host.")
    seconds_low = serializers.FloatField(allow_null=True, help_text="By the shortest of the runs it is foretold from.")
    seconds_high = serializers.FloatField(allow_null=True, help_text="By the longest of them.")
    load_seconds = serializers.FloatField(allow_null=True, help_text="Predicted, where it is not in memory yet.")
    needs = serializers.ListField(
        child=serializers.CharField(),
        help_text="What a load of the target is expected to take of a host's memory, by kind of host.",
    )
    tested_at = serializers.DateTimeField(allow_null=True)
    drill = serializers.UUIDField(allow_null=True)


class ReadinessViewSet(viewsets.GenericViewSet[Endpoint]):
    """Of every endpoint in production: could it be rolled back now, to what, how fast, tested when."""

    queryset = Endpoint.objects.filter(environment=Environment.PRODUCTION).select_related("model")
    serializer_class = ReadinessSerializer
    permission_classes = [HasScope]
    required_scope = {"*": "view"}
    lookup_field = "slug"
    pagination_class = None
    filter_backends = []

    @extend_schema(responses=ReadinessSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Those that could not be rolled back come first."""
        return Response(ReadinessSerializer([queries.facts(row) for row in readiness.board()], many=True).data)

    @extend_schema(responses=ReadinessSerializer)
    def retrieve(self, request: Request, slug: str) -> Response:
        return Response(ReadinessSerializer(queries.facts(readiness.readiness(self.get_object()))).data)


class DrillSerializer(serializers.ModelSerializer[Drill]):
    endpoint = serializers.CharField(source="endpoint.slug")
    version = serializers.IntegerField(source="version.number")
    asked_by = serializers.CharField(source="asked_by.username")

    class Meta:
        model = Drill
        fields = [
            "id", "endpoint", "version", "plan", "back_of", "asked_by", "asked_at", "state", "reason",
            "predicted_seconds", "predicted_low", "predicted_high", "switched_seconds", "checked_seconds",
            "verified_seconds", "warm", "bytes_loaded", "load_seconds", "ended_at",
        ]  # fmt: skip


class AskSerializer(serializers.Serializer[Any]):
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    version = serializers.IntegerField(help_text="The version's number.")
    reason = serializers.CharField(max_length=500, default="To know how long it takes.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        version = Version.objects.filter(model=data["endpoint"].model, number=data["version"]).first()
        if version is None:
            raise serializers.ValidationError({"version": "The endpoint's model has no version of that number."})
        return {**data, "version": version}


class DrillViewSet(viewsets.ReadOnlyModelViewSet[Drill]):
    """Drills: what they took beside what was predicted."""

    queryset = queries.drills()
    serializer_class = DrillSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "plan.propose", "*": "view"}
    filterset_fields = ["state", "endpoint__slug", "version"]

    @extend_schema(request=AskSerializer, responses={201: DrillSerializer})
    def create(self, request: Request) -> Response:
        """Propose a drill; its plan is preflighted and approved like any other."""
        asked = AskSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.check_object_permissions(request, asked.validated_data["endpoint"])
        try:
            drill = drills.ask_drill(**asked.validated_data, user=user_of(request), actor=actor_for(request=request))
        except (PlanRefused, NoPolicy) as error:
            raise refused(error) from error
        return Response(DrillSerializer(drill).data, status=201)


def refused(error: PlanRefused | NoPolicy) -> Problem:
    """The problem that says why it was not done."""
    if isinstance(error, NoPolicy):
        return Problem(409, "no-policy", str(error))
    status = 400 if error.code in ("bad_schedule", "bad_rule", "bad_time", "reason_needed") else 409
    return Problem(status, error.code.replace("_", "-"), error.sentence)


class ScheduleSerializer(serializers.ModelSerializer[DrillSchedule]):
    endpoint = serializers.CharField(source="endpoint.slug")
    set_by = serializers.CharField(source="set_by.username")

    class Meta:
        model = DrillSchedule
        fields = ["endpoint", "every_days", "from_hour", "to_hour", "active", "set_by", "due_at", "said"]


class SetScheduleSerializer(serializers.Serializer[Any]):
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    every_days = serializers.IntegerField(min_value=1, max_value=drills.MOST_DAYS)
    from_hour = serializers.IntegerField(min_value=0, max_value=23, default=0)
    to_hour = serializers.IntegerField(min_value=1, max_value=24, default=24)
    active = serializers.BooleanField(default=True)


class ScheduleViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[DrillSchedule]):
    """When endpoints in staging are drilled by themselves."""

    queryset = DrillSchedule.objects.select_related("endpoint__model", "set_by").order_by("endpoint__slug")
    serializer_class = ScheduleSerializer
    permission_classes = [HasScope]
    required_scope = {"create": "plan.propose", "*": "view"}
    filterset_fields = ["endpoint__slug", "active"]

    @extend_schema(request=SetScheduleSerializer, responses={200: ScheduleSerializer})
    def create(self, request: Request) -> Response:
        """Set the schedule of an endpoint, in place of the one that it has."""
        asked = SetScheduleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.check_object_permissions(request, asked.validated_data["endpoint"])
        try:
            schedule = drills.set_schedule(
                **asked.validated_data, user=user_of(request), actor=actor_for(request=request)
            )
        except PlanRefused as error:
            raise refused(error) from error
        return Response(ScheduleSerializer(schedule).data)


class AutomaticRuleSerializer(serializers.ModelSerializer[AutomaticRule]):
    model = serializers.CharField(source="model.slug")
    armed_by = serializers.CharField(source="armed_by.username")

    class Meta:
        model = AutomaticRule
        fields = [
            "id", "model", "number", "severity", "error_budget", "from_hour", "to_hour", "dwell_seconds", "most",
            "window_seconds", "drill_days", "state", "state_reason", "armed_by", "armed_at", "replaced_at",
        ]  # fmt: skip


class SetAutomaticRuleSerializer(serializers.Serializer[Any]):
    model = serializers.SlugRelatedField(slug_field="slug", queryset=Model.objects.all())
    severity = serializers.IntegerField(min_value=1, max_value=4)
    error_budget = serializers.FloatField(min_value=0, max_value=1, help_text="A share of answers, such as 0.05.")
    from_hour = serializers.IntegerField(min_value=0, max_value=23, default=0)
    to_hour = serializers.IntegerField(min_value=1, max_value=24, default=24)
    dwell_seconds = serializers.IntegerField(min_value=60, default=3600)
    most = serializers.IntegerField(min_value=1, max_value=20, default=2)
    window_seconds = serializers.IntegerField(min_value=60, default=86_400)
    drill_days = serializers.IntegerField(min_value=1, max_value=365, default=30)
    reason = serializers.CharField(max_length=500)


class TurnSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=500)


class RuleViewSet(viewsets.ReadOnlyModelViewSet[AutomaticRule]):
    """When rollbacks of a model may start by themselves. Rules that were replaced are kept to be read."""

    queryset = AutomaticRule.objects.select_related("model", "armed_by").order_by("model__slug", "-number")
    serializer_class = AutomaticRuleSerializer
    permission_classes = [HasScope]
    required_scope = dict.fromkeys(("create", "arm", "disarm"), "incident.command") | {"*": "view"}
    filterset_fields = ["model__slug", "state"]

    @extend_schema(request=SetAutomaticRuleSerializer, responses={201: AutomaticRuleSerializer})
    def create(self, request: Request) -> Response:
        """Put a rule into force and arm it, in place of the one before."""
        asked = SetAutomaticRuleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wish = dict(asked.validated_data)
        model, reason = wish.pop("model"), wish.pop("reason")
        require(request, "incident.command", model=model.slug, team=model.team)
        rule = self._done(request, rules.set_rule, model=model, reason=reason, terms=rules.Terms(**wish))
        return Response(AutomaticRuleSerializer(rule).data, status=201)

    @extend_schema(request=TurnSerializer, responses=AutomaticRuleSerializer)
    @action(detail=True, methods=["post"])
    def arm(self, request: Request, pk: str) -> Response:
        """Arm a rule that tripped, or was disarmed."""
        return self._turn(request, rules.arm)

    @extend_schema(request=TurnSerializer, responses=AutomaticRuleSerializer)
    @action(detail=True, methods=["post"])
    def disarm(self, request: Request, pk: str) -> Response:
        """Let nothing start by itself for the model any more."""
        return self._turn(request, rules.disarm)

    def _turn(self, request: Request, verb: Callable[..., AutomaticRule]) -> Response:
        asked = TurnSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        rule = self._done(request, verb, rule_id=self.get_object().pk, **asked.validated_data)
        return Response(AutomaticRuleSerializer(rule).data)

    def _done(self, request: Request, verb: Callable[..., AutomaticRule], **wish: Any) -> AutomaticRule:
        try:
            return verb(**wish, user=user_of(request), actor=actor_for(request=request))
        except PlanRefused as error:
            raise refused(error) from error


class EndpointRunbookSerializer(serializers.ModelSerializer[Runbook]):
    endpoint = serializers.CharField(source="endpoint.slug")

    class Meta:
        model = Runbook
        fields = ["endpoint", "number", "sha256", "body", "made_at", "written_at"]


class RunbookViewSet(viewsets.ReadOnlyModelViewSet[Runbook]):
    """How each endpoint is changed by hand while Lastgood is down, as it was last made."""

    queryset = Runbook.objects.select_related("endpoint").order_by("endpoint__slug")
    serializer_class = EndpointRunbookSerializer
    permission_classes = [HasScope]
    required_scope = {"*": "view"}
    lookup_field = "endpoint__slug"
    lookup_url_kwarg = "slug"
    filterset_fields: list[str] = []


class ByHandSerializer(serializers.Serializer[Any]):
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    host = serializers.CharField(max_length=60)
    incident = serializers.SlugRelatedField(slug_field="ref", queryset=Incident.objects.select_related("endpoint"))
    at = serializers.DateTimeField(help_text="When it was done.")
    told = serializers.CharField(max_length=1000, help_text="What was done, by whom.")

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        host, endpoint = data.pop("host"), data.pop("endpoint")
        rows = Placement.objects.select_related("host", "endpoint__model")
        placement = rows.filter(endpoint=endpoint, host__name=host).first()
        if placement is None:
            raise serializers.ValidationError({"host": "The endpoint has no host of that name."})
        return {**data, "placement": placement}


class RecordedSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField(help_text="What the host shall serve from now on.")


class ByHandViewSet(viewsets.GenericViewSet[Placement]):
    """What was done by hand while Lastgood was down."""

    queryset = Placement.objects.select_related("endpoint__model")
    serializer_class = ByHandSerializer
    permission_classes = [HasScope]
    required_scope = {"*": "incident.command"}
    filter_backends = []

    @extend_schema(request=ByHandSerializer, responses={201: RecordedSerializer})
    def create(self, request: Request) -> Response:
        """Put it on the incident's record, and let the host go on serving what it does."""
        asked = ByHandSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        self.check_object_permissions(request, asked.validated_data["placement"].endpoint)
        try:
            version = by_hand.record_by_hand(
                **asked.validated_data, user=user_of(request), actor=actor_for(request=request)
            )
        except PlanRefused as error:
            raise refused(error) from error
        return Response({"version": version.number}, status=201)


router_entries = [
    ("endpoint-runbooks", RunbookViewSet, "endpoint-runbook"),
    ("by-hand", ByHandViewSet, "by-hand"),
    ("automatic-rules", RuleViewSet, "automatic-rule"),
    ("readiness", ReadinessViewSet, "readiness"),
    ("drills", DrillViewSet, "drill"),
    ("drill-schedules", ScheduleViewSet, "drill-schedule"),
]
