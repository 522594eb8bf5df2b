"""Tables of the log. All but the erasable texts and the counters are INSERT-only, by grant and by trigger."""

import uuid
from typing import Any

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from audit.sealing import open_text

MAX_CANON_BYTES = 65_535


class Xid8Field(models.Field):  # type: ignore[type-arg]
    """PostgreSQL's 64-bit transaction id (``xid8``), an int in Python."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def get_prep_value(self, value: Any) -> Any:
        return value if value is None or hasattr(value, "resolve_expression") else str(value)


class CurrentTransaction(models.Func):
    """``pg_current_xact_id()``: the id of the top-level transaction, also inside a savepoint."""

    function = "pg_current_xact_id"
    arity = 0
    output_field = Xid8Field()


class Outcome(models.TextChoices):
    SUCCESS = "success", _("succeeded")
    DENIED = "denied", _("was denied")
    FAILED = "failed", _("failed")
    INTENT = "intent", _("was about to happen")


class AuditEvent(models.Model):
    """One thing that somebody did, tried or was refused. ``canon`` is the record; the other columns index it."""

    xid = Xid8Field(editable=False, db_default=CurrentTransaction())
    event_uuid = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    canon = models.BinaryField()
    occurred_at = models.DateTimeField()
    action = models.CharField(max_length=80)
    outcome = models.CharField(max_length=10, choices=Outcome)
    actor_kind = models.CharField(max_length=20)
    actor = models.CharField(max_length=100)
    target_kind = models.CharField(max_length=60)
    target_id = models.CharField(max_length=200)
    target_version = models.CharField(max_length=100, blank=True, default="")
    incident = models.CharField(max_length=60, blank=True, default="")
    incident_seq = models.PositiveIntegerField(null=True)

    class Meta:
        db_table = "audit_event"
        permissions = [("export", "Can export the audit log")]
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["xid", "id"], name="audit_event_commit_order"),
            models.Index(fields=["occurred_at", "id"], name="audit_event_time"),
            models.Index(fields=["action", "occurred_at", "id"], name="audit_event_by_action"),
            models.Index(fields=["actor", "occurred_at", "id"], name="audit_event_by_actor"),
            models.Index(fields=["target_id", "occurred_at", "id"], name="audit_event_by_target"),
            models.Index(fields=["target_kind", "occurred_at", "id"], name="audit_event_by_kind"),
            models.Index(
                fields=["outcome", "occurred_at", "id"],
                condition=~Q(outcome="success"),
                name="audit_event_by_outcome",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["incident", "incident_seq"], condition=~Q(incident=""), name="audit_event_incident_seq_once"
            ),
            models.CheckConstraint(
                condition=Q(incident="", incident_seq__isnull=True) | (~Q(incident="") & Q(incident_seq__gte=1)),
                name="audit_event_incident_has_seq",
            ),
            models.CheckConstraint(condition=Q(outcome__in=Outcome.values), name="audit_event_outcome_known"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor} on {self.target_kind} {self.target_id}"


class AuditLeaf(models.Model):
    """A leaf of the tree: SHA-256(0x00 || canon of the event), RFC 6962."""

    leaf_index = models.BigIntegerField(primary_key=True)
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="leaf")
    leaf_hash = models.BinaryField()

    class Meta:
        db_table = "audit_leaf"
        default_permissions = ()

    def __str__(self) -> str:
        return f"leaf {self.leaf_index}"


class AuditCheckpoint(models.Model):
    """A signed statement of the tree's size and root (C2SP signed note), and how far in commit order it reaches."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField()
    note = models.TextField()
    created_at = models.DateTimeField()
    last_xid = Xid8Field()
    last_id = models.BigIntegerField()

    class Meta:
        db_table = "audit_checkpoint"
        default_permissions = ()

    def __str__(self) -> str:
        return f"checkpoint at {self.size}"


class AuditLogKey(models.Model):
    """A public key that has signed checkpoints of this log. For show: who must be sure gets the key by another way."""

    key_id = models.CharField(max_length=8, primary_key=True)
    vkey = models.TextField()
    first_used_at = models.DateTimeField()

    class Meta:
        db_table = "audit_log_key"
        default_permissions = ()

    def __str__(self) -> str:
        return self.vkey


class AuditSubjectKey(models.Model):
    """The data key of one person (or program), wrapped by the seal key. Erasing a person destroys ``wrapped`` and
    leaves the row, so that nothing is ever sealed for them again."""

    subject = models.CharField(max_length=100, primary_key=True)
    wrapped = models.BinaryField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    erased_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_subject_key"
        default_permissions = ()
        constraints = [
            models.CheckConstraint(
                condition=Q(wrapped__isnull=True, erased_at__isnull=False)
                | Q(wrapped__isnull=False, erased_at__isnull=True),
                name="audit_subject_key_or_tombstone",
            )
        ]

    def __str__(self) -> str:
        return f"key of {self.subject}"


class AuditPrivate(models.Model):
    """Free text of an event, which may hold personal data. The leaf holds HMAC-SHA256(key, text); key and text stand
    here, sealed under the data key of ``subject``: who wrote the text, or whom it is about. Deleting this row, or
    destroying that key, erases both and leaves every proof intact."""

    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, primary_key=True, related_name="private")
    subject = models.ForeignKey(AuditSubjectKey, on_delete=models.PROTECT, related_name="texts", db_column="subject")
    sealed = models.BinaryField()

    class Meta:
        db_table = "audit_private"
        default_permissions = ()

    def __str__(self) -> str:
        return f"text of event {self.event_id}"

    def opened(self) -> tuple[bytes, str] | None:
        """Key of the commitment (32 bytes) and text; None once the subject's key has been destroyed."""
        wrapped = None if self.subject.wrapped is None else bytes(self.subject.wrapped)
        return open_text(event_id=self.event_id, subject=self.subject_id, wrapped=wrapped, sealed=bytes(self.sealed))

    @property
    def text(self) -> str:
        """The text; empty once it has been erased."""
        opened = self.opened()
        return opened[1] if opened else ""


class HoldKind(models.TextChoices):
    SUBJECT = "subject", _("Person")
    INCIDENT = "incident", _("Incident")
    MODEL = "model", _("Model")


class AuditHold(models.Model):
    """A legal hold: while it stands, nothing about the person, incident or model is erased or pruned. Why it was placed
    is the sealed text of ``event``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=10, choices=HoldKind)
    ref = models.CharField(max_length=100, help_text="Pseudonym, reference of the incident, or slug of the model.")
    event = models.OneToOneField(AuditEvent, on_delete=models.PROTECT, related_name="+")
    placed_by = models.CharField(max_length=100)
    placed_at = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    lifted_by = models.CharField(max_length=100, blank=True, default="")
    lifted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "audit_hold"
        default_permissions = ()
        ordering = ["-placed_at"]
        indexes = [models.Index(fields=["kind", "ref"], condition=Q(lifted_at=None), name="audit_hold_standing")]
        constraints = [models.CheckConstraint(condition=Q(kind__in=HoldKind.values), name="audit_hold_kind_known")]

    def __str__(self) -> str:
        return f"{self.get_kind_display().lower()} {self.ref}"


class AuditIncidentCounter(models.Model):
    """The last number given to an event of an incident. The row's lock, held until commit, keeps numbers gapless."""

    incident = models.CharField(max_length=60, primary_key=True)
    last = models.PositiveIntegerField()

    class Meta:
        db_table = "audit_incident_counter"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.incident}: {self.last}"


class AuditNode(models.Model):
    """The hash of a complete subtree over 256**level leaves, so that a proof reads a few hundred rows of any tree."""

    pk = models.CompositePrimaryKey("level", "position")
    level = models.SmallIntegerField()
    position = models.BigIntegerField()
    hash = models.BinaryField()

    class Meta:
        db_table = "audit_node"
        default_permissions = ()

    def __str__(self) -> str:
        return f"node {self.position} of level {self.level}"


class AuditCosignature(models.Model):
    """A witness's signature over a checkpoint: the line that is added to the checkpoint's note."""

    checkpoint = models.ForeignKey(
        AuditCheckpoint, on_delete=models.PROTECT, related_name="cosignatures", db_column="size"
    )
    witness = models.CharField(max_length=200)
    note_line = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "audit_cosig"
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["witness", "checkpoint"], name="audit_cosig_once")]

    def __str__(self) -> str:
        return f"{self.witness} on {self.checkpoint_id}"


class AuditSequencer(models.Model):
    """What the sequencer says of itself, in its one row: not a part of the record, and trusted for nothing.

    ``refused``: why it does not sign; empty while it does. ``missing``: what the log's protection lacks, a line each,
    as ``audit.checks`` finds it every minute. ``rehash_*``: how far the re-hashing of old leaves has come.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    seen_at = models.DateTimeField()
    refused = models.TextField(blank=True, default="")
    refused_at = models.DateTimeField(null=True)
    missing = models.TextField(blank=True, default="", db_default="")
    rehash_peaks = models.BinaryField(default=bytes)
    rehash_next = models.BigIntegerField(default=0)
    rehash_size = models.BigIntegerField(default=0)
    rehashed_size = models.BigIntegerField(default=0)
    rehashed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "audit_sequencer"
        default_permissions = ()
        constraints = [models.CheckConstraint(condition=Q(id=1), name="audit_sequencer_one_row")]

    def __str__(self) -> str:
        return self.refused or "signing"
