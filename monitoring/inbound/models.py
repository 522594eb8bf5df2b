"""The ledger of what others sent: one row for each arrival, whether it was taken or not."""

from django.db import models
from django.utils.translation import gettext_lazy as _


class Decision(models.TextChoices):
    WAITING = "waiting", _("Stored, not read yet")
    NEW = "new", _("New")
    JOINED = "joined", _("Joined an open incident")
    HELD = "held", _("Waits for more of its kind")
    SUPPRESSED = "suppressed", _("Held back")
    RESOLVED = "resolved", _("Ended an alert")
    ACKNOWLEDGED = "acknowledged", _("Acknowledged by its sender")
    DUPLICATE = "duplicate", _("Known already")
    OVER = "over", _("Over before it was heard of")
    SYNTHETIC = "synthetic", _("Lastgood's own, came through")
    EMPTY = "empty", _("Held no alert")
    UNREADABLE = "unreadable", _("Could not be read")
    REFUSED = "refused", _("Refused")


WEIGHT = [
    Decision.NEW, Decision.JOINED, Decision.HELD, Decision.SUPPRESSED, Decision.RESOLVED, Decision.ACKNOWLEDGED,
    Decision.OVER, Decision.DUPLICATE,
]  # fmt: skip
"""An arrival is called after the first of these that one of its alerts is."""
FIRED = [Decision.NEW, Decision.HELD, Decision.SUPPRESSED]
"""What an alert that began to fire is, until an incident has it."""


class Arrival(models.Model):
    """One message of a sender of alerts, as it arrived. The same message again is another arrival.

    `decision` is what came of it: with several alerts, of the weightiest of them (see WEIGHT).
    """

    received_at = models.DateTimeField(db_default=models.functions.Now())
    source = models.CharField(max_length=30, help_text="alertmanager, grafana, pagerduty, json")
    sender = models.CharField(max_length=40)
    delivery = models.ForeignKey(
        "monitoring.Delivery", on_delete=models.PROTECT, null=True, blank=True, related_name="arrivals"
    )
    sha256 = models.CharField(max_length=64)
    size = models.PositiveBigIntegerField()
    spooled = models.BooleanField(default=False, help_text="It was kept on disk while the database was away.")
    decision = models.CharField(max_length=12, choices=Decision, default=Decision.WAITING)
    why = models.CharField(max_length=500, blank=True)
    stored_ms = models.PositiveIntegerField(
        null=True, blank=True, help_text="From its beginning until it was to be committed, in milliseconds."
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-received_at", "-id"]
        indexes = [
            models.Index(fields=["-received_at", "-id"], name="monitoring_arrival_newest"),
            models.Index(fields=["sender", "-received_at"], name="monitoring_arrival_sender"),
            models.Index(fields=["decision", "-received_at"], name="monitoring_arrival_decision"),
        ]

    def __str__(self) -> str:
        return f"{self.source} from {self.sender} at {self.received_at:%Y-%m-%d %H:%M:%S}"

    @property
    def decided_ms(self) -> int | None:
        """Milliseconds from its arrival until it was decided on."""
        if self.decided_at is None:
            return None
        return max(0, round((self.decided_at - self.received_at).total_seconds() * 1000))


class ArrivalAlert(models.Model):
    """What came of one alert of an arrival. `fingerprint` is that of the alert here."""

    arrival = models.ForeignKey(Arrival, on_delete=models.CASCADE, related_name="alerts")
    alert = models.ForeignKey(
        "monitoring.Alert", on_delete=models.PROTECT, null=True, blank=True, related_name="arrivals"
    )
    fingerprint = models.CharField(max_length=64)
    decision = models.CharField(max_length=12, choices=Decision)
    incident_ref = models.CharField(max_length=20, blank=True)

    def __str__(self) -> str:
        return f"{self.fingerprint[:12]} {self.decision}"


class Beat(models.Model):
    """One synthetic alert on its way: sent through the public address, stored, read, decided. `number` counts the spans
    of time, so that each has one."""

    number = models.BigIntegerField(unique=True)
    sent_at = models.DateTimeField(db_default=models.functions.Now())
    delivery = models.ForeignKey(
        "monitoring.Delivery", on_delete=models.PROTECT, null=True, blank=True, related_name="beats"
    )
    read_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=300, blank=True, help_text="Why the public address did not take it.")

    class Meta:
        ordering = ["-sent_at"]
        indexes = [models.Index(fields=["-sent_at"], name="monitoring_beat_newest")]

    def __str__(self) -> str:
        return f"beat {self.number}"
