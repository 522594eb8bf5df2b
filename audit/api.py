"""The log for programs: events, checkpoints, proofs, exports. Read with the scope ``audit.view``."""

from typing import Any, ClassVar

from django.http import FileResponse, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import exceptions, mixins, serializers, viewsets
from rest_framework.decorators import action
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from audit import queries, search
from audit.actions import CosignatureRefused, record_cosignature
from audit.api_holds import HoldViewSet
from audit.erasure import NothingSealed, reveal
from audit.export import NothingToExport, ScopeError, tlog_proof
from audit.models import AuditCheckpoint, AuditCosignature, AuditEvent
from audit.views import actor_of, bundle_response


def hash_field(**options: Any) -> serializers.RegexField:
    """A SHA-256 as 64 lowercase hex digits."""
    return serializers.RegexField("^[0-9a-f]{64}$", **options)


class EventSerializer(serializers.ModelSerializer[AuditEvent]):
    """``record`` is the canonical record, parsed; ``canon`` its exact text, whose leaf hash is in the tree."""

    id = serializers.UUIDField(source="event_uuid")
    leaf_index = serializers.SerializerMethodField()
    record = serializers.SerializerMethodField()
    canon = serializers.SerializerMethodField()
    has_text = serializers.SerializerMethodField(help_text="Whether a sealed text stands beside it, not erased.")

    class Meta:
        model = AuditEvent
        fields: ClassVar = [
            "id",
            "occurred_at",
            "action",
            "outcome",
            "actor_kind",
            "actor",
            "target_kind",
            "target_id",
            "target_version",
            "incident",
            "incident_seq",
            "leaf_index",
            "has_text",
            "record",
            "canon",
        ]

    def get_leaf_index(self, event: AuditEvent) -> int | None:
        leaf = getattr(event, "leaf", None)
        return leaf.leaf_index if leaf else None

    def get_record(self, event: AuditEvent) -> dict[str, Any]:
        return queries.record_of(event)

    def get_canon(self, event: AuditEvent) -> str:
        return bytes(event.canon).decode()

    def get_has_text(self, event: AuditEvent) -> bool:
        private = getattr(event, "private", None)
        return private is not None and private.subject.wrapped is not None


class RevealSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=2000, help_text="Why it is read; goes on record.")


class RevealedSerializer(serializers.Serializer[Any]):
    text = serializers.CharField()


class FilterSerializer(serializers.Serializer[Any]):
    """The filters of the list, as query parameters."""

    actor = serializers.CharField(required=False)
    action = serializers.CharField(required=False)
    incident = serializers.CharField(required=False)
    target = serializers.CharField(required=False)
    outcome = serializers.CharField(required=False)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)


class InclusionSerializer(serializers.Serializer[Any]):
    leaf_index = serializers.IntegerField()
    leaf_hash = hash_field()
    tree_size = serializers.IntegerField()
    root_hash = hash_field(source="root")
    hashes = serializers.ListField(child=hash_field(), help_text="Siblings from the leaf up, RFC 6962.")


class CheckpointSerializer(serializers.ModelSerializer[AuditCheckpoint]):
    """``note`` is the C2SP signed note: the log's signature, then one of each witness that has cosigned."""

    root_hash = serializers.SerializerMethodField()
    note = serializers.SerializerMethodField()

    class Meta:
        model = AuditCheckpoint
        fields: ClassVar = ["size", "root_hash", "note", "created_at"]

    def get_root_hash(self, checkpoint: AuditCheckpoint) -> str:
        return bytes(checkpoint.root).hex()

    def get_note(self, checkpoint: AuditCheckpoint) -> str:
        return queries.note_of(checkpoint)


class CosignatureSerializer(serializers.Serializer[Any]):
    size = serializers.IntegerField(min_value=1, max_value=2**53 - 1)
    note_line = serializers.CharField(
        max_length=500, trim_whitespace=False, help_text="The line that is added to the checkpoint's note."
    )


@extend_schema_serializer(many=False)
class StatusSerializer(serializers.Serializer[Any]):
    """The state of the log; ``separated`` says whether the web process could neither change nor sign it."""

    events = serializers.IntegerField()
    tree_size = serializers.IntegerField()
    root_hash = hash_field(source="root")
    checkpoint_at = serializers.DateTimeField(allow_null=True)
    checkpoint_age_seconds = serializers.FloatField()
    lag_events = serializers.IntegerField()
    lag_seconds = serializers.FloatField()
    separated = serializers.BooleanField()
    signed = serializers.BooleanField()
    healthy = serializers.BooleanField()
    alarms = serializers.ListField(child=serializers.CharField(), help_text="What is wrong, and what to do.")
    vkey = serializers.CharField()


class ConsistencySerializer(serializers.Serializer[Any]):
    old = serializers.IntegerField()
    new = serializers.IntegerField()
    hashes = serializers.ListField(child=hash_field())


class ExportSerializer(serializers.Serializer[Any]):
    """One incident, one model (its slug), one person (the pseudonym), or a span; nothing for the whole log."""

    incident = serializers.CharField(required=False, allow_blank=True, max_length=60)
    model = serializers.CharField(required=False, allow_blank=True, max_length=100)
    person = serializers.CharField(required=False, allow_blank=True, max_length=100)
    since = serializers.DateTimeField(required=False)
    until = serializers.DateTimeField(required=False)
    extends = serializers.IntegerField(
        required=False, min_value=0, max_value=2**53 - 1, help_text="Size of an older checkpoint to show extended."
    )


class EventPages(CursorPagination):
    """By place, as the log's own page: a deep page costs what the first does, and nothing is counted."""

    page_size = 50
    ordering = search.NEWEST_FIRST


class EventViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[AuditEvent]):
    """Events, newest first."""

    serializer_class = EventSerializer
    queryset = AuditEvent.objects.none()
    pagination_class = EventPages
    lookup_field = "event_uuid"
    lookup_url_kwarg = "id"
    lookup_value_converter = "uuid"
    required_scope = "audit.view"
    filter_backends = ()

    def get_queryset(self) -> Any:
        if self.action != "list":
            return search.events()
        asked = FilterSerializer(data=self.request.query_params)
        asked.is_valid(raise_exception=True)
        return search.events(search.Filters(**asked.validated_data))

    @extend_schema(parameters=[FilterSerializer])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().list(request, *args, **kwargs)

    @extend_schema(responses={(200, "text/plain"): OpenApiTypes.STR})
    @action(detail=True, methods=["get"], url_path="tlog-proof")
    def tlog_proof(self, request: Request, **kwargs: Any) -> HttpResponse:
        """The same proof as a file of c2sp.org/tlog-proof@v1, which tools of others read; its extra data is the record.
        404 while nothing is signed over the event."""
        event = self.get_object()
        proof = tlog_proof(event)
        if not proof:
            raise exceptions.NotFound("The event has no leaf in the signed tree yet. Ask again in a second.")
        headers = {"Content-Disposition": f'attachment; filename="{event.event_uuid}.tlog-proof"'}
        return HttpResponse(proof, content_type="text/plain; charset=utf-8", headers=headers)

    @extend_schema(request=RevealSerializer, responses=RevealedSerializer)
    @action(detail=True, methods=["post"])
    def reveal(self, request: Request, **kwargs: Any) -> Response:
        """The sealed text of the event. The reading is recorded, with its reason; 404 where nobody wrote one or it was
        erased."""
        asked = RevealSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            text = reveal(event=self.get_object(), actor=actor_of(request), **asked.validated_data)
        except NothingSealed as error:
            raise exceptions.NotFound(str(error)) from error
        return Response({"text": text})

    @extend_schema(responses=InclusionSerializer)
    @action(detail=True, methods=["get"])
    def inclusion(self, request: Request, **kwargs: Any) -> Response:
        """The proof that the event is in the tree of the last checkpoint; 404 while it has no leaf."""
        proof = queries.inclusion(self.get_object().pk)
        if proof is None:
            raise exceptions.NotFound("The event has no leaf in the signed tree yet. Ask again in a second.")
        return Response(InclusionSerializer(proof).data)


class CheckpointViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[AuditCheckpoint]):
    """Signed checkpoints, newest first."""

    serializer_class = CheckpointSerializer
    queryset = AuditCheckpoint.objects.order_by("-size").prefetch_related("cosignatures")
    lookup_value_converter = "int"
    required_scope = "audit.view"
    machine_scopes: ClassVar[dict[str, str]] = {"latest": "witness", "consistency": "witness"}

    @extend_schema(responses=CheckpointSerializer)
    @action(detail=False, methods=["get"])
    def latest(self, request: Request) -> Response:
        """The last one; 404 while nothing has been signed."""
        found = queries.checkpoint_at()
        if found is None:
            raise exceptions.NotFound("Nothing has been signed yet.")
        return Response(CheckpointSerializer(found).data)

    @extend_schema(
        parameters=[
            OpenApiParameter("old", int, required=True, description="Size of the older tree"),
            OpenApiParameter("new", int, required=True, description="Size of the newer tree"),
        ],
        responses=ConsistencySerializer,
    )
    @action(detail=False, methods=["get"])
    def consistency(self, request: Request) -> Response:
        """The proof that the newer tree extends the older one."""
        asked = ConsistencySerializer(data=request.query_params, partial=True)
        asked.is_valid(raise_exception=True)
        sizes = asked.validated_data
        if "old" not in sizes or "new" not in sizes:
            raise exceptions.ValidationError("Give both sizes: ?old=100&new=200.")
        try:
            hashes = queries.consistency(sizes["old"], sizes["new"])
        except ValueError as error:
            raise exceptions.ValidationError(str(error)) from error
        return Response({"old": sizes["old"], "new": sizes["new"], "hashes": hashes})


class CosignatureViewSet(viewsets.GenericViewSet[AuditCosignature]):
    """Where witnesses send their signatures."""

    serializer_class = CosignatureSerializer
    queryset = AuditCosignature.objects.none()
    required_scope = "witness"
    pagination_class = None
    filter_backends = ()

    @extend_schema(responses={201: CosignatureSerializer, 200: CosignatureSerializer})
    def create(self, request: Request) -> Response:
        """Keep a witness's signature over a checkpoint. 201, or 200 where it was there already."""
        asked = CosignatureSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            kept, new = record_cosignature(**asked.validated_data)
        except CosignatureRefused as error:
            raise exceptions.ValidationError(str(error)) from error
        return Response({"size": kept.checkpoint_id, "note_line": kept.note_line}, status=201 if new else 200)


class LogViewSet(viewsets.GenericViewSet[AuditEvent]):
    """The log as a whole: its state, and bundles of it."""

    required_scope: ClassVar[dict[str, str]] = {"export": "audit.export", "*": "audit.view"}
    serializer_class = StatusSerializer
    queryset = AuditEvent.objects.none()
    pagination_class = None
    filter_backends = ()

    @extend_schema(operation_id="audit_log_status", responses=StatusSerializer)
    def list(self, request: Request) -> Response:
        """Size, root, last checkpoint, lag, and whether its keys are apart."""
        return Response(StatusSerializer(queries.status()).data)

    @extend_schema(request=ExportSerializer, responses={(200, "application/zip"): OpenApiTypes.BINARY})
    @action(detail=False, methods=["post"])
    def export(self, request: Request) -> FileResponse:
        """A zip that verifies offline. The export is itself on record."""
        asked = ExportSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        try:
            return bundle_response(actor_of(request), dict(asked.validated_data))
        except NothingToExport as error:
            raise exceptions.NotFound(str(error)) from error
        except ScopeError as error:
            raise exceptions.ValidationError(str(error)) from error


router_entries = [
    ("audit/holds", HoldViewSet, "audit-hold-api"),
    ("audit/events", EventViewSet, "audit-event-api"),
    ("audit/checkpoints", CheckpointViewSet, "audit-checkpoint-api"),
    ("audit/cosignatures", CosignatureViewSet, "audit-cosignature-api"),
    ("audit/log", LogViewSet, "audit-log-api"),
]
