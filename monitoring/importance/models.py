"""The importance of a version's inputs: asked for once it is registered, measured column by column by a task."""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from registry.models import Model, Version


class ImportanceState(models.TextChoices):
    WAITING = "waiting", _("Being measured")
    NOWHERE = "nowhere", _("Waits for a host that serves the version")
    DONE = "done", _("Measured")
    FAILED = "failed", _("Could not be measured")
    GIVEN = "given", _("Came with its profile")


UNFINISHED = (ImportanceState.WAITING, ImportanceState.NOWHERE)


class Importance(models.Model):
    """One version's. What is measured grows in `losses`; `weights` are there when all columns are done."""

    version = models.OneToOneField(Version, on_delete=models.PROTECT, related_name="importance")
    state = models.CharField(max_length=10, choices=ImportanceState, default=ImportanceState.WAITING)
    reason = models.CharField(max_length=500, blank=True, help_text="Why it is not measured, and what to do.")
    asked_by = models.CharField(max_length=60)
    asked_at = models.DateTimeField(db_default=models.functions.Now())
    due_at = models.DateTimeField(db_default=models.functions.Now(), help_text="From when a worker may take it up.")
    turn = models.PositiveIntegerField(default=0, help_text="Grows each time that a worker takes it up.")
    attempts = models.PositiveIntegerField(default=0, help_text="Turns since a column was last done.")
    answered_by = models.CharField(max_length=100, blank=True, help_text="The host that was asked; empty: a worker.")
    metric = models.CharField(max_length=20, blank=True, help_text="accuracy, or absolute_error.")
    baseline = models.FloatField(null=True, blank=True, help_text="The metric of the rows as they are.")
    rows = models.PositiveIntegerField(default=0, help_text="Labelled rows of the holdout set.")
    repeats = models.PositiveIntegerField(default=0, help_text="Times that each column is shuffled.")
    columns = models.PositiveIntegerField(default=0, help_text="All that are measured; 0 while that is not known.")
    losses = models.JSONField(default=dict, help_text="Column -> {loss, error}: its mean and standard error.")
    weights = models.JSONField(default=dict, help_text="monitoring.drift.importance.weights_of the losses.")
    seconds = models.FloatField(default=0, help_text="That workers took.")
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=ImportanceState.values), name="importance_state_known"),
            models.CheckConstraint(
                condition=~Q(state="done") | Q(done_at__isnull=False, baseline__isnull=False),
                name="importance_done_is_measured",
            ),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(state__in=["waiting", "nowhere"]), name="importance_unfinished")
        ]

    def __str__(self) -> str:
        return f"importance of {self.version_id}"

    def concerned_models(self) -> list[Model]:
        return [self.version.model]
