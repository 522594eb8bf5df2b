"""Rotations, policies, how people are reached, and what was done to wake them."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from incidents.models import Incident
from incidents.telling.models import Message, Subscriber
from registry.models import Model


class Rotation(models.Model):
    """Who is on call for a team, by turns. `layers`, the lowest first: [{"people": [pseudonyms], "begins": wall time,
    "hours": length of a shift, "windows": [{"days": [0..6], "start": "HH:MM", "until": "HH:MM"}]}]; see `turns`."""

    team = models.CharField(max_length=100)
    name = models.CharField(max_length=100)
    zone = models.CharField(max_length=64, help_text="Of the tz database, such as Europe/Berlin.")
    layers = models.JSONField(default=list)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["team", "name"]
        constraints = [
            models.UniqueConstraint(fields=["team", "name"], condition=Q(retired_at=None), name="oncall_rotation_once")
        ]

    def __str__(self) -> str:
        return f"{self.team}: {self.name}"

    def concerned_models(self) -> list[Model]:
        return list(Model.objects.filter(team=self.team))


class Override(models.Model):
    """Somebody takes the rotation between two moments, whoever's turn it is."""

    rotation = models.ForeignKey(Rotation, on_delete=models.CASCADE, related_name="overrides")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    starts = models.DateTimeField()
    ends = models.DateTimeField()
    reason = models.CharField(max_length=500)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(db_default=Now())
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(ends__gt=models.F("starts")), name="oncall_override_has_length")
        ]

    def __str__(self) -> str:
        return f"{self.rotation_id} {self.starts:%Y-%m-%d %H:%M}"


class Contact(models.Model):
    """One way to reach a person, or a channel of a team. The address itself, and whether it is confirmed, stand at its
    `receiver`. It is used for severities 1 to `least_severity`; between `quiet_from` and `quiet_until` of the wall
    clock in `zone` only for 1 to `quiet_severity`. `own`: the address of the person's account, used where a person
    has named no other way."""

    receiver = models.OneToOneField(Subscriber, on_delete=models.PROTECT, related_name="contact")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="contacts"
    )
    team = models.CharField(max_length=100, blank=True)
    name = models.CharField(max_length=100)
    own = models.BooleanField(default=False)
    least_severity = models.PositiveSmallIntegerField(default=4)
    quiet_from = models.TimeField(null=True, blank=True)
    quiet_until = models.TimeField(null=True, blank=True)
    quiet_severity = models.PositiveSmallIntegerField(default=1)
    zone = models.CharField(max_length=64, default="UTC")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        constraints = [
            models.CheckConstraint(condition=Q(user=None) ^ Q(team=""), name="oncall_contact_of_a_person_or_a_team"),
            models.CheckConstraint(
                condition=Q(least_severity__range=(1, 4), quiet_severity__range=(0, 4)),
                name="oncall_contact_severities",
            ),
            models.UniqueConstraint(fields=["user"], condition=Q(own=True), name="oncall_one_own_contact"),
        ]

    def __str__(self) -> str:
        return self.name


class Policy(models.Model):
    """Who is called, in which order, and how long each may take to answer. Without a team it is for all teams that have
    none of their own. `steps`: [{"targets": ["person:u-..", "rotation:3", "calendar:team", "channel:5", "everybody"],
    "seconds": until the next step}]. After the last step they begin anew `repeats` times; then everybody is called."""

    name = models.CharField(max_length=100)
    team = models.CharField(max_length=100, blank=True)
    severities = models.JSONField(default=list)
    steps = models.JSONField(default=list)
    repeats = models.PositiveSmallIntegerField(default=1)
    silence_seconds = models.PositiveIntegerField(
        default=3600, help_text="Who has it and does nothing for so long is called again; 0: never."
    )
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["team", "name", "id"]

    def __str__(self) -> str:
        return self.name


class State(models.TextChoices):
    WAKING = "waking", _("Nobody has answered")
    TAKEN = "taken", _("Somebody has it")
    ENDED = "ended", _("Over")


OPEN = [State.WAKING, State.TAKEN]


class Escalation(models.Model):
    """The waking of people for one incident. `steps`, `repeats` and `silence_seconds` are the policy's as they were
    when it began. `due_at`, by the database's clock: when the next step is called, or when who has it is asked for a
    sign. `wave` grows each time that people are called anew after somebody had it; `position` is the next step of
    `round`; `past` counts how often everybody was called."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="escalations")
    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="escalations")
    state = models.CharField(max_length=6, choices=State, default=State.WAKING)
    severity = models.PositiveSmallIntegerField()
    steps = models.JSONField()
    repeats = models.PositiveSmallIntegerField()
    silence_seconds = models.PositiveIntegerField()
    wave = models.PositiveIntegerField(default=0)
    round = models.PositiveIntegerField(default=0)
    position = models.PositiveIntegerField(default=0)
    past = models.PositiveIntegerField(default=0)
    began_at = models.DateTimeField(db_default=Now())
    woken_at = models.DateTimeField(
        db_default=Now(), help_text="When the wave began; what people did before it counts not."
    )
    due_at = models.DateTimeField(null=True)
    taken_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    taken_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["incident"], condition=~Q(state="ended"), name="oncall_one_escalation_of_an_incident"
            ),
            models.CheckConstraint(condition=Q(state__in=State.values), name="oncall_escalation_state_known"),
            models.CheckConstraint(
                condition=~Q(state="waking") | Q(due_at__isnull=False), name="oncall_waking_goes_on"
            ),
        ]
        indexes = [models.Index(fields=["due_at"], condition=~Q(state="ended"), name="oncall_due")]

    def __str__(self) -> str:
        return f"{self.incident_id} {self.state}"

    def concerned_models(self) -> list[Model]:
        return self.incident.concerned_models()


class Call(models.Model):
    """One call of one person or channel. `answered_at`: when that person said that they have it."""

    escalation = models.ForeignKey(Escalation, on_delete=models.PROTECT, related_name="calls")
    contact = models.ForeignKey(Contact, on_delete=models.PROTECT, related_name="calls")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    message = models.OneToOneField(Message, on_delete=models.PROTECT, related_name="call")
    wave = models.PositiveIntegerField()
    round = models.PositiveIntegerField()
    step = models.PositiveIntegerField(help_text="From 1; 0 where everybody was called.")
    at = models.DateTimeField(db_default=Now())
    answered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.escalation_id} {self.contact_id}"
