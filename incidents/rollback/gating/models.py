"""Gates that a team registers for its model, each asking of one in a wave of a run, and what people said there."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from incidents.rollback.models import CheckAnswer, Run, RunState, WatchState, Wave
from registry.models import Model


class GateKind(models.TextChoices):
    SERIES = "series", _("Series of a metric source")
    HTTP = "http", _("HTTP check")
    HARDWARE = "hardware", _("Figures of the host")
    SUITE = "suite", _("Test suite")
    ACCEPTANCE = "acceptance", _("Acceptance by named people")


class AskedWhen(models.TextChoices):
    WAVE = "wave", _("After each wave")
    WATCH = "watch", _("In the watch, after the run")
    BOTH = "both", _("After each wave and in the watch")


class GateDefinition(models.Model):
    """A gate as it was registered. It is never edited: a change retires it and registers another of its name.

    `body` is what gating.bodies.check makes of it; its digest is in every plan that asks the gate.
    """

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="gate_definitions")
    name = models.SlugField(max_length=40)
    kind = models.CharField(max_length=10, choices=GateKind)
    question = models.CharField(max_length=200)
    body = models.JSONField()
    plan_kinds = models.JSONField(default=list, help_text="Kinds of plans that ask it.")
    environment = models.CharField(max_length=12, default="any")
    asked_when = models.CharField(max_length=5, choices=AskedWhen, default=AskedWhen.WAVE, db_default=AskedWhen.WAVE)
    digest = models.CharField(max_length=64)
    registered_at = models.DateTimeField(db_default=Now())
    registered_by = models.CharField(max_length=60)
    retired_at = models.DateTimeField(null=True, blank=True)
    retired_reason = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["model_id", "name", "id"]
        constraints = [
            models.UniqueConstraint(fields=["model", "name"], condition=Q(retired_at=None), name="gating_name_once"),
            models.CheckConstraint(condition=Q(kind__in=GateKind.values), name="gating_kind_known"),
            models.CheckConstraint(condition=Q(asked_when__in=AskedWhen.values), name="gating_when_known"),
        ]

    def __str__(self) -> str:
        return self.name

    def concerned_models(self) -> list[Model]:
        return [self.model]


class AskingState(models.TextChoices):
    WAITING = "waiting", _("Waiting for a worker")
    RUNNING = "running", _("Running")
    ENDED = "ended", _("Ended")


ASKED = Q(wave__isnull=False, run__state__in=[RunState.RUNNING, RunState.HALTED]) | Q(
    wave=None, run__watch__state=WatchState.WATCHING
)
"""The condition that an asking's run still waits for its answer."""


class Asking(models.Model):
    """A registered gate asked in a wave of a run, or in its watch (`wave` is None). Of a suite it is the order to run
    it: a worker takes it by a lease, and one that died is followed by another attempt."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    run = models.ForeignKey(Run, on_delete=models.PROTECT, related_name="askings")
    wave = models.ForeignKey(Wave, on_delete=models.PROTECT, null=True, blank=True, related_name="askings")
    definition = models.ForeignKey(GateDefinition, on_delete=models.PROTECT, related_name="askings")
    state = models.CharField(max_length=8, choices=AskingState, default=AskingState.WAITING)
    answer = models.CharField(max_length=12, choices=CheckAnswer, default=CheckAnswer.INCONCLUSIVE)
    observed = models.CharField(max_length=300, blank=True)
    interval = models.CharField(max_length=100, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    holder = models.CharField(max_length=40, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    asked_at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    hosts = models.JSONField(default=list, help_text="Of a suite: name and address of each host that it is told of.")
    counts = models.JSONField(default=dict, help_text="Of a suite: passed, failed, errors, skipped, seconds, failures.")
    report = models.BinaryField(default=bytes, help_text="Of a suite: its JUnit report as it was written.")
    report_sha256 = models.CharField(max_length=64, blank=True)
    output = models.TextField(blank=True, help_text="Of a suite: the end of what it printed.")

    class Meta:
        ordering = ["asked_at"]
        constraints = [
            models.UniqueConstraint(fields=["run", "wave", "definition"], name="gating_asked_once"),
            models.UniqueConstraint(
                fields=["run", "definition"], condition=Q(wave=None), name="gating_asked_once_in_the_watch"
            ),
            models.CheckConstraint(condition=Q(state__in=AskingState.values), name="gating_asking_state_known"),
        ]

    def __str__(self) -> str:
        return f"{self.definition_id} {self.state}"

    @property
    def moment(self) -> str:
        """When in the run it is asked, in words."""
        return "in the watch" if self.wave is None else f"wave {self.wave.name}"

    @property
    def facts(self) -> dict[str, object]:
        """The same for an event: `wave` by its index, 0 for the watch."""
        return {"wave": self.wave.index} if self.wave is not None else {"wave": 0, "stage": "watch"}

    def concerned_models(self) -> list[Model]:
        return [self.definition.model]


class Acceptance(models.Model):
    """What a named person said of the version in a wave. Said once; it stands."""

    asking = models.ForeignKey(Asking, on_delete=models.PROTECT, related_name="acceptances")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    pseudonym = models.CharField(max_length=60)
    accepted = models.BooleanField()
    reason = models.CharField(max_length=500, blank=True)
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["at"]
        constraints = [models.UniqueConstraint(fields=["asking", "pseudonym"], name="gating_accepted_once")]

    def __str__(self) -> str:
        return f"{self.pseudonym} {self.accepted}"
