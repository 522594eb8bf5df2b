"""The API of composed versions: ask for one, and see what became of it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.problems import Problem
from registry import actions
from registry.api_base import RegistryViewSet, doing, slug_of
from registry.models import Composition, CompositionKind, Model, Version


class CompositionSerializer(serializers.ModelSerializer):
    model = serializers.CharField(source="model.slug")
    base = serializers.IntegerField(source="base.number")
    other = serializers.IntegerField(source="other.number")
    version = serializers.IntegerField(source="version.number", allow_null=True, default=None)
    version_id = serializers.IntegerField(allow_null=True)
    digest = serializers.CharField(source="version.digest", allow_null=True, default=None)

    class Meta:
        model = Composition
        fields = [
            "id", "model", "base", "other", "kind", "tensors", "state", "reason", "version", "version_id", "digest",
            "incident_ref", "asked_at", "done_at",
        ]  # fmt: skip


class WishSerializer(serializers.Serializer):
    model = slug_of(Model)
    base = serializers.IntegerField(min_value=1, help_text="Number of the version to start from.")
    other = serializers.IntegerField(min_value=1, help_text="Number of the version that the part is taken from.")
    kind = serializers.ChoiceField(choices=CompositionKind.choices)
    patterns = serializers.ListField(
        child=serializers.CharField(max_length=200),
        default=list,
        max_length=200,
        help_text="For layers: names of tensors, or patterns such as embeddings.*",
    )
    incident_ref = serializers.CharField(default="", allow_blank=True, max_length=40)


class CompositionViewSet(RegistryViewSet):
    """Versions composed of a base and a part of another. One that is done names its version; rehearse that one next."""

    required_scope = {"create": "plan.propose", "*": "view"}
    queryset = Composition.objects.select_related("model", "base", "other", "version").order_by("-id")
    serializer_class = CompositionSerializer
    filterset_fields = {"model__slug": ["exact"], "state": ["exact"], "incident_ref": ["exact"]}

    @extend_schema(request=WishSerializer, responses={202: CompositionSerializer})
    def create(self, request: Request) -> Response:
        """Have a version composed; the same wish again answers with what became of the first."""
        wish = self.ask(WishSerializer)
        model = wish.pop("model")
        self.check_object_permissions(request, model)
        for name in ("base", "other"):
            wish[name] = _version(model, wish[name])
        asked = doing(
            actions.ask_composition,
            **wish | {"patterns": tuple(wish["patterns"])},
            actor=actor_for(request=request),
        )
        return self.shown(asked, 202)


def _version(model: Model, number: Any) -> Version:
    found = Version.objects.filter(model=model, number=number).select_related("model").first()
    if found is None:
        raise Problem(422, "no-such-version", f"{model.slug} has no version {number}.")
    return found
