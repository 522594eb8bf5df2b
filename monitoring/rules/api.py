"""The API of rules over metrics and of silences."""

from typing import Any

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.permissions import require_on
from accounts.problems import Problem
from audit.clock import database_now
from monitoring.rules import actions, measured
from monitoring.rules.fields import UnfitRule
from monitoring.rules.models import AlertRule, RuleStanding, Silence
from monitoring.rules.preview import DAYS, Preview, preview
from monitoring.rules.reading import moment
from monitoring.rules.spec import in_words
from registry.models import Endpoint


class RuleStandingSerializer(serializers.ModelSerializer):
    host = serializers.CharField(source="host.name", read_only=True, allow_null=True, default=None)

    class Meta:
        model = RuleStanding
        fields = ["host", "phase", "since", "clear_since", "value", "low", "high", "judged_until"]


class AlertRuleSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    words = serializers.SerializerMethodField()
    standings = RuleStandingSerializer(many=True, read_only=True)

    class Meta:
        model = AlertRule
        fields = [
            "id", "endpoint", *actions.FIELDS, "words", "revision", "judged_until", "created_at", "retired_at",
            "standings",
        ]  # fmt: skip

    def get_words(self, rule: AlertRule) -> str:
        return in_words(rule)


class AlertRuleDetailSerializer(AlertRuleSerializer):
    """One rule, with what its list leaves out."""

    false_alarms = serializers.SerializerMethodField(
        help_text="How often it cries wolf: by theory, and measured on its own past. Empty for a retired rule."
    )

    class Meta(AlertRuleSerializer.Meta):
        fields = [*AlertRuleSerializer.Meta.fields, "false_alarms"]

    def get_false_alarms(self, rule: AlertRule) -> list[str]:
        return [] if rule.retired_at is not None else measured.kept(rule, database_now())


class RuleFieldsSerializer(serializers.Serializer):
    """What a rule asks. `params` by kind: static (direction, limit, clear), seasonal (direction, weeks, factor,
    clear_factor, floor), burn (objective, long_seconds, factor, clear_factor, counts), control (chart, and
    since and until of the stable period from which its limits are frozen; by chart: individuals, p: runs, numbers;
    xbar, s: runs, numbers, size; u: runs, numbers, per; ewma: weight, width; cusum: k, h). Lengths are seconds."""

    name = serializers.CharField(max_length=100, required=False)
    subject = serializers.CharField(max_length=10, required=False)
    metric = serializers.CharField(max_length=60, required=False)
    column = serializers.CharField(max_length=200, required=False, allow_blank=True)
    version = serializers.CharField(max_length=40, required=False, allow_blank=True)
    scope = serializers.CharField(max_length=10, required=False)
    kind = serializers.CharField(max_length=10, required=False)
    params = serializers.DictField(required=False)
    reduce = serializers.CharField(max_length=10, required=False)
    window_seconds = serializers.IntegerField(required=False)
    for_seconds = serializers.IntegerField(required=False)
    clear_seconds = serializers.IntegerField(required=False)
    delay_seconds = serializers.IntegerField(required=False)
    no_data = serializers.CharField(max_length=10, required=False)
    no_data_seconds = serializers.IntegerField(required=False)
    severity = serializers.IntegerField(required=False)
    means_host_down = serializers.BooleanField(required=False)


class NewAlertRuleSerializer(RuleFieldsSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.all())


class RulePreviewRequestSerializer(NewAlertRuleSerializer):
    days = serializers.FloatField(required=False, min_value=0.01, max_value=90, default=DAYS)


class AlertRuleChangeSerializer(RuleFieldsSerializer):
    reason = serializers.CharField(max_length=2000)


class RuleRetireSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=2000)


class RuleFiringSerializer(serializers.Serializer):
    host = serializers.CharField(allow_null=True)
    what = serializers.CharField(help_text="fire, or unheard: no data for too long.")
    began = serializers.DateTimeField(help_text="When its cause began.")
    fired = serializers.DateTimeField()
    ended = serializers.DateTimeField(allow_null=True)


class RulePreviewSerializer(serializers.Serializer):
    """What a rule would have done."""

    sentence = serializers.CharField()
    words = serializers.CharField(help_text="What the rule asks.")
    false_alarms = serializers.ListField(
        child=serializers.CharField(),
        help_text="How often it would cry wolf: by theory, and measured.",
    )
    since = serializers.DateTimeField()
    until = serializers.DateTimeField()
    firings = RuleFiringSerializer(many=True)


def _firings(found: Preview) -> list[dict[str, Any]]:
    return [
        {
            "host": told.host.name if told.host else None,
            "what": one.what.value,
            "began": moment(one.since),
            "fired": moment(one.fired),
            "ended": moment(one.ended) if one.ended else None,
        }
        for told in found.told
        for one in (*told.fired, *told.unheard)
    ]


def _refused(error: UnfitRule, kind: str = "alert-rule-refused") -> Problem:
    return Problem(status.HTTP_400_BAD_REQUEST, kind, str(error))


class AlertRuleFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")
    retired = django_filters.BooleanFilter("retired_at", lookup_expr="isnull", exclude=True)

    class Meta:
        model = AlertRule
        fields = ["kind", "metric", "severity"]


class AlertRuleViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Rules over metrics and findings, with where each stands. Administrators make, change and retire them."""

    permission_classes = [HasScope]
    required_scope: Any = {"create": "admin", "partial_update": "admin", "retire": "admin", "*": "view"}
    queryset = (
        AlertRule.objects.select_related("endpoint__model")
        .prefetch_related("standings__host")
        .order_by("endpoint_id", "id")
    )
    serializer_class = AlertRuleSerializer
    filterset_class = AlertRuleFilter

    def get_serializer_class(self) -> type[AlertRuleSerializer]:
        # A rule's past is replayed to measure it: for one rule that is asked for, not for each of a list.
        return AlertRuleDetailSerializer if self.action == "retrieve" else AlertRuleSerializer

    @extend_schema(request=NewAlertRuleSerializer, responses={201: AlertRuleSerializer})
    def create(self, request: Request) -> Response:
        """Have a rule judged from now on."""
        asked = NewAlertRuleSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            rule = actions.make_rule(**asked.validated_data, actor=actor_for(request=request))
        except UnfitRule as error:
            raise _refused(error) from error
        return Response(AlertRuleSerializer(rule).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=RulePreviewRequestSerializer, responses=RulePreviewSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What a rule would have done over the last days. Nothing is saved."""
        asked = RulePreviewRequestSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        days = given.pop("days")
        try:
            rule = actions.draft(**given)
        except UnfitRule as error:
            raise _refused(error) from error
        found = preview(rule, until=database_now(), days=days)
        said = {
            "sentence": found.sentence,
            "words": in_words(rule),
            "false_alarms": measured.sentences(rule, found.until, found),
            "since": found.since,
            "until": found.until,
        }
        return Response(RulePreviewSerializer({**said, "firings": _firings(found)}).data)

    @extend_schema(request=AlertRuleChangeSerializer, responses=AlertRuleSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Have it ask something else; what fires by it ends, and it is judged anew."""
        asked = AlertRuleChangeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        changes = dict(asked.validated_data)
        reason = changes.pop("reason")
        try:
            rule = actions.change_rule(
                rule=self.get_object(), changes=changes, reason=reason, actor=actor_for(request=request)
            )
        except UnfitRule as error:
            raise _refused(error) from error
        return Response(AlertRuleSerializer(rule).data)

    @extend_schema(request=RuleRetireSerializer, responses=AlertRuleSerializer)
    @action(detail=True, methods=["post"])
    def retire(self, request: Request, pk: str) -> Response:
        """Ask it no more; what fires by it ends."""
        asked = RuleRetireSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        reason = asked.validated_data["reason"]
        if not actions.retire_rule(rule=self.get_object(), reason=reason, actor=actor_for(request=request)):
            raise Problem(409, "already-retired", "This rule was retired before. Nothing was changed.")
        return Response(AlertRuleSerializer(self.get_object()).data)


class SilenceSerializer(serializers.ModelSerializer):
    made_by = serializers.CharField(source="made_by.pseudonym", read_only=True)

    class Meta:
        model = Silence
        fields = ["id", "matchers", "reason", "made_by", "starts_at", "ends_at"]


class NewSilenceSerializer(serializers.Serializer):
    matchers = serializers.DictField(
        child=serializers.CharField(max_length=300),
        help_text="All that an alert must have: endpoint, model, host, version, rule, source, or a sender's label.",
    )
    reason = serializers.CharField(max_length=500)
    ends_at = serializers.DateTimeField()


class SilenceViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet):
    """Silences, the last to end first: alerts that match fire and are shown, and nobody is told of them."""

    permission_classes = [HasScope]
    required_scope: Any = {"create": "incident.respond", "end": "incident.respond", "*": "view"}
    queryset = Silence.objects.select_related("made_by").order_by("-ends_at", "-id")
    serializer_class = SilenceSerializer

    @extend_schema(request=NewSilenceSerializer, responses={201: SilenceSerializer})
    def create(self, request: Request) -> Response:
        """Silence what matches until a moment, at most 30 days ahead."""
        asked = NewSilenceSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        require_on(request, "incident.respond", Silence(matchers=asked.validated_data["matchers"]))
        try:
            silence, _ = actions.make_silence(
                **asked.validated_data, user=request.user, actor=actor_for(request=request)
            )
        except UnfitRule as error:
            raise _refused(error, "silence-refused") from error
        return Response(SilenceSerializer(silence).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=SilenceSerializer)
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """End it now; what it held back and still fires is told within a minute."""
        silence = self.get_object()
        if not actions.end_silence(silence=silence, actor=actor_for(request=request)):
            raise Problem(409, "silence-over", "This silence was over before. Nothing was changed.")
        silence.refresh_from_db()
        return Response(SilenceSerializer(silence).data)


router_entries = [
    ("alert-rules", AlertRuleViewSet, "alert-rule"),
    ("silences", SilenceViewSet, "silence"),
]
