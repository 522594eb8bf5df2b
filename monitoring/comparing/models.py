"""Comparisons that are computed from every row: asked for, worked on by a task, and kept with their digest."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.models import Endpoint, Model


class ExactState(models.TextChoices):
    WAITING = "waiting", _("Waiting for a worker")
    RUNNING = "running", _("Being computed")
    DONE = "done", _("Computed")
    FAILED = "failed", _("Could not be computed")
    CANCELLED = "cancelled", _("Cancelled")


UNFINISHED = (ExactState.WAITING, ExactState.RUNNING)
TONES = {
    ExactState.WAITING: "quiet", ExactState.RUNNING: "busy", ExactState.DONE: "ok", ExactState.FAILED: "bad",
    ExactState.CANCELLED: "quiet",
}  # fmt: skip


class ExactComparison(models.Model):
    """Two sides of an endpoint, their spans fixed when it was asked for. `content` is monitoring/comparing/kept.py."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    asked = models.JSONField(help_text="Both sides, as monitoring.comparing.sides reads them.")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=ExactState, default=ExactState.WAITING)
    due_at = models.DateTimeField(db_default=models.functions.Now(), help_text="From when a worker may take it up.")
    attempts = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0, help_text="Columns that have been compared.")
    total = models.PositiveIntegerField(default=0, help_text="All columns; 0 while that is not known.")
    rows = models.PositiveBigIntegerField(default=0, help_text="Rows of both sides.")
    problem = models.CharField(max_length=500, blank=True)
    content = models.BinaryField(null=True)
    sha256 = models.CharField(max_length=64, blank=True, help_text="Of `content`.")
    created_at = models.DateTimeField(db_default=models.functions.Now())
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=~Q(state="done") | Q(content__isnull=False, ended_at__isnull=False),
                name="monitoring_exact_kept",
            )
        ]
        indexes = [
            models.Index(fields=["endpoint", "-created_at"], name="monitoring_exact_newest"),
            models.Index(fields=["due_at"], condition=Q(state__in=["waiting", "running"]), name="monitoring_exact_due"),
        ]

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.id} {self.state}"

    @property
    def unfinished(self) -> bool:
        """Whether a worker has it, or will."""
        return self.state in UNFINISHED

    @property
    def tone(self) -> str:
        """How its state looks."""
        return TONES[ExactState(self.state)]

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]
