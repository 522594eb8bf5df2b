"""Causes, signatures and analytics over the API."""

from typing import Any

from django.utils.decorators import method_decorator
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.models import User
from accounts.permissions import user_of
from accounts.problems import Problem
from audit.clock import database_now
from incidents.api.common import done, sent
from incidents.learning import actions, begun
from incidents.learning.figures import figures
from incidents.learning.models import Cause, ContributingCause, ReviewTemplate, Signature
from incidents.learning.views import chosen_of
from monitoring.models import RuleKind

SCOPES = {"causes": "incident.respond", "ask": "incident.respond", "answer": "view"}


class CauseSerializer(serializers.ModelSerializer[ContributingCause]):
    class Meta:
        model = ContributingCause
        fields = ["kind", "note"]


class CausesSerializer(serializers.Serializer):
    version = serializers.IntegerField(help_text="The version that was read.")
    causes = CauseSerializer(many=True)


class SignatureSerializer(serializers.ModelSerializer[Signature]):
    """`user` is the username of who is asked."""

    user = serializers.SlugRelatedField(slug_field="username", queryset=User.objects.filter(is_active=True))

    class Meta:
        model = Signature
        fields = ["id", "kind", "user", "asked_at", "answer", "words", "answered_at"]
        read_only_fields = ["asked_at", "answer", "words", "answered_at"]


class AnswerSerializer(serializers.Serializer):
    accepted = serializers.BooleanField()
    words = serializers.CharField(max_length=1000, required=False, allow_blank=True, default="")


class ReviewTemplateSerializer(serializers.Serializer):
    """`kind` is empty for every kind without its own; `version` is the one that was read, 0 where there is none."""

    kind = serializers.ChoiceField(choices=RuleKind.choices, allow_blank=True)
    texts = serializers.DictField(child=serializers.CharField(max_length=begun.MOST, allow_blank=True))
    version = serializers.IntegerField(min_value=0)
    changed_at = serializers.DateTimeField(read_only=True)
    reason = serializers.CharField(max_length=1000, write_only=True)


@method_decorator(name="list", decorator=extend_schema(responses=ReviewTemplateSerializer(many=True), filters=False))
class ReviewTemplateViewSet(viewsets.ViewSet):
    """What the sections of a new review begin with."""

    permission_classes = [HasScope]
    required_scope = {"create": "admin", "*": "view"}
    pagination_class = None

    def list(self, request: Request) -> Response:
        """Every template."""
        return Response(ReviewTemplateSerializer(ReviewTemplate.objects.all(), many=True).data)

    @extend_schema(request=ReviewTemplateSerializer, responses={201: ReviewTemplateSerializer})
    def create(self, request: Request) -> Response:
        """Have reviews of a kind begin otherwise; refused when somebody edited the template since `version`."""
        typed = sent(request, ReviewTemplateSerializer)
        made = done(
            lambda: begun.set_template(
                kind=typed["kind"],
                texts=typed["texts"],
                reason=typed["reason"],
                seen_version=typed["version"],
                actor=actor_for(request=request),
            )
        )
        return Response(ReviewTemplateSerializer(made).data, status=status.HTTP_201_CREATED)


class StageSerializer(serializers.Serializer):
    """Seconds. `bins` counts the incidents of each bin of time."""

    name = serializers.CharField()
    n = serializers.IntegerField()
    missing = serializers.IntegerField()
    median = serializers.FloatField(allow_null=True)
    p90 = serializers.FloatField(allow_null=True)
    bins = serializers.ListField(child=serializers.IntegerField())


@extend_schema_serializer(many=False)
class AnalyticsSerializer(serializers.Serializer):
    count = serializers.IntegerField()
    stages = StageSerializer(many=True)
    rollbacks = serializers.SerializerMethodField()
    changes = serializers.SerializerMethodField()
    noise = serializers.SerializerMethodField()
    items_open = serializers.IntegerField()
    items_overdue = serializers.IntegerField(read_only=True)

    def get_rollbacks(self, found: Any) -> dict[str, int]:
        return dict(vars(found.rollbacks))

    def get_changes(self, found: Any) -> dict[str, float | None]:
        return vars(found.changes) | {"rate": found.changes.rate}

    def get_noise(self, found: Any) -> dict[str, int]:
        return dict(vars(found.noise))


class LearningVerbs(viewsets.GenericViewSet[Any]):
    """What is done with a review beside its text, for the API of reviews."""

    @extend_schema(request=CausesSerializer, responses=CauseSerializer(many=True))
    @action(detail=True, methods=["post"], pagination_class=None)
    def causes(self, request: Request, ref: str) -> Response:
        """Name the contributing causes by the taxonomy; refused when somebody changed the review since `version`."""
        typed = sent(request, CausesSerializer)
        review = self.get_object()
        named = {str(Cause(one["kind"])): one.get("note", "") for one in typed["causes"]}
        done(
            lambda: actions.set_causes(
                review=review, causes=named, seen_version=typed["version"], actor=actor_for(request=request)
            )
        )
        return Response(CauseSerializer(review.contributing.all(), many=True).data)

    @extend_schema(request=SignatureSerializer, responses={201: SignatureSerializer})
    @action(detail=True, methods=["post"], url_path="signatures")
    def ask(self, request: Request, ref: str) -> Response:
        """Ask a person to sign the review off, or to accept how the service answers now."""
        typed = sent(request, SignatureSerializer)
        review = self.get_object()
        made = done(lambda: actions.ask(review=review, actor=actor_for(request=request), **typed))
        return Response(SignatureSerializer(made).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=AnswerSerializer, responses=SignatureSerializer)
    @action(detail=True, methods=["post"], url_path=r"signatures/(?P<item>\d+)")
    def answer(self, request: Request, ref: str, item: str) -> Response:
        """What the asked person says."""
        typed = sent(request, AnswerSerializer)
        signature = self.get_object().signatures.select_related("user", "review__incident").filter(pk=int(item)).first()
        if signature is None:
            raise Problem(404, "not-found", f"Nobody was asked under the number {item}.")
        said = done(
            lambda: actions.answer(
                signature=signature, user=user_of(request), actor=actor_for(request=request), **typed
            )
        )
        return Response(SignatureSerializer(said).data)


class AnalyticsViewSet(viewsets.ViewSet):
    """What the incidents of a span add up to."""

    permission_classes = [HasScope]
    required_scope = "view"

    @extend_schema(
        parameters=[OpenApiParameter(name, str) for name in ("since", "until", "model", "severity", "cause")],
        responses=AnalyticsSerializer,
        filters=False,
    )
    def list(self, request: Request) -> Response:
        """Times by stage, releases that failed, rollbacks that helped, alerts, action items."""
        now = database_now()
        return Response(AnalyticsSerializer(figures(chosen_of(request, now), now.date())).data)
