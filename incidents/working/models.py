"""What people work with in an incident: roles that are offered, who has seen it, pins, runbooks, tasks, saved views."""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from incidents.models import Incident, IncidentRole, words_of
from registry.models import Model


class OfferState(models.TextChoices):
    OFFERED = "offered", _("Offered")
    ACCEPTED = "accepted", _("Accepted")
    DECLINED = "declined", _("Declined")
    WITHDRAWN = "withdrawn", _("Withdrawn")


class RoleOffer(models.Model):
    """A role that one person holds out to another. Until it is accepted, who held it holds it."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="offers")
    role = models.CharField(max_length=16, choices=IncidentRole)
    to = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=OfferState, default=OfferState.OFFERED)
    offered_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["incident", "role"], condition=Q(state="offered"), name="working_one_offer_per_role"
            )
        ]

    def __str__(self) -> str:
        return f"{self.role} to {self.to_id}: {self.state}"


class Sighting(models.Model):
    """That a person said to have seen the incident, and when last."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="sightings")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["at", "id"]
        constraints = [models.UniqueConstraint(fields=["incident", "user"], name="working_seen_once")]

    def __str__(self) -> str:
        return f"{self.user_id} saw {self.incident_id}"


class SeverityMatrix(models.Model):
    """An edition of the table from impact and urgency to severity; the one with the highest number counts.

    `cells` is three rows by impact (1 is worst), each with three severities by urgency (1 is worst).
    """

    edition = models.PositiveIntegerField(unique=True)
    cells = models.JSONField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-edition"]

    def __str__(self) -> str:
        return f"edition {self.edition}"


class Note(models.Model):
    """A person's words on the timeline, or a correction there, so that they are found; `seq` is the event's number."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="notes")
    seq = models.PositiveIntegerField()
    text = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["-id"]
        indexes = [GinIndex(words_of("text"), name="working_note_words")]
        constraints = [models.UniqueConstraint(fields=["incident", "seq"], name="working_note_once")]

    def __str__(self) -> str:
        return self.text[:60]


class Pin(models.Model):
    """An event of an incident (by the incident's own number of it) that stays in sight."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="pins")
    seq = models.PositiveIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["seq"]
        constraints = [models.UniqueConstraint(fields=["incident", "seq"], name="working_pinned_once")]

    def __str__(self) -> str:
        return f"{self.incident_id} event {self.seq}"


class Runbook(models.Model):
    """What to do when a kind of thing happens, to one model or to any. Each edit makes the next `version`.

    `body` is Markdown; its task lines (`- [ ] Ask the data team.`) are the steps that are ticked off.
    """

    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    body = models.TextField()
    model = models.ForeignKey(Model, on_delete=models.PROTECT, null=True, blank=True, related_name="runbooks")
    kind = models.SlugField(
        max_length=40,
        blank=True,
        help_text="Kind of rule whose alert opened the incident, such as accuracy; empty: any.",
    )
    version = models.PositiveIntegerField(default=1)
    changed_at = models.DateTimeField(db_default=Now())
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["title"]
        indexes = [GinIndex(words_of("title", "body"), name="working_runbook_words")]

    def __str__(self) -> str:
        return self.title

    def concerned_models(self) -> list[Model]:
        return [self.model] if self.model is not None else []


class RunbookUse(models.Model):
    """A runbook as it read when it was taken up in an incident."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="runbook_uses")
    runbook = models.ForeignKey(Runbook, on_delete=models.PROTECT, related_name="uses")
    runbook_version = models.PositiveIntegerField()
    body = models.TextField()
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["incident", "runbook"], name="working_runbook_once")]

    def __str__(self) -> str:
        return f"{self.runbook_id} in {self.incident_id}"


class Step(models.Model):
    """One task line of a runbook in use."""

    use = models.ForeignKey(RunbookUse, on_delete=models.PROTECT, related_name="steps")
    position = models.PositiveIntegerField()
    text = models.CharField(max_length=500)
    done_at = models.DateTimeField(null=True, blank=True)
    done_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["use", "position"], name="working_step_once")]

    def __str__(self) -> str:
        return self.text[:60]


class TaskState(models.TextChoices):
    OPEN = "open", _("Open")
    DONE = "done", _("Done")
    DROPPED = "dropped", _("Not needed any more")


class Task(models.Model):
    """Something that somebody is to do while the incident lasts."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="tasks")
    text = models.CharField(max_length=500)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    due_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=8, choices=TaskState, default=TaskState.OPEN)
    settled_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["id"]
        indexes = [
            models.Index(fields=["owner"], condition=Q(state="open"), name="working_tasks_of_owner"),
            GinIndex(words_of("text"), name="working_task_words"),
        ]

    def __str__(self) -> str:
        return self.text[:60]

    def concerned_models(self) -> list[Model]:
        return self.incident.concerned_models()


class SavedView(models.Model):
    """A list of incidents that somebody looks at again: the filters of its address under a name."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=500)
    shared = models.BooleanField(default=False, help_text="Everybody who may look sees it among theirs.")

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["user", "name"], name="working_view_name_once")]

    def __str__(self) -> str:
        return self.name
