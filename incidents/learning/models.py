"""What is learned beside a review's text: causes by a taxonomy, signatures, reminders of action items."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from incidents.models import ActionItem, Review
from registry.models import Model


class Cause(models.TextChoices):
    DATA_DRIFT = "data_drift", "Data drift: the inputs changed"
    CONCEPT_DRIFT = "concept_drift", "Concept drift: the truth behind the inputs changed"
    SKEW = "training_serving_skew", "Training-serving skew: features were made differently"
    FEEDBACK = "feedback_loop", "Feedback loop: the model's answers came back as its inputs or labels"
    BAD_RELEASE = "bad_release", "Bad release: this version was worse"
    INFRASTRUCTURE = "infrastructure", "Infrastructure: hosts, network, capacity"
    UPSTREAM = "upstream_data", "Upstream data: a source was late, wrong or empty"
    FALSE_ALARM = "false_alarm", "False alarm: nothing was wrong"
    OTHER = "other", "Something else"


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
        return str(self.get_kind_display())


class SignatureKind(models.TextChoices):
    SIGN_OFF = "sign_off", "Sign-off of the review"
    ACCEPTANCE = "acceptance", "Acceptance of the state after the rollback"


class Answer(models.TextChoices):
    ASKED = "asked", "Asked"
    YES = "yes", "Accepted"
    NO = "no", "Not accepted"


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
    """That the owner of an action item was reminded of it, once before it is due and once after."""

    item = models.ForeignKey(ActionItem, on_delete=models.PROTECT, related_name="reminders")
    stage = models.CharField(max_length=7, choices=[("soon", "Soon due"), ("overdue", "Overdue")])
    at = models.DateTimeField(db_default=Now())
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["item", "stage"], name="learning_reminded_once")]

    def __str__(self) -> str:
        return f"{self.item_id} {self.stage}"
