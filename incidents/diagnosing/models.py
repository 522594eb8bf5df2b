"""What the diagnosis remembers beside evidence: how long it waits for labels, and what a model's errors cost."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from incidents.models import Incident
from registry.models import Model


class LabelWait(models.Model):
    """Labels of an incident's answers that may still come: `labelled` were known when it was last examined."""

    incident = models.OneToOneField(Incident, on_delete=models.PROTECT, related_name="label_wait")
    labelled = models.PositiveIntegerField(default=0)
    look_at = models.DateTimeField(db_index=True, help_text="When the labels are counted next.")

    def __str__(self) -> str:
        return f"{self.labelled} labels of {self.incident_id}"


class CostFormula(models.Model):
    """What errors of a model cost, as its owner says. Never edited: a change is the next `number`, from then on.

    Amounts are in `currency`: of one wrong positive answer, of one wrong negative answer, and of an hour in which the
    service is worse than usual, whatever it answers.
    """

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="cost_formulas")
    number = models.PositiveIntegerField(default=1)
    currency = models.CharField(max_length=3)
    wrong_positive = models.DecimalField(max_digits=14, decimal_places=4)
    wrong_negative = models.DecimalField(max_digits=14, decimal_places=4)
    degraded_hour = models.DecimalField(max_digits=14, decimal_places=2)
    reason = models.CharField(max_length=500)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    set_at = models.DateTimeField(db_default=Now())
    replaced_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="diagnosing_cost_number"),
            models.UniqueConstraint(fields=["model"], condition=Q(replaced_at=None), name="diagnosing_one_cost"),
            models.CheckConstraint(
                condition=Q(wrong_positive__gte=0, wrong_negative__gte=0, degraded_hour__gte=0),
                name="diagnosing_cost_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"cost formula {self.number} of {self.model_id}"

    def concerned_models(self) -> list[Model]:
        return [self.model]
