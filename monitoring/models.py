"""What comes in (deliveries, predictions, labels, metric points) and what is made of it (findings, alerts)."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from monitoring.comparing.models import ExactComparison  # noqa: F401 (a table of this app)
from monitoring.inbound.models import Arrival, ArrivalAlert, Beat  # noqa: F401 (tables of this app)
from monitoring.rules.models import AlertRule, RuleStanding, Silence  # noqa: F401 (tables of this app)
from registry.models import Endpoint, Host, Model


class DeliveryState(models.TextChoices):
    STORED = "stored", _("Stored, not yet processed")
    PROCESSED = "processed", _("Processed")
    UNPARSEABLE = "unparseable", _("Could not be read")


class Delivery(models.Model):
    """One request that brought data, committed before it was answered. The body goes once it has been processed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.CharField(max_length=30, help_text="predictions, labels, metrics, alertmanager")
    sender = models.CharField(max_length=40, blank=True, help_text="The name of a webhook's sender.")
    key = models.CharField(max_length=100, help_text="The sender's idempotency key, else the digest of the body.")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    content_type = models.CharField(max_length=100)
    body = models.BinaryField(null=True)
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    state = models.CharField(max_length=12, choices=DeliveryState, default=DeliveryState.STORED)
    rows = models.PositiveIntegerField(default=0)
    error = models.CharField(max_length=500, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    received_at = models.DateTimeField(db_default=models.functions.Now())
    processed_at = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(
        null=True, blank=True, help_text="When its sender signed it; empty where it came unsigned."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["source", "sender", "key"], name="monitoring_delivery_once")]
        indexes = [
            models.Index(fields=["received_at"], condition=Q(state="stored"), name="monitoring_delivery_due"),
            models.Index(
                fields=["received_at"],
                condition=Q(state="unparseable", body__isnull=False),
                name="monitoring_delivery_kept",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} {self.id}"

    def concerned_models(self) -> list[Model]:
        """The model whose data it brings; none where it names no endpoint, as alerts do."""
        return [self.endpoint.model] if self.endpoint else []


class WebhookSource(models.Model):
    """A sender of webhooks that signs them. Its secrets are sealed at rest; the one before counts until a moment."""

    name = models.SlugField(max_length=40, unique=True)
    secret_sealed = models.BinaryField(default=b"")
    previous_sealed = models.BinaryField(default=b"")
    previous_until = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return self.name


class PredictionBatch(models.Model):
    """Predictions of one version on one host, kept as a Parquet file in the artifact store; this row is its index."""

    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, related_name="batches")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="prediction_batches")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, related_name="prediction_batches")
    version = models.CharField(max_length=40)
    digest = models.CharField(max_length=64)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    rows = models.PositiveIntegerField()
    path = models.CharField(max_length=300, help_text="Below the prediction store: endpoint/version/hour/file.parquet")
    sha256 = models.CharField(max_length=64)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["path"], name="monitoring_batch_path")]
        indexes = [models.Index(fields=["endpoint", "first_at"], name="monitoring_batch_span")]

    def __str__(self) -> str:
        return self.path


class Label(models.Model):
    """The truth about one prediction, joined by id; a later label for the same id replaces the earlier one."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    prediction_id = models.CharField(max_length=64)
    label = models.FloatField()
    at = models.DateTimeField(help_text="When the truth became known.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["endpoint", "prediction_id"], name="monitoring_label_once")]

    def __str__(self) -> str:
        return f"{self.prediction_id}={self.label}"


class MetricSeries(models.Model):
    """A named series of an endpoint, such as accuracy or latency_p95_ms, by host and version where it has them."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="series")
    name = models.SlugField(max_length=60)
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    version = models.CharField(max_length=40, blank=True)
    column = models.CharField(
        max_length=200,
        blank=True,
        help_text="The input column, for drift of one column; of what Prometheus sends, its other labels as a=1,b=2.",
    )
    unit = models.CharField(max_length=20, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "name", "host", "version", "column"],
                nulls_distinct=False,
                name="monitoring_series_once",
            )
        ]

    def __str__(self) -> str:
        return self.name


class MetricPoint(models.Model):
    """A value over the window that ends at `at`; `n` observations stand behind it. Written by monitoring/points.py.

    This table and the two of rollups are partitioned by week (monitoring/partitions.py).
    """

    pk = models.CompositePrimaryKey("series", "at")
    # Series are never deleted. Asking for each point whether its series is there costs as much as writing the point.
    series = models.ForeignKey(
        MetricSeries, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="points"
    )
    at = models.DateTimeField()
    value = models.FloatField()
    n = models.PositiveIntegerField(default=1)

    class Meta:
        indexes = [BrinIndex(fields=["at"], name="monitoring_point_at")]

    def __str__(self) -> str:
        return f"{self.series_id} {self.at:%H:%M:%S} {self.value}"


class Rollup(models.Model):
    """What a series' points after `bin` less its width, up to and at `bin`, come to; kept by monitoring/points.py."""

    pk = models.CompositePrimaryKey("series", "bin")
    series = models.ForeignKey(
        MetricSeries, on_delete=models.PROTECT, db_constraint=False, db_index=False, related_name="+"
    )
    bin = models.DateTimeField()
    count = models.BigIntegerField(help_text="Points.")
    n = models.BigIntegerField(help_text="Observations behind them.")
    low = models.FloatField()
    high = models.FloatField()
    total = models.FloatField(help_text="Sum of the values.")
    weighted = models.FloatField(help_text="Sum of value times n.")
    last = models.FloatField(help_text="The latest value, at last_at.")
    last_at = models.DateTimeField()
    sketch = models.BinaryField(help_text="Quantiles of the values: monitoring/sketch.py.")

    class Meta:
        abstract = True
        indexes = [BrinIndex(fields=["bin"], name="%(class)s_bin")]

    def __str__(self) -> str:
        return f"{self.series_id} {self.bin:%H:%M:%S} {self.low} to {self.high}"


class MetricMinute(Rollup):
    """A rollup of one minute."""


class MetricHour(Rollup):
    """A rollup of one hour."""


class RuleKind(models.TextChoices):
    ACCURACY = "accuracy", _("Accuracy below what the version promised")
    INPUT_DRIFT = "input_drift", _("Inputs unlike the version's training data")
    OUTPUT_DRIFT = "output_drift", _("Predictions unlike the version's training data")
    LATENCY = "latency", _("Slower than the endpoint was")
    JOINT_DRIFT = "joint_drift", _("Inputs, taken together, unlike the version's holdout set")
    CONCEPT_DRIFT = "concept_drift", _("More errors than in the version's good windows before")


LABELLED_KINDS = frozenset({RuleKind.ACCURACY, RuleKind.CONCEPT_DRIFT})
"""Rules that wait for labels."""


class Rule(models.Model):
    """What is asked of each window of an endpoint, and when the answer becomes an alert.

    An alert fires after `for_windows` breaches in a row and resolves after `clear_windows` windows without one.
    `params` holds the effect floors of the kind; the page states them beside each result.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="rules")
    kind = models.CharField(max_length=20, choices=RuleKind)
    params = models.JSONField(default=dict)
    for_windows = models.PositiveIntegerField(default=2)
    clear_windows = models.PositiveIntegerField(default=3)
    min_rows = models.PositiveIntegerField(default=200)
    severity = models.PositiveSmallIntegerField(default=2)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["endpoint", "kind"], name="monitoring_rule_once")]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.kind}"


class Monitor(models.Model):
    """How an endpoint is watched: window length, and how long labels are waited for."""

    endpoint = models.OneToOneField(Endpoint, on_delete=models.PROTECT, related_name="monitor")
    window_seconds = models.PositiveIntegerField(default=300)
    grace_seconds = models.PositiveIntegerField(default=30, help_text="Predictions may arrive this much later.")
    label_delay_seconds = models.PositiveIntegerField(default=60)
    enabled = models.BooleanField(default=True)
    next_window_at = models.DateTimeField(null=True, blank=True, help_text="Start of the next window to judge.")

    def __str__(self) -> str:
        return f"monitor of {self.endpoint_id}"


class WindowState(models.TextChoices):
    OPEN = "open", _("Not yet judged")
    JUDGED = "judged", _("Judged")


class Window(models.Model):
    """A span of an endpoint's traffic, judged once when it is complete."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="windows")
    start = models.DateTimeField()
    end = models.DateTimeField()
    due_at = models.DateTimeField()
    labels_due_at = models.DateTimeField(
        null=True, blank=True, help_text="When its accuracy is judged, if later than the rest; empty once it has been."
    )
    state = models.CharField(max_length=8, choices=WindowState, default=WindowState.OPEN)
    rows = models.PositiveIntegerField(default=0)
    labelled = models.PositiveIntegerField(default=0)
    judged_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-start"]
        constraints = [models.UniqueConstraint(fields=["endpoint", "start"], name="monitoring_window_once")]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state="open"), name="monitoring_window_due"),
            models.Index(
                fields=["labels_due_at"],
                condition=Q(state="judged", labels_due_at__isnull=False),
                name="monitoring_window_labels_due",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.start:%H:%M:%S}"


class WindowSketch(models.Model):
    """What one version answered on one host in a window, or in all windows of an hour: a sketch of each column.

    Written and merged by monitoring/sketches.py; `content` is drift/sketch_bytes.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="sketches")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    version = models.CharField(max_length=40)
    start = models.DateTimeField()
    end = models.DateTimeField()
    windows = models.PositiveIntegerField(default=1, help_text="Windows merged in it; 1 for a window itself.")
    rows = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "start", "end", "version", "host"],
                nulls_distinct=False,
                name="monitoring_sketch_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.start:%H:%M:%S} version {self.version}"


class PartialSketch(models.Model):
    """What one version answered on one host in a window that is not judged yet: a sketch of the rows of `batches`.

    Written, merged and removed by monitoring/partials.py; `content` is drift/sketch_bytes.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    version = models.CharField(max_length=40)
    start = models.DateTimeField()
    end = models.DateTimeField()
    batches = ArrayField(models.BigIntegerField(), help_text="Keys of the predictions' batches that were read.")
    level = models.PositiveSmallIntegerField(default=0, help_text="How often it was merged.")
    rows = models.PositiveIntegerField()
    content = models.BinaryField()

    class Meta:
        indexes = [models.Index(fields=["endpoint", "start"], name="monitoring_partial_span")]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.start:%H:%M:%S} version {self.version}, {self.rows} rows"


class Answer(models.TextChoices):
    OK = "ok", _("Within the limit")
    BREACH = "breach", _("Beyond the limit")
    NOT_ENOUGH = "not_enough_data", _("Not enough data")


class Finding(models.Model):
    """The answer of one rule for one window, for one version (and one host, where the rule looks at hosts)."""

    rule = models.ForeignKey(Rule, on_delete=models.PROTECT, related_name="findings")
    window = models.ForeignKey(Window, on_delete=models.PROTECT, related_name="findings")
    version = models.CharField(max_length=40)
    host = models.ForeignKey(Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    answer = models.CharField(max_length=16, choices=Answer)
    value = models.FloatField(null=True)
    limit = models.FloatField(null=True)
    rows = models.PositiveIntegerField(default=0)
    sentence = models.CharField(max_length=500)
    data = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rule", "window", "version", "host"], nulls_distinct=False, name="monitoring_finding_once"
            )
        ]

    def __str__(self) -> str:
        return self.sentence


class AlertState(models.TextChoices):
    FIRING = "firing", _("Firing")
    RESOLVED = "resolved", _("Resolved")


class Alert(models.Model):
    """Something is wrong, by a rule of ours or a webhook. One row per fingerprint and start."""

    fingerprint = models.CharField(max_length=64)
    source = models.CharField(max_length=20, help_text="rule, alertmanager")
    rule = models.ForeignKey(Rule, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    alert_rule = models.ForeignKey(AlertRule, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, null=True, blank=True, related_name="alerts")
    version = models.CharField(max_length=40, blank=True)
    host = models.ForeignKey(
        Host, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="The one host it is about."
    )
    state = models.CharField(max_length=10, choices=AlertState, default=AlertState.FIRING)
    severity = models.PositiveSmallIntegerField(default=2)
    summary = models.CharField(max_length=500)
    labels = models.JSONField(default=dict)
    annotations = models.JSONField(default=dict)
    started_at = models.DateTimeField(help_text="Start of the first window in breach, or the sender's startsAt.")
    fired_at = models.DateTimeField(db_default=models.functions.Now())
    last_seen_at = models.DateTimeField(db_default=models.functions.Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    clear_windows = models.PositiveIntegerField(default=0, help_text="Windows without a breach since the last one.")
    suppressed_by = models.CharField(
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text="Why nobody is told of it, as silence:<id> or alert:<id>; empty: it is told.",
    )

    class Meta:
        ordering = ["-fired_at"]
        constraints = [
            models.UniqueConstraint(fields=["fingerprint", "started_at"], name="monitoring_alert_once"),
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(state="firing"), name="monitoring_one_firing_per_fingerprint"
            ),
        ]
        indexes = [
            models.Index(
                fields=["fired_at"],
                condition=Q(state="firing") & ~Q(suppressed_by=""),
                name="monitoring_alert_suppressed",
            )
        ]

    def __str__(self) -> str:
        return self.summary
