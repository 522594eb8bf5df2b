"""Where metrics are fetched from: servers that answer PromQL with what is asked of them, and pages of figures."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.models import Endpoint, Host, Model


class Credential(models.TextChoices):
    NONE = "none", _("None")
    BEARER = "bearer", _("A bearer token")
    BASIC = "basic", _("A user and a password")


class Source(models.Model):
    """A server with Prometheus' HTTP API: Prometheus itself, Thanos, Mimir, VictoriaMetrics. Its secret is sealed."""

    name = models.SlugField(max_length=40, unique=True)
    address = models.URLField(max_length=500, help_text="Without /api/v1, such as http://10.0.0.5:9090")
    credential = models.CharField(max_length=10, choices=Credential, default=Credential.NONE)
    username = models.CharField(max_length=100, blank=True)
    secret_sealed = models.BinaryField(default=b"")
    host_label = models.CharField(
        max_length=60, default="instance", help_text="The label that says which host a series is of."
    )
    created_at = models.DateTimeField(db_default=models.functions.Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Query(models.Model):
    """PromQL whose answer becomes a metric of an endpoint. Everything up to `done_until` has been asked for."""

    source = models.ForeignKey(Source, on_delete=models.PROTECT, related_name="queries")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=60, help_text="The metric's name here.")
    promql = models.CharField(max_length=2000)
    unit = models.CharField(max_length=20, blank=True)
    step_seconds = models.PositiveIntegerField(default=60)
    next_at = models.DateTimeField(db_default=models.functions.Now())
    done_until = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    lines = models.PositiveIntegerField(default=0, help_text="Series in the newest answer.")
    points = models.PositiveBigIntegerField(default=0, help_text="Kept so far.")
    problem = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["endpoint__slug", "name"]
        constraints = [
            models.UniqueConstraint(fields=["endpoint", "name"], condition=Q(ended_at=None), name="pull_query_once")
        ]
        indexes = [models.Index(fields=["next_at"], condition=Q(ended_at=None), name="pull_query_due")]

    def __str__(self) -> str:
        return f"{self.name} of {self.endpoint_id}"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class Exporter(models.TextChoices):
    BUNDLED = "bundled", _("Lastgood's serving host")
    TRITON = "triton", _("Triton (nv_*)")
    TORCHSERVE = "torchserve", _("TorchServe (ts_*)")
    MLSERVER = "mlserver", _("MLServer")
    VLLM = "vllm", _("vLLM (vllm:*)")
    DCGM = "dcgm", _("DCGM exporter (DCGM_FI_*)")
    NODE = "node", _("Node exporter (node_*)")


class Scrape(models.Model):
    """A page of figures that is read by the clock, and what it said last. Its points go to the endpoints of its host.

    `counters` are the counters' values at `answered_at`, so that the next reading knows how much came since.
    """

    host = models.ForeignKey(Host, on_delete=models.PROTECT, related_name="+")
    exporter = models.CharField(max_length=12, choices=Exporter)
    address = models.URLField(max_length=500, help_text="With its path, such as http://10.0.0.5:9400/metrics")
    every_seconds = models.PositiveIntegerField(default=15)
    next_at = models.DateTimeField(db_default=models.functions.Now())
    answered_at = models.DateTimeField(null=True, blank=True)
    down_since = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=500, blank=True)
    counters = models.JSONField(default=dict)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["host__name", "exporter"]
        constraints = [
            models.UniqueConstraint(fields=["host", "exporter"], name="pull_scrape_once"),
        ]
        indexes = [models.Index(fields=["next_at"], condition=Q(ended_at=None), name="pull_scrape_due")]

    def __str__(self) -> str:
        return f"{self.exporter} of {self.host_id}"

    def concerned_models(self) -> list[Model]:
        return self.host.concerned_models()
