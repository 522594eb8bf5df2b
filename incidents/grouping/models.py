"""Rules by which alerts become incidents, what they have gathered, and alerts that change too often."""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from incidents.models import Incident
from monitoring.models import Alert


class GroupingRule(models.Model):
    """Alerts that match are one incident where they have the same values of the labels `by`.

    The rules are asked by `position`, and the first that matches decides; `incidents.grouping.deciding` tells what the
    fields mean. `revision` grows with each change and guards against lost ones.
    """

    name = models.CharField(max_length=100)
    position = models.PositiveIntegerField()
    matchers = models.JSONField(default=list, help_text="List of [name, = or !=, value]; a * stands for anything.")
    by = models.JSONField(default=list, help_text="Names of labels.")
    window_seconds = models.PositiveIntegerField(
        default=0, help_text="An alert joins within this time after the last one; 0: while the incident is open."
    )
    at_least = models.PositiveIntegerField(default=1, help_text="Alerts before an incident is opened.")
    within_seconds = models.PositiveIntegerField(default=600, help_text="The time in which so many must have fired.")
    severity_label = models.CharField(max_length=100, blank=True)
    severities = models.JSONField(default=dict, help_text="Severity, 1 to 4, by the value of severity_label.")
    revision = models.PositiveIntegerField(default=1)
    made_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.UniqueConstraint(fields=["name"], condition=Q(retired_at=None), name="grouping_rule_name_once"),
            models.CheckConstraint(condition=Q(at_least__gte=1), name="grouping_rule_at_least_one"),
        ]

    def __str__(self) -> str:
        return self.name


class AlertGroup(models.Model):
    """Alerts that a rule brought together. `key` says which rule and which values; one group of a key is open, and its
    incident has the group's key. `ready_at`: since when it is enough for an incident."""

    rule = models.ForeignKey(GroupingRule, on_delete=models.PROTECT, related_name="groups")
    key = models.CharField(max_length=64)
    labels = models.JSONField(default=dict, help_text="The values of the rule's labels that these alerts share.")
    begun_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(help_text="When its last alert fired.")
    ready_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key"], condition=Q(closed_at=None), name="grouping_one_open_group")
        ]

    def __str__(self) -> str:
        return f"group {self.pk}"

    @property
    def group_key(self) -> str:
        """What its incident is known by."""
        return f"group:{self.pk}"


class GroupMember(models.Model):
    group = models.ForeignKey(AlertGroup, on_delete=models.PROTECT, related_name="members")
    alert = models.OneToOneField(Alert, on_delete=models.PROTECT, related_name="group_member")
    joined_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.alert_id} in group {self.group_id}"


class Flap(models.Model):
    """A time in which an alert fired so often that it was held back, as its incident was told."""

    fingerprint = models.CharField(max_length=64)
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, null=True, blank=True, related_name="flaps")
    summary = models.CharField(max_length=500)
    begun_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    times = models.PositiveIntegerField(default=0, help_text="How often it fired, as counted at its end.")

    class Meta:
        ordering = ["-begun_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(ended_at=None), name="grouping_one_flap_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return self.summary
