"""Grouping rules over the API: read, added, changed, put in order, retired, and tried on the alerts that came."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from incidents.api.common import done, sent
from incidents.grouping import actions, deciding, queries
from incidents.grouping.actions import Terms
from incidents.grouping.models import GroupingRule


class GroupingRuleSerializer(serializers.ModelSerializer[GroupingRule]):
    """`matchers` is a list of lines such as `alertname = Slow*` and `team != search`, of which all must hold."""

    matchers = serializers.ListField(child=serializers.CharField(max_length=400), default=list, max_length=20)
    by = serializers.ListField(child=serializers.CharField(max_length=100), default=list, max_length=20)
    severities = serializers.DictField(child=serializers.IntegerField(min_value=1, max_value=4), default=dict)

    class Meta:
        model = GroupingRule
        fields = [
            "id", "name", "position", "matchers", "by", "window_seconds", "at_least", "within_seconds",
            "severity_label", "severities", "revision",
        ]  # fmt: skip
        read_only_fields = ["position"]
        extra_kwargs = {"revision": {"required": False, "help_text": "As it was read; needed for a change."}}

    def validate_matchers(self, lines: list[str]) -> list[list[str]]:
        try:
            return deciding.read_matchers("\n".join(lines))
        except deciding.NotAMatcher as error:
            raise serializers.ValidationError(str(error)) from error

    def to_representation(self, instance: GroupingRule) -> dict[str, Any]:
        return super().to_representation(instance) | {"matchers": deciding.written(instance.matchers).splitlines()}


class GroupingOrderSerializer(serializers.Serializer):
    place = serializers.IntegerField(min_value=1, max_value=1000)


class GatheredSerializer(serializers.Serializer):
    labels = serializers.DictField(child=serializers.CharField())
    alerts = serializers.SerializerMethodField()
    severity = serializers.IntegerField()
    opened_at = serializers.DateTimeField(allow_null=True)

    def get_alerts(self, gathered: deciding.Gathered) -> int:
        return len(gathered.alerts)


class PreviewSerializer(serializers.Serializer):
    """`with_it` and `without_it` count the incidents that all rules together would have made of the last `alerts`."""

    sentence = serializers.CharField()
    alerts = serializers.IntegerField()
    matched = serializers.IntegerField()
    with_it = serializers.IntegerField()
    without_it = serializers.IntegerField()
    incidents = GatheredSerializer(many=True)
    waiting = GatheredSerializer(many=True)


def _terms(typed: dict[str, Any]) -> Terms:
    return Terms(**{"matchers": [], "by": []} | typed)


class GroupingRuleViewSet(viewsets.ReadOnlyModelViewSet[GroupingRule]):
    """The rules by which alerts become incidents, in the order in which they are asked."""

    serializer_class = GroupingRuleSerializer
    permission_classes = [HasScope]
    required_scope = {
        "create": "admin",
        "partial_update": "admin",
        "destroy": "admin",
        "move": "admin",
        "preview": "admin",
        "*": "view",
    }
    queryset = GroupingRule.objects.filter(retired_at=None).order_by("position", "id")

    @extend_schema(request=GroupingRuleSerializer, responses={201: GroupingRuleSerializer})
    def create(self, request: Request) -> Response:
        typed = sent(request, GroupingRuleSerializer)
        typed.pop("revision", None)
        rule = done(lambda: actions.add_rule(terms=_terms(typed), actor=actor_for(request=request)))
        return Response(GroupingRuleSerializer(rule).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=GroupingRuleSerializer, responses=GroupingRuleSerializer)
    def partial_update(self, request: Request, pk: str) -> Response:
        """Other terms, all of them; what is left out is as in a new rule."""
        typed, rule = sent(request, GroupingRuleSerializer), self.get_object()
        seen = typed.pop("revision", 0)
        changed = done(
            lambda: actions.change_rule(
                rule=rule, terms=_terms(typed), seen_revision=seen, actor=actor_for(request=request)
            )
        )
        return Response(GroupingRuleSerializer(changed).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Ask it no more. What it gathered stays as it is."""
        rule = self.get_object()
        done(lambda: actions.retire_rule(rule=rule, actor=actor_for(request=request)))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=GroupingOrderSerializer, responses=GroupingRuleSerializer)
    @action(detail=True, methods=["post"])
    def move(self, request: Request, pk: str) -> Response:
        """Have it asked at another place, from 1."""
        place, rule = sent(request, GroupingOrderSerializer)["place"], self.get_object()
        done(lambda: actions.move_rule(rule=rule, place=place, actor=actor_for(request=request)))
        return Response(GroupingRuleSerializer(self.get_object()).data)

    @extend_schema(request=GroupingRuleSerializer, responses=PreviewSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What such a rule, asked after the others, would have made of the last 200 alerts. Nothing is changed."""
        typed = sent(request, GroupingRuleSerializer)
        typed.pop("revision", None)
        meant = GroupingRule(**_terms(typed).fields())
        return Response(PreviewSerializer(queries.preview(meant)).data)


router_entries: list[tuple[str, type[Any], str]] = [("grouping-rules", GroupingRuleViewSet, "api-grouping-rule")]
