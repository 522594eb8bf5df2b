"""What is told beside the posts themselves: maintenance, drafts and templates, subscribers, and each message to one."""

import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from incidents.models import ComponentState, Incident, PostStatus, Quality, StatusComponent, StatusPage, StatusPost
from incidents.models import WindowStatus as Status
from registry.models import Model


class Maintenance(models.Model):
    """Work on some components of a page between two moments. The clock reminds of it, starts it and ends it."""

    page = models.ForeignKey(StatusPage, on_delete=models.PROTECT, related_name="maintenances")
    title = models.CharField(max_length=200)
    text = models.TextField(help_text="What readers should know of it.")
    components = models.ManyToManyField(StatusComponent, related_name="maintenances")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    state = models.CharField(max_length=12, choices=Status, default=Status.SCHEDULED)
    remind_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["starts_at", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=models.F("starts_at")), name="telling_maintenance_has_length"
            ),
            models.CheckConstraint(condition=Q(state__in=Status.values), name="telling_maintenance_state_known"),
        ]

    def __str__(self) -> str:
        return self.title

    def concerned_models(self) -> list[Model]:
        return [model for one in self.components.all() for model in one.concerned_models()]


class Month(models.Model):
    """A finished month of a component, in UTC, as it was published: it is never reckoned again. Microseconds."""

    component = models.ForeignKey(StatusComponent, on_delete=models.PROTECT, related_name="months")
    first = models.DateField(help_text="The first day of the month.")
    known = models.BigIntegerField(help_text="Of which something is known, without maintenance.")
    lost = models.BigIntegerField(help_text="Twice the weighted time of outage, so that halves are whole numbers.")
    frozen_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-first"]
        constraints = [models.UniqueConstraint(fields=["component", "first"], name="telling_month_once")]

    def __str__(self) -> str:
        return f"{self.component_id} {self.first}"


class Template(models.Model):
    """Words for one status, for one page or for all. Names in braces are filled in: see `incidents.status_words`."""

    page = models.ForeignKey(StatusPage, on_delete=models.CASCADE, null=True, blank=True, related_name="templates")
    status = models.CharField(max_length=14, choices=PostStatus)
    text = models.TextField(max_length=2000)

    class Meta:
        ordering = ["status"]
        constraints = [
            models.UniqueConstraint(fields=["page", "status"], nulls_distinct=False, name="telling_template_once")
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.text[:60]}"


class DraftState(models.TextChoices):
    OPEN = "open", _("Waits for a person")
    SENT = "sent", _("Sent")
    DISMISSED = "dismissed", _("Not sent")
    OVERTAKEN = "overtaken", _("A later one took its place")


class Draft(models.Model):
    """What Lastgood proposes to tell of an incident's new state, on a page where a person sends it."""

    page = models.ForeignKey(StatusPage, on_delete=models.PROTECT, related_name="drafts")
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="drafts")
    status = models.CharField(max_length=14, choices=PostStatus)
    component_state = models.CharField(max_length=20, choices=ComponentState)
    quality = models.CharField(max_length=20, choices=Quality, blank=True)
    text = models.TextField()
    state = models.CharField(max_length=10, choices=DraftState, default=DraftState.OPEN)
    made_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["page", "incident"], condition=Q(state="open"), name="telling_one_open_draft"
            )
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.text[:60]}"


class Kind(models.TextChoices):
    EMAIL = "email", _("E-mail")
    WEBHOOK = "webhook", _("Webhook")
    PAGER = "pager", _("PagerDuty")
    CHAT = "chat", _("Chat or push service")


class SubscriberState(models.TextChoices):
    PENDING = "pending", _("Waits for a confirmation")
    ACTIVE = "active", _("Is told")
    ENDED = "ended", _("Ended")


def new_ref() -> str:
    return f"sub-{secrets.token_hex(8)}"


class Subscriber(models.Model):
    """Who is told of each post of a page, or of those about some components; without a page, who is called to incidents
    (`incidents.oncall`). `ref` stands for them in the log; the address is emptied when they end it. `busy_until` is the
    claim of whoever sends to them now."""

    ref = models.CharField(max_length=24, unique=True, default=new_ref)
    page = models.ForeignKey(StatusPage, on_delete=models.PROTECT, null=True, related_name="subscribers")
    kind = models.CharField(max_length=8, choices=Kind)
    address = models.CharField(max_length=500, blank=True)
    secret = models.BinaryField(default=bytes, help_text="Sealed: a webhook's, PagerDuty's key, a chat's address.")
    components = models.ManyToManyField(StatusComponent, blank=True, related_name="+")
    state = models.CharField(max_length=8, choices=SubscriberState)
    busy_until = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    confirmed_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                models.functions.Lower("address"), "page", condition=~Q(state="ended"), name="telling_subscriber_once"
            ),
            models.CheckConstraint(condition=~Q(state="ended") | Q(address=""), name="telling_ended_has_no_address"),
        ]

    def __str__(self) -> str:
        return self.ref


class MessageState(models.TextChoices):
    WAITING = "waiting", _("Waits")
    SENT = "sent", _("Taken")
    GIVEN_UP = "given_up", _("Given up")
    CANCELLED = "cancelled", _("Not to be sent")


class Message(models.Model):
    """One message to one subscriber. `key` says what it tells to whom, and is there once; receivers see the id, which
    is the same at each attempt."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    key = models.CharField(max_length=100, unique=True)
    subscriber = models.ForeignKey(Subscriber, on_delete=models.PROTECT, related_name="messages")
    post = models.ForeignKey(
        StatusPost, on_delete=models.PROTECT, null=True, related_name="messages", help_text="None: please confirm."
    )
    words = models.JSONField(
        null=True, help_text="Of what is about no post: what is told, as it was then; see `incidents.telling.notes`."
    )
    state = models.CharField(max_length=10, choices=MessageState, default=MessageState.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    created_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-key"]
        indexes = [
            models.Index(fields=["subscriber", "created_at"], condition=Q(state="waiting"), name="telling_waiting")
        ]

    def __str__(self) -> str:
        return self.key


class Attempt(models.Model):
    """One attempt at a message, and what the receiver answered."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="tries")
    at = models.DateTimeField(db_default=Now())
    took_ms = models.PositiveIntegerField()
    taken = models.BooleanField()
    answer = models.CharField(max_length=300)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.answer
