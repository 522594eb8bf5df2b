"""Snapshots of endpoints."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from registry.models import Endpoint, Model


class Reason(models.TextChoices):
    SCHEDULED = "scheduled", _("On schedule")
    BEFORE_CHANGE = "before_change", _("Before a change")
    BY_HAND = "by_hand", _("By hand")


class Snapshot(models.Model):
    """What an endpoint was at `taken_at`. `content` (see content.described) never changes, `digest` is its SHA-256;
    `files` says what a worker then found of it in the artifact store: SHA-256 -> whole, there (not read), missing or
    damaged."""

    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="snapshots")
    reason = models.CharField(max_length=15, choices=Reason)
    change_ref = models.CharField(max_length=64, blank=True, help_text="The plan before whose run it was taken.")
    taken_at = models.DateTimeField(db_default=Now())
    taken_by = models.CharField(max_length=60)
    content = models.JSONField()
    digest = models.CharField(max_length=64)
    files = models.JSONField(default=dict)
    verify_due_at = models.DateTimeField(db_default=Now())
    verified_at = models.DateTimeField(null=True, blank=True)
    kept_reason = models.CharField(max_length=300, blank=True, help_text="Why retention leaves it alone; empty: not.")

    class Meta:
        ordering = ["-taken_at", "-pk"]
        constraints = [models.CheckConstraint(condition=Q(reason__in=Reason.values), name="snapshots_reason_known")]
        indexes = [
            models.Index(fields=["endpoint", "-taken_at"], name="snapshots_of_endpoint"),
            models.Index(fields=["verify_due_at"], condition=Q(verified_at=None), name="snapshots_unverified"),
        ]

    def __str__(self) -> str:
        return f"snapshot {self.pk}"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]

    @property
    def damage(self) -> list[str]:
        """SHA-256 of the files that the store lacked, or held damaged."""
        return sorted(sha256 for sha256, state in self.files.items() if state not in ("whole", "there"))

    @property
    def read(self) -> int:
        """How many files were read, and found whole."""
        return sum(state == "whole" for state in self.files.values())


class Sweep(models.Model):
    """One day's removing of what the rule lets go: what went, and when it was done."""

    day = models.DateField(unique=True)
    due_at = models.DateTimeField(help_text="When another worker may take it up.")
    ended_at = models.DateTimeField(null=True, blank=True)
    snapshots = models.PositiveIntegerField(default=0)
    files = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"sweep of {self.day}"
