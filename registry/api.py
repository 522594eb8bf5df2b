"""The API of the registry. A version comes in two steps: its files by digest, then its manifest."""

from collections.abc import Callable, Iterator
from typing import Any

import django_filters
from django.db.models import Prefetch
from django.db.models.functions import Now
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.approvals.api import WaitingActSerializer, waiting_answer
from accounts.approvals.models import Act
from accounts.parsers import declared_length
from accounts.problems import Problem
from audit.canonical import CanonicalError, canonical_bytes
from registry import actions, acts, store
from registry.api_base import RegistryViewSet, doing, slug_of
from registry.composing_api import CompositionViewSet
from registry.models import Deployment, Endpoint, FreezeWindow, Host, LineageKind, Model, Placement, Version
from registry.queries import covers

CHUNK_BYTES = 2**20
MAX_EXTRA_BYTES = 512 * 2**20
"""A profile, golden test or holdout set is read whole."""


class AliasSerializer(serializers.Serializer):
    name = serializers.SlugField()
    version = serializers.IntegerField(source="version.number")
    moved_at = serializers.DateTimeField(read_only=True)


class ModelSerializer(serializers.ModelSerializer):
    aliases = AliasSerializer(many=True, read_only=True)

    class Meta:
        model = Model
        fields = [
            "slug", "name", "team", "risk_tier", "task", "description", "subject_noun", "subject_noun_plural",
            "error_meaning", "group_columns", "created_at", "aliases",
        ]  # fmt: skip
        read_only_fields = ["created_at"]
        extra_kwargs = {"slug": {"validators": []}}


class AliasMoveSerializer(serializers.Serializer):
    name = serializers.SlugField(max_length=50)
    version = serializers.IntegerField(min_value=1)
    reason = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class StatedReasonSerializer(serializers.Serializer):
    reason = serializers.CharField(max_length=2000)


class FallbackSerializer(StatedReasonSerializer):
    version = serializers.IntegerField(allow_null=True, help_text="The version's number; null for none any more.")


class SpanSerializer(StatedReasonSerializer):
    until = serializers.DateTimeField()


class FreezeSerializer(SpanSerializer):
    starts = serializers.DateTimeField(required=False, help_text="When it begins; left out: at once.")


class LiftFreezeSerializer(StatedReasonSerializer):
    window = serializers.IntegerField(min_value=1, help_text="The id of one of the endpoint's `freezes`.")


class ModelViewSet(RegistryViewSet):
    """Models, with the names that stand for versions of theirs."""

    queryset = Model.objects.prefetch_related("aliases__version").order_by("slug")
    serializer_class = ModelSerializer
    lookup_field = "slug"
    filterset_fields = ["team", "risk_tier"]

    def create(self, request: Request) -> Response:
        wish = self.ask(ModelSerializer)
        return self.shown(doing(actions.register_model, **wish, actor=actor_for(request=request)), 201)

    @extend_schema(request=AliasMoveSerializer, responses={200: ModelSerializer, 202: WaitingActSerializer})
    @action(detail=True, methods=["post"])
    def aliases(self, request: Request, slug: str) -> Response:
        wish, model = self.ask(AliasMoveSerializer), self.get_object()
        version = Version.objects.filter(model=model, number=wish.pop("version")).first()
        if version is None:
            raise Problem(422, "no-such-version", f"{slug} has no version of that number.")
        done = doing(
            acts.move_alias, model=model, version=version, **wish, user=request.user, actor=actor_for(request=request)
        )
        return waiting_answer(done) if isinstance(done, Act) else self.shown(model)


class FileSerializer(serializers.Serializer):
    component = serializers.CharField()
    path = serializers.CharField()
    sha256 = serializers.CharField(source="artifact_id")


class ParentSerializer(serializers.Serializer):
    version = serializers.PrimaryKeyRelatedField(source="parent", queryset=Version.objects.all())
    kind = serializers.ChoiceField(choices=LineageKind.choices)


class VersionSerializer(serializers.ModelSerializer):
    model = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    files = FileSerializer(many=True, read_only=True)
    parents = ParentSerializer(many=True, read_only=True)

    class Meta:
        model = Version
        fields = [
            "id", "model", "number", "digest", "signature", "files", "parents", "code_commit", "environment",
            "training_data_digest", "hyperparameters", "metrics", "documentation", "reason_taken", "profile", "golden",
            "holdout", "soaked_at", "quarantined_at", "quarantine_reason", "created_at", "created_by",
        ]  # fmt: skip


class NewVersionSerializer(serializers.Serializer):
    model = slug_of(Model)
    manifest = serializers.DictField(help_text="The manifest; its RFC 8785 bytes are hashed and kept.")
    profile = serializers.RegexField(r"^[0-9a-f]{64}$", required=False, help_text="SHA-256 of an uploaded file.")
    golden = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)
    holdout = serializers.RegexField(r"^[0-9a-f]{64}$", required=False)
    metrics = serializers.DictField(default=dict)
    hyperparameters = serializers.DictField(default=dict)
    environment = serializers.DictField(default=dict)
    documentation = serializers.CharField(default="", allow_blank=True)
    training_data_digest = serializers.CharField(default="", allow_blank=True, max_length=64)
    code_commit = serializers.CharField(default="", allow_blank=True, max_length=64)
    reason_taken = serializers.CharField(default="release", max_length=20)
    parents = ParentSerializer(many=True, default=list)


class HoldoutSerializer(serializers.Serializer):
    holdout = serializers.RegexField(r"^[0-9a-f]{64}$", help_text="SHA-256 of an uploaded Parquet file.")


class VersionViewSet(RegistryViewSet):
    """Versions. Upload each file with PUT /api/v1/blobs/<sha256>/ first, then post the manifest here."""

    queryset = (
        Version.objects.select_related("model").prefetch_related("files", "parents").order_by("model_id", "-number")
    )
    serializer_class = VersionSerializer
    filterset_fields = {"model__slug": ["exact"], "number": ["exact"], "digest": ["exact"]}

    @extend_schema(request=NewVersionSerializer, responses={201: VersionSerializer})
    def create(self, request: Request) -> Response:
        wish = self.ask(NewVersionSerializer)
        for name in ("profile", "golden", "holdout"):
            if sha256 := wish.pop(name, None):
                wish[name] = doing(_stored, sha256=sha256, what=name)
        try:
            wish["manifest"] = canonical_bytes(wish["manifest"])
        except CanonicalError as error:
            raise Problem(422, "refused", str(error)) from error
        wish["parents"] = [(entry["parent"], entry["kind"]) for entry in wish["parents"]]
        return self.shown(doing(actions.register_version, files={}, **wish, actor=actor_for(request=request)), 201)

    @extend_schema(request=HoldoutSerializer, responses=VersionSerializer)
    @action(detail=True, methods=["post"])
    def holdout(self, request: Request, pk: str) -> Response:
        """Give a version the holdout set that it was registered without. One that it has is never replaced."""
        version = self.get_object()
        holdout = doing(_stored, sha256=self.ask(HoldoutSerializer)["holdout"], what="holdout")
        doing(actions.give_holdout, version=version, holdout=holdout, actor=actor_for(request=request))
        return self.shown(version)

    @extend_schema(request=StatedReasonSerializer, responses=VersionSerializer)
    @action(detail=True, methods=["post"])
    def quarantine(self, request: Request, pk: str) -> Response:
        version = self.get_object()
        doing(actions.quarantine, version=version, **self.ask(StatedReasonSerializer), actor=actor_for(request=request))
        return self.shown(version)

    @extend_schema(request=StatedReasonSerializer, responses={200: VersionSerializer, 202: WaitingActSerializer})
    @action(detail=True, methods=["post"], url_path="lift-quarantine")
    def lift_quarantine(self, request: Request, pk: str) -> Response:
        version = self.get_object()
        done = doing(
            acts.lift_quarantine,
            version=version,
            **self.ask(StatedReasonSerializer),
            user=request.user,
            actor=actor_for(request=request),
        )
        return waiting_answer(done) if isinstance(done, Act) else self.shown(version)


def _stored(*, sha256: str, what: str) -> bytes:
    try:
        if (store.size_of(sha256) or 0) > MAX_EXTRA_BYTES:
            raise actions.RegistryError(f"The {what} {sha256[:12]} is larger than {MAX_EXTRA_BYTES} bytes.")
        with store.open_verified(sha256) as file:
            return file.read()
    except store.ArtifactMissing:
        raise actions.RegistryError(f"The {what} {sha256[:12]} was not uploaded yet. Put it under /blobs/.") from None


class FreezeWindowSerializer(serializers.ModelSerializer):
    begun = serializers.BooleanField(read_only=True, help_text="In force; else planned.")

    class Meta:
        model = FreezeWindow
        fields = ["id", "starts", "until", "reason", "by", "begun"]
        read_only_fields = fields


class EndpointSerializer(serializers.ModelSerializer):
    model = slug_of(Model)
    freezes = FreezeWindowSerializer(
        many=True, read_only=True, help_text="Those in force and planned, the first to begin first; they may overlap."
    )
    fallback = serializers.IntegerField(source="fallback.number", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Endpoint
        fields = [
            "slug", "name", "model", "environment", "soak_seconds", "watch_seconds", "wave_soak_seconds",
            "undo_seconds", "min_hosts_serving", "fallback", "fence", "freezes", "version", "created_at",
        ]  # fmt: skip
        read_only_fields = ["fence", "version", "created_at"]
        extra_kwargs = {"slug": {"validators": []}}


COMMAND = {
    "list": "view", "retrieve": "view", "freeze": "incident.command", "lift": "incident.command",
    "fallback": "incident.command", "hold": "incident.command", "release": "incident.command",
    "drain": "incident.command", "bring_back": "incident.command", "*": "registry.write",
}  # fmt: skip


class EndpointViewSet(RegistryViewSet):
    """One model in one environment. `version` grows with each change and observation."""

    required_scope = COMMAND
    queryset = (
        Endpoint.objects.select_related("model")
        .prefetch_related(Prefetch("freezes", queryset=FreezeWindow.objects.standing(Now())))
        .order_by("slug")
    )
    serializer_class = EndpointSerializer
    lookup_field = "slug"
    filterset_fields = {"environment": ["exact"], "model__slug": ["exact"]}

    def create(self, request: Request) -> Response:
        wish = self.ask(EndpointSerializer)
        return self.shown(doing(actions.register_endpoint, **wish, actor=actor_for(request=request)), 201)

    @extend_schema(request=FreezeSerializer, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def freeze(self, request: Request, slug: str) -> Response:
        """Place one more freeze, at once or planned; those that stand stay."""
        endpoint = self.get_object()
        doing(actions.freeze, endpoint=endpoint, **self.ask(FreezeSerializer), actor=actor_for(request=request))
        return self.shown(endpoint)

    @extend_schema(request=LiftFreezeSerializer, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def lift(self, request: Request, slug: str) -> Response:
        """Lift one freeze, or call it off where it is planned."""
        endpoint = self.get_object()
        doing(actions.lift, endpoint=endpoint, **self.ask(LiftFreezeSerializer), actor=actor_for(request=request))
        return self.shown(endpoint)

    @extend_schema(request=FallbackSerializer, responses=EndpointSerializer)
    @action(detail=True, methods=["post"])
    def fallback(self, request: Request, slug: str) -> Response:
        """Name the version that is kept warm on every host, to be fallen back on by a plan."""
        endpoint = self.get_object()
        wish = self.ask(FallbackSerializer)
        number, version = wish["version"], None
        if number is not None:
            version = get_object_or_404(Version, model=endpoint.model, number=number)
        doing(
            actions.name_fallback,
            endpoint=endpoint,
            version=version,
            reason=wish["reason"],
            actor=actor_for(request=request),
        )
        return self.shown(endpoint)


class HostSerializer(serializers.ModelSerializer):
    engine = serializers.CharField(max_length=20, default="bundled")
    control_token = serializers.CharField(write_only=True, allow_blank=True, max_length=500)
    options = serializers.DictField(child=serializers.CharField(max_length=500), required=False)

    class Meta:
        model = Host
        fields = [
            "name", "engine", "address", "control_token", "labels", "options", "drained_at", "held_until",
            "held_reason", "created_at",
        ]  # fmt: skip
        read_only_fields = ["drained_at", "held_until", "held_reason", "created_at"]
        extra_kwargs = {"name": {"validators": []}}


class HostTokenSerializer(serializers.Serializer):
    control_token = serializers.CharField(max_length=500)


class HostViewSet(RegistryViewSet):
    """Machines that serve. Their addresses must lie in the allowed networks; tokens go in and never come out."""

    required_scope = COMMAND
    queryset = Host.objects.order_by("name")
    serializer_class = HostSerializer
    lookup_field = "name"
    filterset_fields = ["engine"]

    @extend_schema(request=HostSerializer, responses={201: HostSerializer, 202: WaitingActSerializer})
    def create(self, request: Request) -> Response:
        wish = self.ask(HostSerializer)
        done = doing(acts.register_host, **wish, user=request.user, actor=actor_for(request=request))
        return waiting_answer(done) if isinstance(done, Act) else self.shown(done, 201)

    def _change(self, change: Callable[..., None], serializer: type[serializers.Serializer]) -> Response:
        host = self.get_object()
        doing(change, host=host, **self.ask(serializer), actor=actor_for(request=self.request))
        return self.shown(host)

    @extend_schema(request=HostTokenSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def token(self, request: Request, name: str) -> Response:
        return self._change(actions.replace_token, HostTokenSerializer)

    @extend_schema(request=SpanSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def hold(self, request: Request, name: str) -> Response:
        return self._change(actions.hold, SpanSerializer)

    @extend_schema(request=StatedReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, name: str) -> Response:
        return self._change(actions.release, StatedReasonSerializer)

    @extend_schema(request=StatedReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"])
    def drain(self, request: Request, name: str) -> Response:
        return self._change(actions.drain, StatedReasonSerializer)

    @extend_schema(request=StatedReasonSerializer, responses=HostSerializer)
    @action(detail=True, methods=["post"], url_path="bring-back")
    def bring_back(self, request: Request, name: str) -> Response:
        return self._change(actions.bring_back, StatedReasonSerializer)


class PlacementSerializer(serializers.ModelSerializer):
    endpoint = slug_of(Endpoint)
    host = slug_of(Host, "name")
    desired_version = serializers.IntegerField(source="desired.number", read_only=True, allow_null=True, default=None)
    desired_digest = serializers.CharField(source="desired.digest", read_only=True, allow_null=True, default=None)

    class Meta:
        model = Placement
        fields = [
            "id", "endpoint", "host", "desired_version", "desired_digest", "observed_version", "observed_digest",
            "observed_fence", "observed_at", "health", "health_reason", "golden_at", "observation",
        ]  # fmt: skip
        read_only_fields = [
            "observed_version", "observed_digest", "observed_fence", "observed_at", "health", "health_reason",
            "golden_at", "observation",
        ]  # fmt: skip
        validators: list[Any] = []


class PlacementViewSet(RegistryViewSet):
    """What shall serve where, and what was last read back from there."""

    queryset = Placement.objects.select_related("endpoint", "host", "desired").order_by("endpoint__slug", "host__name")
    serializer_class = PlacementSerializer
    filterset_fields = {"endpoint__slug": ["exact"], "host__name": ["exact"], "health": ["exact"]}

    def create(self, request: Request) -> Response:
        wish = self.ask(PlacementSerializer)
        return self.shown(doing(actions.place, **wish, actor=actor_for(request=request)), 201)


class DeploymentSerializer(serializers.ModelSerializer):
    endpoint = serializers.SlugRelatedField(slug_field="slug", read_only=True)
    host = serializers.SlugRelatedField(slug_field="name", read_only=True)
    model = serializers.CharField(source="version.model.slug", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True)
    digest = serializers.CharField(source="version.digest", read_only=True)

    class Meta:
        model = Deployment
        fields = [
            "id", "endpoint", "host", "model", "version", "digest", "since", "until", "cause", "run_ref",
            "incident_ref", "gates_off",
        ]  # fmt: skip


class DeploymentFilter(django_filters.FilterSet):
    endpoint = django_filters.CharFilter("endpoint__slug")
    host = django_filters.CharFilter("host__name")
    model = django_filters.CharFilter("version__model__slug")
    version = django_filters.NumberFilter("version__number")
    at = django_filters.IsoDateTimeFilter(method="live_at", label="What was live at this moment.")

    class Meta:
        model = Deployment
        fields: list[str] = ["cause", "run_ref", "incident_ref"]

    def live_at(self, rows: Any, name: str, moment: Any) -> Any:
        return rows.filter(covers(moment))


class DeploymentViewSet(RegistryViewSet):
    """What was live where, from when to when, and why; `?at=2026-11-21T14:05:00Z` asks for a moment."""

    queryset = Deployment.objects.select_related("endpoint", "host", "version__model").order_by("-since", "-id")
    serializer_class = DeploymentSerializer
    filterset_class = DeploymentFilter


class BlobView(APIView):
    """A file under its SHA-256: 201 stored, 200 there already, 422 when it is something else."""

    permission_classes = [HasScope]
    required_scope = "registry.write"

    @extend_schema(request={"application/octet-stream": OpenApiTypes.BINARY}, responses={200: None, 201: None})
    def put(self, request: Request, sha256: str) -> Response:
        if doing(store.holds, sha256=sha256):
            return Response(status=status.HTTP_200_OK)
        try:
            store.check_size(declared_length(request))
            doing(store.put_stream, pieces=_pieces(request), sha256=sha256)
        except store.TooLarge as error:
            raise Problem(status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "too-large", str(error)) from error
        return Response(status=status.HTTP_201_CREATED)

    @extend_schema(responses={200: None})
    def head(self, request: Request, sha256: str) -> Response:
        if not doing(store.holds, sha256=sha256):
            raise Http404(f"The file {sha256[:12]} is not in the store.")
        return Response(status=status.HTTP_200_OK)


def _pieces(request: Request) -> Iterator[bytes]:
    while piece := request._request.read(CHUNK_BYTES):
        yield piece


router_entries = [
    ("models", ModelViewSet, "model"),
    ("versions", VersionViewSet, "version"),
    ("compositions", CompositionViewSet, "composition"),
    ("endpoints", EndpointViewSet, "endpoint"),
    ("hosts", HostViewSet, "host"),
    ("placements", PlacementViewSet, "placement"),
    ("deployments", DeploymentViewSet, "deployment"),
]

api_urlpatterns = [path("blobs/<str:sha256>/", BlobView.as_view(), name="blob")]
