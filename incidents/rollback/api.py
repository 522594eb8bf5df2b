"""The API of plans, runs and candidates: the same verbs as the pages."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import actor_for
from accounts.api import HasScope
from accounts.approvals.queries import NoPolicy
from accounts.permissions import user_of
from accounts.problems import Problem
from incidents.rollback import preflight as preflights
from incidents.rollback import run as run_verbs
from incidents.rollback import undo as undoing
from incidents.rollback.consequences import consequences
from incidents.rollback.dry_run import DryRun, dry_run_composed, dry_run_of
from incidents.rollback.models import Candidate, Check, HostStep, Plan, PlanKind, Preflight, Run, Wave
from incidents.rollback.outcomes import OUTCOMES, Wish, propose_outcome
from incidents.rollback.plan import STRATEGIES, PlanRefused, compose, propose, void
from incidents.rollback.queries import candidate_evidence, document_of, plans, runs
from incidents.rollback.rehearsal_api import RehearsalViewSet
from incidents.rollback.shadow.told import facts_of
from incidents.rollback.views import act_on_run
from registry.models import Endpoint, Version

MALFORMED = (
    "reason_needed", "unknown_kind", "other_model", "bad_waves", "too_few_hosts", "bad_shares", "bad_shadow",
    "bad_freeze",
)  # fmt: skip
PLAN_KINDS = [PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL]


class PreflightSerializer(serializers.ModelSerializer[Preflight]):
    host = serializers.CharField(source="host.name", allow_null=True, default=None)

    class Meta:
        model = Preflight
        fields = ["name", "host", "question", "answer", "observed", "expected", "at"]


class PlanSerializer(serializers.ModelSerializer[Plan]):
    endpoint = serializers.CharField(source="endpoint.slug")
    from_version = serializers.IntegerField(source="from_version.number", allow_null=True, default=None)
    to_version = serializers.IntegerField(source="to_version.number")
    proposer = serializers.CharField(source="proposer.username", allow_null=True, default=None)
    document = serializers.SerializerMethodField()
    preflights = PreflightSerializer(many=True)
    run = serializers.SerializerMethodField()

    class Meta:
        model = Plan
        fields = [
            "id", "kind", "endpoint", "from_version", "to_version", "incident_ref", "proposer", "reason", "plan_hash",
            "document", "evidence", "state", "void_reason", "request", "run", "start_on_approval", "created_at",
            "expires_at", "preflights",
        ]  # fmt: skip

    @extend_schema_field(serializers.JSONField())
    def get_document(self, plan: Plan) -> Any:
        return json.loads(bytes(plan.document))

    @extend_schema_field(serializers.UUIDField(allow_null=True))
    def get_run(self, plan: Plan) -> Any:
        own = getattr(plan, "run", None)
        return own.pk if own else None


class WaveBySerializer(serializers.Serializer[Any]):
    """One of the three: hosts in each wave, percent of the hosts done after each, or a label with a wave per value."""

    count = serializers.ListField(child=serializers.IntegerField(min_value=1), required=False)
    percent = serializers.ListField(child=serializers.IntegerField(min_value=1, max_value=100), required=False)
    label = serializers.CharField(max_length=60, required=False)  # type: ignore[assignment]


class QuorumSerializer(serializers.Serializer[Any]):
    """How much of each wave must succeed: a percentage of its hosts, or a number of them."""

    percent = serializers.IntegerField(min_value=1, max_value=100, required=False)
    hosts = serializers.IntegerField(min_value=1, required=False)


class ShadowSerializer(serializers.Serializer[Any]):
    """The version is asked live requests beside the one that answers, before any host is switched; {} for defaults."""

    seconds = serializers.IntegerField(min_value=1, max_value=604_800, required=False)
    percent = serializers.IntegerField(min_value=1, max_value=100, required=False)
    rows = serializers.IntegerField(min_value=1, required=False, help_text="The fewest to be compared.")
    max_differing = serializers.DecimalField(max_digits=9, decimal_places=8, required=False)
    max_moved = serializers.DecimalField(max_digits=9, decimal_places=8, required=False)
    max_failures = serializers.DecimalField(max_digits=9, decimal_places=8, required=False)
    tolerance = serializers.DecimalField(max_digits=24, decimal_places=12, required=False)


class ProposeSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[(kind.value, kind.label) for kind in PLAN_KINDS])
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    to_version = serializers.IntegerField(help_text="The version's number.")
    incident_ref = serializers.CharField(max_length=40, required=False, allow_blank=True, default="")
    reason = serializers.CharField(max_length=2000)
    wave_sizes = serializers.ListField(child=serializers.IntegerField(min_value=1), required=False)
    wave_by = WaveBySerializer(required=False)
    quorum = QuorumSerializer(required=False)
    strategy = serializers.ChoiceField(choices=[(name, name) for name in STRATEGIES], required=False)
    shares = serializers.ListField(child=serializers.IntegerField(min_value=1, max_value=99), required=False)
    shadow = ShadowSerializer(required=False)
    failure_budget = serializers.IntegerField(min_value=0, required=False)
    min_hosts_serving = serializers.IntegerField(min_value=0, required=False)
    wave_soak_seconds = serializers.IntegerField(min_value=0, max_value=86_400, required=False)
    watch_seconds = serializers.IntegerField(min_value=0, max_value=604_800, required=False)
    tolerated_absences = serializers.IntegerField(min_value=0, required=False)
    min_requests = serializers.IntegerField(min_value=0, required=False)
    gates_off = serializers.BooleanField(default=False)
    start_on_approval = serializers.BooleanField(default=True)
    replaces = serializers.PrimaryKeyRelatedField(queryset=Plan.objects.all(), required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        version = Version.objects.filter(model=data["endpoint"].model, number=data["to_version"]).first()
        if version is None:
            raise serializers.ValidationError({"to_version": "The endpoint's model has no version of that number."})
        return {**data, "to_version": version}


class CallSerializer(serializers.Serializer[Any]):
    method = serializers.CharField(help_text="An HTTP method, or `write` for files of an engine's repository.")
    url = serializers.CharField()
    body = serializers.CharField(allow_blank=True, help_text="In words.")


class DryStepSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    calls = CallSerializer(many=True)
    skipped = serializers.CharField(allow_blank=True, help_text="Why nothing would be called.")


class DryHostSerializer(serializers.Serializer[Any]):
    host = serializers.CharField()
    wave = serializers.IntegerField()
    serves = serializers.CharField(allow_blank=True, help_text="The digest that it was just read back to serve.")
    unreachable = serializers.CharField(allow_blank=True)
    steps = DryStepSerializer(many=True)


class DryRunSerializer(serializers.Serializer[Any]):
    plan_hash = serializers.CharField()
    document = serializers.JSONField()
    fence = serializers.IntegerField()
    hosts = DryHostSerializer(many=True)
    findings = serializers.ListField(child=serializers.DictField(child=serializers.CharField(allow_blank=True)))
    beside = serializers.ListField(child=serializers.CharField())


class OutcomeSerializer(serializers.Serializer[Any]):
    """Hosts out of service or back in it, or a freeze."""

    outcome = serializers.ChoiceField(choices=[(name, name) for name in OUTCOMES])
    endpoint = serializers.SlugRelatedField(slug_field="slug", queryset=Endpoint.objects.select_related("model"))
    hosts = serializers.ListField(child=serializers.CharField(max_length=60), required=False, default=list)
    until = serializers.DateTimeField(required=False, help_text="The end of a freeze.")
    min_hosts_serving = serializers.IntegerField(min_value=0, required=False)
    incident_ref = serializers.CharField(max_length=40, required=False, allow_blank=True, default="")
    reason = serializers.CharField(max_length=2000)
    start_on_approval = serializers.BooleanField(default=True)


class ReasonSerializer(serializers.Serializer[Any]):
    reason = serializers.CharField(max_length=500)


class StepSerializer(serializers.ModelSerializer[HostStep]):
    host = serializers.CharField(source="host.name")
    wave = serializers.IntegerField(source="wave.index")

    class Meta:
        model = HostStep
        fields = [
            "host", "wave", "state", "state_reason", "before_digest", "intent", "attempts", "switch_calls", "marks",
        ]  # fmt: skip


class WaveSerializer(serializers.ModelSerializer[Wave]):
    class Meta:
        model = Wave
        fields = ["index", "name", "state", "soak_until"]


class CheckSerializer(serializers.ModelSerializer[Check]):
    host = serializers.CharField(source="host.name", allow_null=True, default=None)

    class Meta:
        model = Check
        fields = ["stage", "name", "host", "question", "answer", "observed", "expected", "interval", "at"]


class WatchField(serializers.Serializer[Any]):
    state = serializers.CharField()
    state_reason = serializers.CharField()
    until = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class RunSerializer(serializers.ModelSerializer[Run]):
    endpoint = serializers.CharField(source="endpoint.slug")
    plan_hash = serializers.CharField(source="plan.plan_hash")
    kind = serializers.CharField(source="plan.kind")
    incident_ref = serializers.CharField(source="plan.incident_ref")
    waves = WaveSerializer(many=True)
    steps = StepSerializer(many=True)
    checks = CheckSerializer(many=True)
    watch = WatchField(allow_null=True, default=None)
    shadow = serializers.SerializerMethodField(help_text="What its shadow has found so far; null without one.")

    def get_shadow(self, run: Run) -> dict[str, Any] | None:
        return facts_of(run.steps.all(), document_of(run))

    class Meta:
        model = Run
        fields = [
            "id", "plan", "plan_hash", "kind", "endpoint", "incident_ref", "state", "state_reason", "halt_code",
            "fence", "started_at", "switched_at", "ended_at", "waves", "steps", "checks", "watch", "shadow",
        ]  # fmt: skip


class CandidateSerializer(serializers.ModelSerializer[Candidate]):
    version = serializers.IntegerField(source="to_version.number")
    digest = serializers.CharField(source="to_version.digest")
    endpoint = serializers.CharField(source="endpoint.slug")

    class Meta:
        model = Candidate
        fields = [
            "incident_ref", "endpoint", "version", "digest", "rank", "eligible", "reasons", "replay", "computed_at",
        ]  # fmt: skip


def refusal(error: PlanRefused) -> Problem:
    """A verb's refusal as a problem: in conflict with how things are, unless it asks for something malformed."""
    code = 400 if error.code in MALFORMED else 409
    return Problem(code, error.code.replace("_", "-"), error.sentence)


class PlanViewSet(viewsets.ReadOnlyModelViewSet[Plan]):
    """Plans: one exact change each, whose hash is what people approve."""

    serializer_class = PlanSerializer
    permission_classes = [HasScope]
    required_scope = {
        "create": "plan.propose",
        "dry_run": "plan.propose",
        "would": "plan.propose",
        "steer": "plan.propose",
        "preflight": "plan.propose",
        "submit": "plan.propose",
        "void": "plan.propose",
        "start": "plan.start",
        "*": "view",
    }
    filterset_fields = ["state", "kind", "incident_ref", "endpoint__slug"]
    queryset = plans().select_related("run").prefetch_related("preflights__host")

    @extend_schema(request=ProposeSerializer, responses={201: PlanSerializer})
    def create(self, request: Request) -> Response:
        wish = self._wish(request)
        try:
            plan = propose(
                **wish,
                user=user_of(request),
                actor=actor_for(request=request),
                evidence=candidate_evidence(wish["incident_ref"]) if wish["incident_ref"] else None,
            )
        except PlanRefused as error:
            raise refusal(error) from error
        except NoPolicy as error:
            raise Problem(409, "no-policy", str(error)) from error
        return Response(self._shown(plan.pk), status=status.HTTP_201_CREATED)

    @extend_schema(request=ProposeSerializer, responses=DryRunSerializer)
    @action(detail=False, methods=["post"], url_path="dry-run")
    def dry_run(self, request: Request) -> Response:
        """The document that would be approved, its hash, and what would be called on each host, which is observed for
        it. Nothing is stored, and nothing changed."""
        wish = self._wish(request)
        for unused in ("reason", "replaces", "start_on_approval"):
            wish.pop(unused, None)
        try:
            composed = compose(**wish, user=user_of(request))
        except PlanRefused as error:
            raise refusal(error) from error
        except NoPolicy as error:
            raise Problem(409, "no-policy", str(error)) from error
        found = dry_run_composed(composed, kind=wish["kind"], endpoint=wish["endpoint"], to_version=wish["to_version"])
        return self._dry(composed.hash, composed.document, found)

    @extend_schema(request=None, responses=DryRunSerializer)
    @action(detail=True, methods=["get"], url_path="dry-run")
    def would(self, request: Request, pk: str) -> Response:
        """What would be called on each host if the plan were started now; hosts are observed, nothing is changed."""
        plan = self.get_object()
        return self._dry(plan.plan_hash, bytes(plan.document), self._do(lambda: dry_run_of(plan)))

    @staticmethod
    def _dry(plan_hash: str, document: bytes, found: DryRun) -> Response:
        return Response({"plan_hash": plan_hash, "document": json.loads(document), **found.facts})

    @extend_schema(request=OutcomeSerializer, responses={201: PlanSerializer})
    @action(detail=False, methods=["post"])
    def steer(self, request: Request) -> Response:
        """Propose to take hosts out of service, to bring them back, or to freeze the endpoint."""
        asked = OutcomeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        wish = dict(asked.validated_data)
        said = {name: wish.pop(name) for name in ("incident_ref", "reason", "start_on_approval")}
        try:
            plan = propose_outcome(Wish(**wish), user=user_of(request), actor=actor_for(request=request), **said)
        except PlanRefused as error:
            raise refusal(error) from error
        except NoPolicy as error:
            raise Problem(409, "no-policy", str(error)) from error
        return Response(self._shown(plan.pk), status=status.HTTP_201_CREATED)

    @extend_schema(request=None, responses={202: PlanSerializer})
    @action(detail=True, methods=["post"])
    def preflight(self, request: Request, pk: str) -> Response:
        """Order the preflight of a draft anew."""
        self._do(lambda: preflights.again(plan_id=self.get_object().pk, actor=actor_for(request=request)))
        return Response(self._shown(pk), status=status.HTTP_202_ACCEPTED)

    @extend_schema(request=None, responses=PlanSerializer)
    @action(detail=True, methods=["post"])
    def submit(self, request: Request, pk: str) -> Response:
        """Ask for the approvals of a draft whose preflight has passed; it happens by itself as a rule."""
        self._do(lambda: preflights.submit(plan_id=self.get_object().pk, actor=actor_for(request=request)))
        return Response(self._shown(pk))

    @extend_schema(request=None, responses={201: RunSerializer})
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: str) -> Response:
        """Start an approved plan that does not start by itself."""
        actor = actor_for(request=request)
        started = self._do(lambda: run_verbs.start(plan_id=self.get_object().pk, user=user_of(request), actor=actor))
        return Response(RunSerializer(runs().get(pk=started.pk)).data, status=status.HTTP_201_CREATED)

    @extend_schema(request=ReasonSerializer, responses=PlanSerializer)
    @action(detail=True, methods=["post"])
    def void(self, request: Request, pk: str) -> Response:
        """Give a plan up; its approval request is withdrawn."""
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        reason, actor = asked.validated_data["reason"], actor_for(request=request)
        if not void(plan_id=self.get_object().pk, reason=reason, actor=actor):
            raise Problem(409, "closed", "The plan was started or given up before.")
        return Response(self._shown(pk))

    def _wish(self, request: Request) -> dict[str, Any]:
        asked = ProposeSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        return dict(asked.validated_data)

    def _do(self, verb: Any) -> Any:
        try:
            return verb()
        except PlanRefused as error:
            raise refusal(error) from error

    def _shown(self, pk: Any) -> Any:
        return PlanSerializer(self.get_queryset().get(pk=pk)).data


class RunViewSet(viewsets.ReadOnlyModelViewSet[Run]):
    """Runs: where each host is, every check and its answer."""

    serializer_class = RunSerializer
    permission_classes = [HasScope]
    required_scope = {
        "stop": "plan.stop",
        "pause": "plan.stop",
        "resume": "plan.start",
        "compensate": "plan.start",
        "pass_gate": "incident.command",
        "sign_off": "incident.command",
        "reject": "incident.command",
        "undo": "plan.propose",
        "*": "view",
    }
    filterset_fields = ["state", "endpoint__slug", "plan__incident_ref"]
    queryset = runs().prefetch_related("waves", "steps__host", "steps__wave", "checks__host")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, pk: str) -> Response:
        """End the run at the next safe point; hosts stay as they are."""
        return self._act(request, "stop")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Halt the run until somebody resumes it; hosts stay as they are."""
        return self._act(request, "pause")

    @extend_schema(request=None, responses={200: {"type": "object", "additionalProperties": {"type": "string"}}})
    @action(detail=True, methods=["get"])
    def verbs(self, request: Request, pk: str) -> Response:
        """What pausing, resuming, stopping or turning back would do now, in words."""
        return Response(consequences(self.get_object()))

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Take a halted run up again."""
        return self._act(request, "resume")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"])
    def compensate(self, request: Request, pk: str) -> Response:
        """Bring the hosts back to what they served before."""
        return self._act(request, "compensate")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"], url_path="pass-gate")
    def pass_gate(self, request: Request, pk: str) -> Response:
        """Let a run go on whose gate is inconclusive."""
        return self._act(request, "pass-gate")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"], url_path="sign-off")
    def sign_off(self, request: Request, pk: str) -> Response:
        """Sign off a verification that waits for a person."""
        return self._act(request, "sign-off")

    @extend_schema(request=ReasonSerializer, responses=RunSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: str) -> Response:
        """Judge a verification that waits for a person as failed."""
        return self._act(request, "reject")

    @extend_schema(request=ReasonSerializer, responses={201: PlanSerializer})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, pk: str) -> Response:
        """Propose the plan that undoes the run, while the version that it left is still warm."""
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        person, actor = user_of(request), actor_for(request=request)
        try:
            proposed = undoing.undo(
                run_id=self.get_object().pk, user=person, reason=asked.validated_data["reason"], actor=actor
            )
        except PlanRefused as error:
            raise refusal(error) from error
        shown = plans().select_related("run").prefetch_related("preflights__host").get(pk=proposed.pk)
        return Response(PlanSerializer(shown).data, status=status.HTTP_201_CREATED)

    def _act(self, request: Request, verb: str) -> Response:
        asked = ReasonSerializer(data=request.data)
        asked.is_valid(raise_exception=True)
        subject = self.get_object()
        who = {"run_id": subject.pk, "user": user_of(request), "actor": actor_for(request=request)}
        try:
            act_on_run(verb, who | asked.validated_data)
        except PlanRefused as error:
            raise refusal(error) from error
        return Response(RunSerializer(self.get_queryset().get(pk=subject.pk)).data)


class CandidateViewSet(viewsets.ReadOnlyModelViewSet[Candidate]):
    """Where an endpoint could go, ranked for an incident."""

    serializer_class = CandidateSerializer
    permission_classes = [HasScope]
    required_scope = "view"
    filterset_fields = ["incident_ref", "eligible"]
    queryset = Candidate.objects.select_related("to_version", "endpoint").order_by("incident_ref", "rank")


router_entries = [
    ("plans", PlanViewSet, "plan"),
    ("runs", RunViewSet, "run"),
    ("candidates", CandidateViewSet, "candidate"),
    ("rehearsals", RehearsalViewSet, "rehearsal"),
]
