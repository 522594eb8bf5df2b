"""What goes in and out of the API of incidents."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.models import Role, User
from incidents.models import (
    ActionItem,
    ComponentState,
    Evidence,
    Impact,
    Incident,
    IncidentRole,
    IncidentState,
    PostStatus,
    Review,
    RoleHolding,
    StatusComponent,
    StatusPage,
    StatusPost,
    Update,
    Urgency,
)
from incidents.telling.models import Maintenance, Subscriber
from registry.models import Endpoint, Model


class HoldingSerializer(serializers.ModelSerializer[RoleHolding]):
    user = serializers.CharField(source="user.username")

    class Meta:
        model = RoleHolding
        fields = ["role", "user", "since"]


class IncidentSerializer(serializers.ModelSerializer[Incident]):
    endpoint = serializers.CharField(source="endpoint.slug", allow_null=True, default=None)
    roles = serializers.SerializerMethodField()

    class Meta:
        model = Incident
        fields = [
            "ref", "number", "title", "state", "severity", "impact", "urgency", "endpoint", "from_version",
            "assessment", "impact_started_at", "detected_at", "declared_at", "acknowledged_at", "decided_at",
            "mitigated_at", "resolved_at", "closed_at", "version", "roles",
        ]  # fmt: skip

    @extend_schema_field(HoldingSerializer(many=True))
    def get_roles(self, incident: Incident) -> Any:
        return HoldingSerializer(incident.held_now, many=True).data


class SeenSerializer(serializers.Serializer):
    version = serializers.IntegerField(
        required=False, help_text="The version that was read; the change is refused when it has moved on."
    )


class AcknowledgeSerializer(SeenSerializer):
    """Nothing is needed but the version, and that only if wanted."""


class TriageSerializer(SeenSerializer):
    impact = serializers.ChoiceField(choices=Impact.choices)
    urgency = serializers.ChoiceField(choices=Urgency.choices)
    assessment = serializers.CharField(max_length=4000)


class SeveritySerializer(SeenSerializer):
    severity = serializers.IntegerField(min_value=1, max_value=4)
    reason = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class RoleSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=IncidentRole.choices)
    user = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.filter(is_active=True))


class UpdateSerializer(serializers.ModelSerializer[Update]):
    incident = serializers.CharField(source="incident.ref", read_only=True)
    by = serializers.CharField(source="by.username", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Update
        fields = ["id", "incident", "conditions", "actions", "needs", "by", "at"]
        read_only_fields = ["at"]


class ProposeRollbackSerializer(serializers.Serializer):
    to_version = serializers.IntegerField(min_value=1, help_text="The version's number.")
    reason = serializers.CharField(max_length=1000)


class ProposedSerializer(serializers.Serializer):
    plan = serializers.UUIDField()
    plan_hash = serializers.CharField()


class ResolveSerializer(SeenSerializer):
    reason = serializers.CharField(max_length=1000)


class MoveSerializer(SeenSerializer):
    to = serializers.ChoiceField(choices=IncidentState.choices)
    reason = serializers.CharField(max_length=1000)


class EvidenceSerializer(serializers.ModelSerializer[Evidence]):
    incident = serializers.CharField(source="incident.ref")

    class Meta:
        model = Evidence
        fields = ["id", "incident", "kind", "claim", "data", "sha256", "frozen_at"]


class TimelineSerializer(serializers.Serializer):
    seq = serializers.IntegerField(source="entry.seq")
    occurred_at = serializers.DateTimeField(source="entry.occurred_at")
    action = serializers.CharField(source="entry.action")
    text = serializers.CharField()
    actor = serializers.CharField(source="entry.actor")
    actor_name = serializers.CharField(source="actor")
    outcome = serializers.CharField(source="entry.outcome")
    reason = serializers.CharField(source="entry.reason")
    data = serializers.JSONField(source="entry.data")
    leaf_index = serializers.IntegerField(source="entry.leaf_index", allow_null=True)
    event = serializers.UUIDField(source="entry.event_uuid")


class HypothesisSerializer(serializers.Serializer):
    word = serializers.CharField()
    stands = serializers.ChoiceField(choices=["for", "against", "open"])
    because = serializers.CharField()


class OptionSerializer(serializers.Serializer):
    name = serializers.CharField()
    effect = serializers.CharField()
    time = serializers.CharField()
    cost = serializers.CharField()
    expected = serializers.CharField(allow_blank=True)
    affected = serializers.CharField(allow_blank=True)
    priced = serializers.CharField(allow_blank=True, help_text="What that costs, by the model's cost formula.")
    version = serializers.IntegerField(allow_null=True)
    suggested = serializers.BooleanField()


class DiagnosisSerializer(serializers.Serializer):
    sentence = serializers.CharField()
    hypotheses = HypothesisSerializer(many=True)
    options = OptionSerializer(many=True)


class ComponentSerializer(serializers.ModelSerializer[StatusComponent]):
    endpoint = serializers.SlugRelatedField(
        slug_field="slug", queryset=Endpoint.objects.all(), allow_null=True, required=False, default=None
    )

    model = serializers.SlugRelatedField(
        slug_field="slug", queryset=Model.objects.all(), allow_null=True, required=False, default=None
    )
    quality = serializers.CharField(
        read_only=True, help_text="quality_degraded, fallback_serving, or nothing: what is no matter of availability."
    )
    group = serializers.PrimaryKeyRelatedField(
        queryset=StatusComponent.objects.filter(is_group=True, retired_at=None),
        allow_null=True,
        required=False,
        default=None,
    )

    class Meta:
        model = StatusComponent
        fields = [
            "id", "name", "description", "endpoint", "model", "is_group", "group", "state", "quality", "since",
            "position",
        ]  # fmt: skip
        read_only_fields = ["state", "since", "position"]


class PostSerializer(serializers.ModelSerializer[StatusPost]):
    incident = serializers.SlugRelatedField(slug_field="ref", queryset=Incident.objects.all())
    status = serializers.ChoiceField(choices=PostStatus.choices)
    component_state = serializers.ChoiceField(choices=ComponentState.choices)
    components = serializers.PrimaryKeyRelatedField(
        many=True,
        queryset=StatusComponent.objects.filter(is_group=False, retired_at=None),
        required=False,
        write_only=True,
        help_text="Keys of components of the page; none: those behind which the incident's endpoint stands.",
    )
    by = serializers.CharField(source="by.username", read_only=True, allow_null=True, default=None)

    class Meta:
        model = StatusPost
        fields = [
            "id", "incident", "status", "component_state", "components", "quality", "text", "next_update_at", "by",
            "at",
        ]  # fmt: skip
        read_only_fields = ["at"]


class PageSerializer(serializers.ModelSerializer[StatusPage]):
    readers = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), required=False)
    components = serializers.SerializerMethodField()

    class Meta:
        model = StatusPage
        fields = [
            "slug", "name", "description", "public", "readers", "by_itself", "version", "published_at", "components",
        ]  # fmt: skip
        read_only_fields = ["version", "published_at"]

    @extend_schema_field(ComponentSerializer(many=True))
    def get_components(self, page: StatusPage) -> list[dict[str, Any]]:
        shown = [one for one in page.components.all() if one.retired_at is None]
        return list(ComponentSerializer(shown, many=True).data)


class PageChangeSerializer(serializers.ModelSerializer[StatusPage]):
    """What is changed of a page, and the version that it was read at."""

    readers = serializers.ListField(child=serializers.ChoiceField(choices=Role.choices), required=False)
    version = serializers.IntegerField(min_value=1)

    class Meta:
        model = StatusPage
        fields = ["name", "description", "public", "readers", "by_itself", "version"]
        extra_kwargs = {"name": {"required": False}}


class MaintenanceSerializer(serializers.ModelSerializer[Maintenance]):
    """`components` are the keys of components of the page."""

    components = serializers.PrimaryKeyRelatedField(
        many=True, queryset=StatusComponent.objects.filter(is_group=False, retired_at=None), allow_empty=False
    )

    class Meta:
        model = Maintenance
        fields = ["id", "title", "text", "components", "starts_at", "ends_at", "state", "started_at", "ended_at"]
        read_only_fields = ["state", "started_at", "ended_at"]


class WebhookSerializer(serializers.ModelSerializer[Subscriber]):
    """A program that is told of each post. The secret is in the answer to its creation alone."""

    address = serializers.URLField(max_length=500)
    components = serializers.PrimaryKeyRelatedField(
        many=True,
        queryset=StatusComponent.objects.filter(is_group=False, retired_at=None),
        required=False,
        default=list,
    )
    secret = serializers.CharField(read_only=True, default="")

    class Meta:
        model = Subscriber
        fields = ["ref", "address", "components", "secret"]
        read_only_fields = ["ref"]


class ActionItemSerializer(serializers.ModelSerializer[ActionItem]):
    owner = serializers.SlugRelatedField(
        slug_field="username",
        queryset=User.objects.filter(is_active=True),
        allow_null=True,
        required=False,
        default=None,
    )

    class Meta:
        model = ActionItem
        fields = ["id", "text", "owner", "due_on", "done_at"]
        read_only_fields = ["done_at"]


class IntervalSerializer(serializers.Serializer):
    name = serializers.CharField()
    seconds = serializers.IntegerField(allow_null=True)


class ReviewSerializer(serializers.ModelSerializer[Review]):
    incident = serializers.CharField(source="incident.ref")
    action_items = ActionItemSerializer(many=True)
    intervals = serializers.SerializerMethodField()

    class Meta:
        model = Review
        fields = [
            "incident", "state", "summary", "impact", "causes", "went_well", "went_badly", "checkpoint",
            "published_at", "version", "action_items", "intervals",
        ]  # fmt: skip

    @extend_schema_field(IntervalSerializer(many=True))
    def get_intervals(self, review: Review) -> Any:
        from incidents.reviews import intervals

        return IntervalSerializer(intervals(review.incident), many=True).data


class ReviewEditSerializer(serializers.Serializer):
    version = serializers.IntegerField(help_text="The version that was read.")
    summary = serializers.CharField(required=False, allow_blank=True)
    impact = serializers.CharField(required=False, allow_blank=True)
    causes = serializers.CharField(required=False, allow_blank=True)
    went_well = serializers.CharField(required=False, allow_blank=True)
    went_badly = serializers.CharField(required=False, allow_blank=True)
