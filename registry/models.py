"""What is known: models, versions, artifacts, endpoints, hosts, and what is live where."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

Moment = datetime | Now


class RiskTier(models.TextChoices):
    LOW = "low", _("Low")
    MEDIUM = "medium", _("Medium")
    HIGH = "high", _("High")


class Model(models.Model):
    """A model in the registry. `subject_noun` names what one prediction decides about (a person, a payment)."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    team = models.CharField(max_length=100)
    risk_tier = models.CharField(max_length=10, choices=RiskTier, default=RiskTier.HIGH)
    task = models.CharField(max_length=40, default="binary_classification")
    description = models.TextField(blank=True)
    subject_noun = models.CharField(max_length=40, default="request")
    subject_noun_plural = models.CharField(max_length=40, default="requests")
    error_meaning = models.CharField(max_length=300, blank=True, help_text="What a wrong answer does to its subject.")
    group_columns = models.JSONField(default=list, help_text="Input columns by which quality is compared.")
    created_at = models.DateTimeField(db_default=models.functions.Now())

    def __str__(self) -> str:
        return self.name

    def concerned_models(self) -> "list[Model]":
        return [self]


class Artifact(models.Model):
    """A file in the content-addressed store; the SHA-256 of its bytes is its name."""

    sha256 = models.CharField(primary_key=True, max_length=64)
    size = models.PositiveBigIntegerField()
    media_type = models.CharField(max_length=100)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    read_at = models.DateTimeField(
        null=True, blank=True, help_text="When all its bytes were last found to be those of its name; never yet."
    )

    def __str__(self) -> str:
        return self.sha256[:12]


class Version(models.Model):
    """An immutable version; the SHA-256 of its canonical manifest is its identity."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    digest = models.CharField(max_length=64, unique=True)
    manifest = models.BinaryField()
    signature = models.JSONField()
    code_commit = models.CharField(max_length=64, blank=True)
    environment = models.JSONField(default=dict)
    training_data_digest = models.CharField(max_length=64, blank=True)
    hyperparameters = models.JSONField(default=dict)
    metrics = models.JSONField(default=dict, help_text='Offline figures, such as {"holdout": {"accuracy": 0.81}}.')
    documentation = models.TextField(blank=True)
    reason_taken = models.CharField(max_length=20, default="release")
    profile = models.ForeignKey(Artifact, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    golden = models.ForeignKey(Artifact, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    holdout = models.ForeignKey(Artifact, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    soaked_at = models.DateTimeField(
        null=True, blank=True, help_text="When it first soaked in production without alert."
    )
    quarantined_at = models.DateTimeField(null=True, blank=True)
    quarantine_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    created_by = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering = ["model_id", "-number"]
        constraints = [models.UniqueConstraint(fields=["model", "number"], name="registry_version_number")]

    def __str__(self) -> str:
        return f"version {self.number}"

    @property
    def input_names(self) -> list[str]:
        """The inputs that its signature asks for, in their order."""
        return [str(entry["name"]) for entry in self.signature["inputs"]]

    @property
    def output_name(self) -> str:
        """The output that is the answer: the first one that is not the score."""
        names = [str(entry["name"]) for entry in self.signature["outputs"]]
        return next((name for name in names if name != "score"), names[0])

    def concerned_models(self) -> list[Model]:
        return [self.model]


class VersionFile(models.Model):
    """A file of a version, in the component that its manifest names."""

    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="files")
    component = models.CharField(max_length=40)
    path = models.CharField(max_length=200)
    artifact = models.ForeignKey(Artifact, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["component", "path"]
        constraints = [models.UniqueConstraint(fields=["version", "component", "path"], name="registry_version_file")]

    def __str__(self) -> str:
        return f"{self.component}/{self.path}"


class LineageKind(models.TextChoices):
    RETRAINED = "retrained", _("Retrained")
    FINE_TUNED = "fine_tuned", _("Fine-tuned")
    QUANTIZED = "quantized", _("Quantized")
    PRUNED = "pruned", _("Pruned")
    DISTILLED = "distilled", _("Distilled")
    COMPOSED = "composed", _("Composed")


class Lineage(models.Model):
    child = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="parents")
    parent = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="children")
    kind = models.CharField(max_length=12, choices=LineageKind)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["child", "parent", "kind"], name="registry_lineage_once")]

    def __str__(self) -> str:
        return f"{self.child_id} {self.kind} from {self.parent_id}"


class ComparisonState(models.TextChoices):
    WAITING = "waiting", _("Being computed")
    DONE = "done", _("Done")
    REFUSED = "refused", _("Can't be compared")


class TensorComparison(models.Model):
    """How the weights of two versions differ, tensor by tensor: computed once, since versions never change."""

    left = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    right = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=ComparisonState, default=ComparisonState.WAITING)
    reason = models.CharField(max_length=300, blank=True)
    rows = models.JSONField(default=list, help_text="registry.tensors.TensorDifference, one a tensor.")
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(db_default=models.functions.Now())
    asked_at = models.DateTimeField(db_default=models.functions.Now())
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["left", "right"], name="registry_comparison_once")]

    def __str__(self) -> str:
        return f"{self.left_id} against {self.right_id}"


class CompositionKind(models.TextChoices):
    PREPROCESSING = "preprocessing", _("Preprocessing")
    CONFIG = "config", _("Configuration")
    ADAPTER = "adapter", _("Adapter")
    LAYERS = "layers", _("Named layers")


class CompositionState(models.TextChoices):
    WAITING = "waiting", _("Being composed")
    DONE = "done", _("Done")
    REFUSED = "refused", _("Can't be composed")


class Composition(models.Model):
    """A part of one version put into another: asked for by a person, made once by a worker. `parts_digest` stands for
    base, other, kind and tensors, so that the same wish is the same row."""

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="compositions")
    base = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    other = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=14, choices=CompositionKind)
    tensors = models.JSONField(default=list, help_text="Names, sorted, of the tensors taken; empty for a whole part.")
    parts_digest = models.CharField(max_length=64, unique=True)
    state = models.CharField(max_length=10, choices=CompositionState, default=CompositionState.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    version = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, blank=True, related_name="compositions")
    incident_ref = models.CharField(max_length=40, blank=True)
    asked_by = models.CharField(max_length=60)
    attempts = models.PositiveIntegerField(default=0)
    due_at = models.DateTimeField(db_default=models.functions.Now())
    asked_at = models.DateTimeField(db_default=models.functions.Now())
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=CompositionState.values), name="registry_composition_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(version__isnull=False), name="registry_composition_done_has_version"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.other_id} in {self.base_id}"

    def concerned_models(self) -> list[Model]:
        return [self.model]


class Alias(models.Model):
    """A movable name of a version (`champion`, `last-good`); each move is an audit event."""

    CHAMPION = "champion"
    LAST_GOOD = "last-good"

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="aliases")
    name = models.SlugField()
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="aliases")
    moved_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["model", "name"], name="registry_alias_once")]

    def __str__(self) -> str:
        return self.name


class Environment(models.TextChoices):
    PRODUCTION = "production", _("Production")
    STAGING = "staging", _("Staging")


class Endpoint(models.Model):
    """One model in one environment, served by hosts. `fence` is the last fencing token given out."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="endpoints")
    environment = models.CharField(max_length=20, choices=Environment, default=Environment.PRODUCTION)
    soak_seconds = models.PositiveIntegerField(default=86_400, help_text="In production without alert until last-good.")
    watch_seconds = models.PositiveIntegerField(
        default=900, help_text="Live watching after the last host has switched."
    )
    wave_soak_seconds = models.PositiveIntegerField(default=120)
    undo_seconds = models.PositiveIntegerField(default=3600, help_text="How long the old version stays warm.")
    min_hosts_serving = models.PositiveIntegerField(default=1)
    fence = models.PositiveBigIntegerField(default=0)
    fallback = models.ForeignKey(
        Version, on_delete=models.PROTECT, null=True, blank=True, related_name="+",
        help_text="Kept warm on every host, to be fallen back on.",
    )  # fmt: skip
    version = models.PositiveIntegerField(default=1, help_text="Grows with each change and each observation: the ETag.")
    created_at = models.DateTimeField(db_default=models.functions.Now())

    def __str__(self) -> str:
        return self.slug

    def concerned_models(self) -> list[Model]:
        return [self.model]

    def freeze_at(self, moment: datetime) -> "FreezeWindow | None":
        """The freeze in force at the moment, of several the one that ends last; None where the endpoint may change."""
        return FreezeWindow.objects.in_force(moment).filter(endpoint=self).order_by("-until", "pk").first()


class FreezeWindows(models.QuerySet["FreezeWindow"]):
    """Freezes by what they are at a moment."""

    def standing(self, moment: Moment) -> Self:
        """Neither over nor lifted: `begun` tells those in force from the planned. The first to begin comes first."""
        begun = Q(starts=None) | Q(starts__lte=moment)
        found = self.filter(lifted_at=None, until__gt=moment).annotate(
            begun=models.ExpressionWrapper(begun, output_field=models.BooleanField())
        )
        return found.order_by(models.F("starts").asc(nulls_first=True), "pk")

    def in_force(self, moment: Moment) -> Self:
        """Those that keep the endpoint from being changed at the moment."""
        return self.standing(moment).filter(begun=True)


class FreezeWindow(models.Model):
    """A span in which nothing changes on an endpoint. Several may stand at once, and overlap. Rows are kept."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="freezes")
    starts = models.DateTimeField(null=True, blank=True, help_text="When a planned freeze begins; empty: at once.")
    until = models.DateTimeField()
    reason = models.CharField(max_length=300)
    by = models.CharField(max_length=100, blank=True, help_text="Who placed it, as the record names them.")
    placed_at = models.DateTimeField(db_default=Now())
    lifted_at = models.DateTimeField(null=True, blank=True)

    objects = FreezeWindows.as_manager()

    class Meta:
        indexes = [
            models.Index(fields=["endpoint", "until"], condition=Q(lifted_at=None), name="registry_freeze_standing")
        ]

    def __str__(self) -> str:
        return f"freeze {self.pk} of {self.endpoint}"


class Host(models.Model):
    """A machine that serves. The control token is sealed at rest; `address` is checked against the allow-list."""

    name = models.SlugField(unique=True)
    engine = models.CharField(max_length=20, default="bundled")
    address = models.URLField()
    control_token_sealed = models.BinaryField(default=b"")
    labels = models.JSONField(default=dict)
    options = models.JSONField(default=dict, help_text="What the engine's driver needs beside the address.")
    drained_at = models.DateTimeField(null=True, blank=True)
    held_until = models.DateTimeField(null=True, blank=True, help_text="Reconciliation is held by a person until then.")
    held_reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def concerned_models(self) -> list[Model]:
        """Of all endpoints that the host serves, since what is done to it is done to each of them."""
        return list(Model.objects.filter(endpoints__placements__host=self).distinct())

    @property
    def is_held(self) -> bool:
        """Whether a person keeps the host from being converged right now."""
        return self.held_until is not None and self.held_until > timezone.now()


class Health(models.TextChoices):
    UNKNOWN = "unknown", _("Not observed")
    SERVING = "serving", _("Serving")
    WRONG_VERSION = "wrong_version", _("Serves another version")
    WRONG_OUTPUT = "wrong_output", _("Golden test fails")
    UNREACHABLE = "unreachable", _("Unreachable")
    NOT_READY = "not_ready", _("Not ready")


class Placement(models.Model):
    """Endpoint x host: what should serve there, and what was last seen to serve there."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="placements")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="placements")
    desired = models.ForeignKey(Version, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    observed_version = models.CharField(max_length=40, blank=True)
    observed_digest = models.CharField(
        max_length=64, blank=True, help_text="Of what is loaded, read back from the host."
    )
    observed_fence = models.PositiveBigIntegerField(default=0)
    observed_at = models.DateTimeField(null=True, blank=True)
    observe_due_at = models.DateTimeField(db_default=models.functions.Now())
    health = models.CharField(max_length=20, choices=Health, default=Health.UNKNOWN)
    health_reason = models.CharField(max_length=500, blank=True)
    golden_at = models.DateTimeField(null=True, blank=True)
    golden_due_at = models.DateTimeField(db_default=models.functions.Now())
    observation = models.JSONField(default=dict)
    load_seconds = models.FloatField(
        null=True, blank=True, help_text="What the host took for its last load of a version; none was timed yet."
    )

    class Meta:
        ordering = ["endpoint_id", "host__name"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "host"], name="registry_placement_once"),
            models.CheckConstraint(condition=Q(health__in=Health.values), name="registry_placement_health_known"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} on {self.host_id}"


class Deployment(models.Model):
    """That `version` was the default of `endpoint` on `host` from `since` to `until`."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="deployments")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="deployments")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="deployments")
    since = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    cause = models.CharField(max_length=20)
    run_ref = models.CharField(max_length=64, blank=True)
    incident_ref = models.CharField(max_length=40, blank=True)
    gates_off = models.BooleanField(default=False, help_text="Deployed with its release gates switched off, on record.")

    class Meta:
        ordering = ["-since", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "host"], condition=Q(until=None), name="registry_one_live"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id} on {self.host_id} since {self.since:%Y-%m-%d %H:%M}"
