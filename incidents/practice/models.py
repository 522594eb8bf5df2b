"""Practice: drills and when they are due, rules by which a rollback starts by itself, and the runbooks written out."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from incidents.models import Incident
from incidents.rollback.models import Plan
from registry.models import Endpoint, Model, Version

HOURS = Q(from_hour__lt=F("to_hour"), to_hour__lte=24)


class DrillSchedule(models.Model):
    """That an endpoint in staging is drilled every so many days, within hours of the day (UTC)."""

    endpoint = models.OneToOneField(Endpoint, on_delete=models.PROTECT, related_name="drill_schedule")
    every_days = models.PositiveIntegerField()
    from_hour = models.PositiveSmallIntegerField(default=0)
    to_hour = models.PositiveSmallIntegerField(default=24, help_text="The hour at which it begins no more.")
    active = models.BooleanField(default=True)
    set_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    due_at = models.DateTimeField(db_default=Now())
    said = models.CharField(max_length=500, blank=True, help_text="Why the last drill that was due was not proposed.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=HOURS, name="practice_schedule_hours"),
            models.CheckConstraint(condition=Q(every_days__gte=1), name="practice_schedule_days"),
        ]

    def __str__(self) -> str:
        return f"every {self.every_days} days"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class DrillState(models.TextChoices):
    WAITING = "waiting", _("Waiting for its approvals")
    RUNNING = "running", _("Running")
    PASSED = "passed", _("Passed")
    FAILED = "failed", _("Failed")
    GIVEN_UP = "given_up", _("Given up")


OPEN_DRILLS = [DrillState.WAITING, DrillState.RUNNING]


class Drill(models.Model):
    """One plan of kind drill, and what it took. Times are seconds since the last approval.

    `predicted_seconds` was reckoned when the drill was asked for, from earlier ones, until the last host was to be
    checked; empty where nothing had been measured yet.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="drills")
    version = models.ForeignKey(Version, on_delete=models.PROTECT, related_name="drills")
    plan = models.OneToOneField(Plan, on_delete=models.PROTECT, related_name="drill")
    schedule = models.ForeignKey(DrillSchedule, on_delete=models.PROTECT, null=True, blank=True, related_name="drills")
    back_of = models.OneToOneField(
        "self", on_delete=models.PROTECT, null=True, blank=True, related_name="back", help_text="That it takes back."
    )
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(db_default=Now())
    state = models.CharField(max_length=10, choices=DrillState, default=DrillState.WAITING)
    reason = models.CharField(max_length=500, blank=True)
    predicted_seconds = models.FloatField(null=True, blank=True)
    predicted_low = models.FloatField(null=True, blank=True, help_text="Seconds, by the shortest of the earlier ones.")
    predicted_high = models.FloatField(null=True, blank=True, help_text="Seconds, by the longest of the earlier ones.")
    switched_seconds = models.FloatField(null=True, blank=True, help_text="Until the last host had switched.")
    checked_seconds = models.FloatField(null=True, blank=True, help_text="Until its golden outputs came back after it.")
    verified_seconds = models.FloatField(null=True, blank=True, help_text="Until the watch had passed.")
    warm = models.BooleanField(null=True, blank=True, help_text="Nothing had to be loaded, on any host.")
    bytes_loaded = models.BigIntegerField(default=0)
    load_seconds = models.FloatField(null=True, blank=True, help_text="Of the host that took longest to load it.")
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-asked_at"]
        constraints = [
            models.CheckConstraint(condition=Q(state__in=DrillState.values), name="practice_drill_state_known"),
            models.UniqueConstraint(
                fields=["endpoint"], condition=Q(state__in=["waiting", "running"]), name="practice_one_open_drill"
            ),
        ]
        indexes = [models.Index(fields=["version", "state", "-ended_at"], name="practice_drill_fresh")]

    def __str__(self) -> str:
        return f"drill {self.id}"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class RuleState(models.TextChoices):
    ARMED = "armed", _("Armed")
    TRIPPED = "tripped", _("Tripped: a person has to arm it again")
    OFF = "off", _("Off")


class AutomaticRule(models.Model):
    """When a rollback of a model's endpoints in production may start by itself, where its approval policy allows that.

    A rule is never edited: a change is the next `number`, and the rule before is off from then on.
    """

    model = models.ForeignKey(Model, on_delete=models.PROTECT, related_name="automatic_rules")
    number = models.PositiveIntegerField(default=1)
    severity = models.PositiveSmallIntegerField(help_text="It acts on incidents of this severity or a worse one.")
    from_hour = models.PositiveSmallIntegerField(default=0)
    to_hour = models.PositiveSmallIntegerField(default=24)
    error_budget = models.FloatField(help_text="Share of answers that may be wrong beyond what was promised.")
    dwell_seconds = models.PositiveIntegerField(help_text="At least between two rollbacks of an endpoint.")
    most = models.PositiveSmallIntegerField(help_text="Rollbacks that may start by themselves within the window.")
    window_seconds = models.PositiveIntegerField()
    drill_days = models.PositiveSmallIntegerField(
        default=30, help_text="A target is validated by a drill that is at most so old, or by having soaked."
    )
    state = models.CharField(max_length=8, choices=RuleState, default=RuleState.ARMED)
    state_reason = models.CharField(max_length=500, blank=True)
    armed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    armed_at = models.DateTimeField(db_default=Now())
    replaced_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["model", "number"], name="practice_rule_number"),
            models.UniqueConstraint(fields=["model"], condition=Q(replaced_at=None), name="practice_one_rule"),
            models.CheckConstraint(condition=HOURS, name="practice_rule_hours"),
            models.CheckConstraint(condition=Q(state__in=RuleState.values), name="practice_rule_state_known"),
            models.CheckConstraint(condition=Q(error_budget__gte=0, error_budget__lte=1), name="practice_rule_budget"),
        ]

    def __str__(self) -> str:
        return f"rule {self.number} of {self.model_id}"

    def concerned_models(self) -> list[Model]:
        return [self.model]


class AttemptState(models.TextChoices):
    CONSIDERING = "considering", _("Considering")
    PROPOSED = "proposed", _("Plan proposed")
    STARTED = "started", _("Started by itself")
    ASKED = "asked", _("Prepared, and people are asked")
    ENDED = "ended", _("Left to people")


class Attempt(models.Model):
    """What the rule of a model made of one incident. `codes` are the reasons last put on the incident's record."""

    incident = models.OneToOneField(Incident, on_delete=models.PROTECT, related_name="automatic_attempt")
    rule = models.ForeignKey(AutomaticRule, on_delete=models.PROTECT, related_name="attempts")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=12, choices=AttemptState, default=AttemptState.CONSIDERING)
    plan = models.OneToOneField(Plan, on_delete=models.PROTECT, null=True, blank=True, related_name="attempt")
    codes = models.JSONField(default=list)
    reason = models.CharField(max_length=500, blank=True)
    began_at = models.DateTimeField(db_default=Now())
    started_at = models.DateTimeField(null=True, blank=True)
    judged_at = models.DateTimeField(null=True, blank=True, help_text="When its run's end was held against the rule.")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(state__in=AttemptState.values), name="practice_attempt_state_known"),
            models.CheckConstraint(
                condition=Q(state__in=["considering", "ended"]) | Q(plan__isnull=False),
                name="practice_attempt_has_plan",
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.incident_id}"

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model]


class Runbook(models.Model):
    """The runbook of an endpoint as it was last written out: its digest is a leaf of the log, event `event`."""

    endpoint = models.OneToOneField(Endpoint, on_delete=models.PROTECT, related_name="runbook")
    sha256 = models.CharField(max_length=64)
    body = models.TextField()
    number = models.PositiveIntegerField(default=1)
    event = models.BigIntegerField()
    made_at = models.DateTimeField(db_default=Now())
    checked_at = models.DateTimeField(db_default=Now())
    written_at = models.DateTimeField(null=True, blank=True, help_text="Empty while the log has not signed it.")

    def __str__(self) -> str:
        return f"runbook {self.number} of {self.endpoint_id}"
