"""Incidents, what people do in them, what stakeholders are told, and what was learned."""

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from monitoring.models import Alert
from registry.models import Endpoint, Model


class IncidentState(models.TextChoices):
    DETECTED = "detected", _("Detected")
    TRIAGED = "triaged", _("Triaged")
    MITIGATING = "mitigating", _("Mitigating")
    MONITORING = "monitoring", _("Monitoring")
    RESOLVED = "resolved", _("Resolved")
    REVIEWED = "reviewed", _("Reviewed")
    CLOSED = "closed", _("Closed")


OPEN_STATES = [IncidentState.DETECTED, IncidentState.TRIAGED, IncidentState.MITIGATING, IncidentState.MONITORING]

LEGAL_MOVES: dict[str, tuple[str, ...]] = {
    IncidentState.DETECTED: (IncidentState.TRIAGED, IncidentState.MITIGATING, IncidentState.RESOLVED),
    IncidentState.TRIAGED: (IncidentState.MITIGATING, IncidentState.MONITORING, IncidentState.RESOLVED),
    IncidentState.MITIGATING: (IncidentState.TRIAGED, IncidentState.MONITORING),
    IncidentState.MONITORING: (IncidentState.MITIGATING, IncidentState.TRIAGED, IncidentState.RESOLVED),
    IncidentState.RESOLVED: (IncidentState.TRIAGED, IncidentState.REVIEWED),
    IncidentState.REVIEWED: (IncidentState.TRIAGED, IncidentState.CLOSED),
    IncidentState.CLOSED: (IncidentState.TRIAGED,),
}


class Impact(models.IntegerChoices):
    HIGH = 1, _("Many are affected, or harm is serious")
    MEDIUM = 2, _("Some are affected")
    LOW = 3, _("Few are affected")


class Urgency(models.IntegerChoices):
    HIGH = 1, _("It gets worse while we wait")
    MEDIUM = 2, _("It stays as it is")
    LOW = 3, _("It can wait for the morning")


def words_of(*columns: str) -> SearchVector:
    """The columns as PostgreSQL's full-text search reads them. An index is used only where the search says the same."""
    return SearchVector(*columns, config="english")


class Incident(models.Model):
    """A model in production went wrong. `number` is shown as INC-<number>; `version` grows with each edit of it and
    guards against lost ones."""

    number = models.PositiveIntegerField(unique=True)
    ref = models.CharField(max_length=40, unique=True)
    title = models.CharField(max_length=300)
    state = models.CharField(max_length=12, choices=IncidentState, default=IncidentState.DETECTED)
    severity = models.PositiveSmallIntegerField()
    impact = models.PositiveSmallIntegerField(choices=Impact, null=True, blank=True)
    urgency = models.PositiveSmallIntegerField(choices=Urgency, null=True, blank=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, null=True, blank=True, related_name="incidents")
    from_version = models.CharField(
        max_length=40, blank=True, help_text="The version that answered when it went wrong."
    )
    group_key = models.CharField(max_length=200)
    assessment = models.TextField(blank=True, help_text="What the responders think it is.")
    impact_started_at = models.DateTimeField(null=True, blank=True)
    detected_at = models.DateTimeField()
    declared_at = models.DateTimeField(db_default=models.functions.Now(), help_text="When it was opened here.")
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    mitigated_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)
    roll_called_at = models.DateTimeField(
        null=True, blank=True, help_text="When those who work on it were last asked to say that they have seen it."
    )
    told_state = models.CharField(
        max_length=12, blank=True, help_text="The last state that the status pages have told by themselves."
    )
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["-number"]
        indexes = [GinIndex(words_of("title", "assessment"), name="incidents_incident_words")]
        constraints = [
            models.UniqueConstraint(
                fields=["group_key"],
                condition=Q(state__in=["detected", "triaged", "mitigating", "monitoring"]),
                name="incidents_one_open_per_cause",
            ),
            models.CheckConstraint(condition=Q(state__in=IncidentState.values), name="incidents_state_known"),
            models.CheckConstraint(condition=Q(severity__gte=1, severity__lte=4), name="incidents_severity_1_to_4"),
        ]

    def __str__(self) -> str:
        return self.ref

    def concerned_models(self) -> list[Model]:
        return [self.endpoint.model] if self.endpoint is not None else []


class IncidentAlert(models.Model):
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="incident_alerts")
    alert = models.OneToOneField(Alert, on_delete=models.PROTECT, related_name="incident_alert")
    joined_at = models.DateTimeField(db_default=models.functions.Now())

    def __str__(self) -> str:
        return f"{self.alert_id} in {self.incident_id}"


class IncidentRole(models.TextChoices):
    COMMANDER = "commander", _("Commander")
    COMMUNICATIONS = "communications", _("Communications")
    OPERATIONS = "operations", _("Operations")
    SCRIBE = "scribe", _("Scribe")


class RoleHolding(models.Model):
    """Who holds a role in an incident; one holder at a time."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="holdings")
    role = models.CharField(max_length=16, choices=IncidentRole)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(db_default=models.functions.Now())
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["incident", "role"], condition=Q(until=None), name="incidents_one_holder_per_role"
            )
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.user_id}"


class Evidence(models.Model):
    """A claim with its numbers, frozen when the incident was opened or when it was added."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="evidence")
    kind = models.SlugField(max_length=40, help_text="accuracy, drift, latency, hosts, impact, groups, diagnosis")
    claim = models.CharField(max_length=500)
    data = models.JSONField(default=dict)
    sha256 = models.CharField(max_length=64, help_text="Of the canonical JSON of `data`.")
    frozen_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["incident", "kind", "sha256"], name="incidents_evidence_once")]

    def __str__(self) -> str:
        return self.claim


class Update(models.Model):
    """A report in CAN form: conditions, actions, needs."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="updates")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    conditions = models.TextField()
    actions = models.TextField(blank=True)
    needs = models.TextField(blank=True)
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        ordering = ["-at"]
        indexes = [GinIndex(words_of("conditions", "actions", "needs"), name="incidents_update_words")]

    def __str__(self) -> str:
        return self.conditions[:60]


class ComponentState(models.TextChoices):
    OPERATIONAL = "operational", _("Operational")
    DEGRADED = "degraded_performance", _("Degraded")
    PARTIAL_OUTAGE = "partial_outage", _("Partial outage")
    MAJOR_OUTAGE = "major_outage", _("Major outage")
    MAINTENANCE = "under_maintenance", _("Under maintenance")


class Quality(models.TextChoices):
    """What may be told of a service that answers. It is no outage, and uptime does not count it."""

    DEGRADED = "quality_degraded", _("Its answers are less reliable than promised")
    FALLBACK = "fallback_serving", _("An earlier version answers")


class StatusPage(models.Model):
    """`public`: for everybody. Else for people who are signed in and hold one of the roles in `readers`, or any role
    that may look where that is empty; administrators read every page."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=300, blank=True)
    public = models.BooleanField(default=True)
    readers = models.JSONField(default=list, blank=True)
    by_itself = models.BooleanField(
        default=True, help_text="Changes of an incident are told at once; else a draft is proposed to a person."
    )
    published_at = models.DateTimeField(null=True, blank=True)
    publish_due_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1)

    def __str__(self) -> str:
        return self.name


class StatusComponent(models.Model):
    """What a stakeholder knows by name: an endpoint, all endpoints of a model, or a group of components. What stands
    behind the name is never shown. A retired one is on no page any more; its history is kept."""

    page = models.ForeignKey(StatusPage, on_delete=models.PROTECT, related_name="components")
    name = models.CharField(max_length=200)
    description = models.CharField(max_length=300, blank=True)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    model = models.ForeignKey(Model, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    is_group = models.BooleanField(default=False)
    group = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="members")
    state = models.CharField(max_length=20, choices=ComponentState, default=ComponentState.OPERATIONAL)
    quality = models.CharField(max_length=20, choices=Quality, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    position = models.PositiveIntegerField(default=0)
    since = models.DateTimeField(db_default=models.functions.Now())
    created_at = models.DateTimeField(db_default=models.functions.Now(), help_text="Before it, nothing is known.")

    class Meta:
        ordering = ["position", "id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(endpoint=None, model=None)
                | Q(is_group=False, model=None)
                | Q(is_group=False, endpoint=None),
                name="incidents_component_is_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def concerned_models(self) -> list[Model]:
        model = self.model or (self.endpoint.model if self.endpoint is not None else None)
        return [model] if model is not None else []


class PostStatus(models.TextChoices):
    INVESTIGATING = "investigating", _("Investigating")
    IDENTIFIED = "identified", _("Identified")
    MONITORING = "monitoring", _("Monitoring")
    RESOLVED = "resolved", _("Resolved")


class WindowStatus(models.TextChoices):
    """What may be told of a maintenance, beside nothing."""

    SCHEDULED = "scheduled", _("Planned")
    IN_PROGRESS = "in_progress", _("Under way")
    COMPLETED = "completed", _("Over")
    CANCELLED = "cancelled", _("Cancelled")


class StatusPost(models.Model):
    """What was told on a status page of one incident or one maintenance. `affected` is what each component that it
    names was before and from then on: [{"id": key, "name", "old", "new", "quality"}]."""

    page = models.ForeignKey(StatusPage, on_delete=models.PROTECT, related_name="posts")
    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="posts", null=True, blank=True)
    maintenance = models.ForeignKey(
        "telling.Maintenance", on_delete=models.PROTECT, related_name="posts", null=True, blank=True
    )
    status = models.CharField(max_length=14, choices=[*PostStatus.choices, *WindowStatus.choices])
    component_state = models.CharField(max_length=20, choices=ComponentState)
    quality = models.CharField(max_length=20, choices=Quality, blank=True)
    affected = models.JSONField(default=list)
    text = models.TextField()
    next_update_at = models.DateTimeField(null=True, blank=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        ordering = ["-at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(incident=None, maintenance__isnull=False) | Q(incident__isnull=False, maintenance=None),
                name="incidents_post_of_one_thing",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.status}: {self.text[:60]}"


class ReviewState(models.TextChoices):
    DRAFT = "draft", _("Draft")
    PUBLISHED = "published", _("Published")


class Review(models.Model):
    """What happened, what it did to people, why, and what was learned; its timeline is read from the log."""

    incident = models.OneToOneField(Incident, on_delete=models.PROTECT, related_name="review")
    state = models.CharField(max_length=10, choices=ReviewState, default=ReviewState.DRAFT)
    summary = models.TextField(blank=True)
    impact = models.TextField(blank=True)
    causes = models.TextField(blank=True)
    went_well = models.TextField(blank=True)
    went_badly = models.TextField(blank=True)
    checkpoint = models.TextField(blank=True, help_text="The log's signed checkpoint when the review was published.")
    published_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        indexes = [
            GinIndex(words_of("summary", "impact", "causes", "went_well", "went_badly"), name="incidents_review_words")
        ]

    def __str__(self) -> str:
        return f"review of {self.incident_id}"

    def concerned_models(self) -> list[Model]:
        return self.incident.concerned_models()


class ActionItem(models.Model):
    review = models.ForeignKey(Review, on_delete=models.PROTECT, related_name="action_items")
    text = models.CharField(max_length=500)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    due_on = models.DateField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.text[:60]


class DutyState(models.TextChoices):
    APPLIES = "applies", _("Applies")
    DISMISSED = "dismissed", _("Does not apply")
    NOTIFIED = "notified", _("Report sent")


class IncidentDuty(models.Model):
    """What a person said of one deadline of one incident. `clock` and `edition` name it in `audit/duties`."""

    incident = models.ForeignKey(Incident, on_delete=models.PROTECT, related_name="duties")
    clock = models.SlugField(max_length=60)
    edition = models.CharField(max_length=7)
    state = models.CharField(max_length=10, choices=DutyState)
    aware_at = models.DateTimeField(help_text="When the organisation became aware, by its own account.")
    applied_at = models.DateTimeField(null=True, blank=True, help_text="When somebody said that it applies.")
    notified_at = models.DateTimeField(null=True, blank=True)
    warned = models.CharField(
        max_length=7, blank=True, default="", help_text="What is on record of its deadline: soon, overdue."
    )
    version = models.PositiveIntegerField(default=1)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["incident", "clock"], name="incidents_duty_once"),
            models.CheckConstraint(condition=Q(state__in=DutyState.values), name="incidents_duty_state_known"),
            models.CheckConstraint(
                condition=Q(state="notified", notified_at__isnull=False)
                | (~Q(state="notified") & Q(notified_at__isnull=True)),
                name="incidents_duty_notified_when_sent",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.clock} of {self.incident_id}"
