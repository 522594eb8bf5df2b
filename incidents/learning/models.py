"""What is learned beside a review's text: causes by a taxonomy, signatures, reminders, and what reviews begin with."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from audit.english import in_english
from incidents.models import Review
from registry.models import Model


class Cause(models.TextChoices):
    DATA_DRIFT = "data_drift", _("Data drift: the inputs changed")
    CONCEPT_DRIFT = "concept_drift", _("Concept drift: the truth behind the inputs changed")
    SKEW = "training_serving_skew", _("Training-serving skew: features were made differently")
    FEEDBACK = "feedback_loop", _("Feedback loop: the model's answers came back as its inputs or labels")
    BAD_RELEASE = "bad_release", _("Bad release: this version was worse")
    INFRASTRUCTURE = "infrastructure", _("Infrastructure: hosts, network, capacity")
    UPSTREAM = "upstream_data", _("Upstream data: a source was late, wrong or empty")
    FALSE_ALARM = "false_alarm", _("False alarm: nothing was wrong")
    OTHER = "other", _("Something else")


NOTE_LENGTH = 500


class ContributingCause(models.Model):
    """One of the causes of a review, with what is said of it."""

    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="contributing")
    kind = models.CharField(max_length=24, choices=Cause)
    note = models.CharField(max_length=NOTE_LENGTH, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["review", "kind"], name="learning_cause_once"),
            models.CheckConstraint(condition=Q(kind__in=Cause.values), name="learning_cause_known"),
        ]

    def __str__(self) -> str:
        return in_english(self.get_kind_display)


class SignatureKind(models.TextChoices):
    SIGN_OFF = "sign_off", _("Sign-off of the review")
    ACCEPTANCE = "acceptance", _("Acceptance of the state after the rollback")


class Answer(models.TextChoices):
    ASKED = "asked", _("Asked")
    YES = "yes", _("Accepted")
    NO = "no", _("Not accepted")


class Signature(models.Model):
    """A person who is asked to sign a review off, or to accept how the service answers now, and the answer."""

    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="signatures")
    kind = models.CharField(max_length=10, choices=SignatureKind)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(db_default=Now())
    answer = models.CharField(max_length=5, choices=Answer, default=Answer.ASKED)
    words = models.CharField(max_length=1000, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["review", "kind", "user"], name="learning_asked_once")]
        indexes = [models.Index(fields=["user"], condition=Q(answer="asked"), name="learning_asked")]

    def __str__(self) -> str:
        return f"{self.kind} by {self.user_id}: {self.answer}"

    def concerned_models(self) -> list[Model]:
        return self.review.concerned_models()


class Reminder(models.Model):
    """That somebody was reminded of something, once for each `key`: `item:<pk>:soon`, `item:<pk>:overdue`,
    `signature:<pk>:unanswered` or `post:<pk>:late`."""

    key = models.CharField(max_length=60, unique=True)
    at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.key


class ReviewTemplate(models.Model):
    """What the sections of a new review begin with, where the incident was opened by an alert of that kind of rule."""

    kind = models.SlugField(max_length=40, unique=True, blank=True, help_text="Such as accuracy; empty: every other.")
    texts = models.JSONField(default=dict, help_text="Text by the name of its section.")
    version = models.PositiveIntegerField(default=1)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["kind"]

    def __str__(self) -> str:
        return self.kind or "any"
