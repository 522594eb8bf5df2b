"""Approval policies, requests and decisions: N distinct people on the hash of one exact thing; acts and evidence."""

import uuid
from dataclasses import dataclass

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _


class SubjectKind(models.TextChoices):
    ROLLBACK = "rollback", _("Rollback")
    RELEASE = "release", _("Release")
    DRILL = "drill", _("Drill")
    CONVERGE = "converge", _("Converge")
    DRAIN = "drain", _("Drain")
    FREEZE = "freeze", _("Freeze")
    PROMOTION = "promotion", _("Promotion to champion")
    UNQUARANTINE = "unquarantine", _("Lifting of a quarantine")
    POLICY_CHANGE = "policy_change", _("Change of an approval policy")
    HOST_REGISTRATION = "host_registration", _("Registration of a host")
    GATE_REGISTRATION = "gate_registration", _("Registration of a gate")
    BREAK_GLASS = "break_glass", _("Break-glass")


ACT_KINDS = (
    SubjectKind.PROMOTION,
    SubjectKind.UNQUARANTINE,
    SubjectKind.POLICY_CHANGE,
    SubjectKind.HOST_REGISTRATION,
    SubjectKind.GATE_REGISTRATION,
)
"""Kinds that are acts: done in one transaction by whoever uses the approval, where a plan is carried out by a run."""
ANYWHERE = "any"
"""Stands in a policy's `risk_tier` or `environment` for all of them."""


class RequestState(models.TextChoices):
    OPEN = "open", _("Waiting for approvals")
    APPROVED = "approved", _("Approved")
    DENIED = "denied", _("Denied")
    EXPIRED = "expired", _("Expired")
    WITHDRAWN = "withdrawn", _("Withdrawn")
    CONSUMED = "consumed", _("Used")


class Decision(models.TextChoices):
    APPROVE = "approve", _("Approve")
    DENY = "deny", _("Deny")
    REVOKE = "revoke", _("Revoke own approval")


class Verdict(models.TextChoices):
    JUSTIFIED = "justified", _("It was justified")
    NOT_JUSTIFIED = "not_justified", _("It was not justified")


class ApprovalPolicy(models.Model):
    """Who must agree before an act of `subject_kind` on a model of `risk_tier` in `environment` ("any": all of them).

    `factors` is a list of {"role": <role>, "count": n}; all must be filled (AND) and one person fills one factor.
    A policy is never edited: a change is a new row with the next `version`, and the old one stops being active.
    """

    name = models.CharField(max_length=100)
    version = models.PositiveIntegerField(default=1)
    subject_kind = models.CharField(max_length=20, choices=SubjectKind)
    risk_tier = models.CharField(max_length=10)
    environment = models.CharField(max_length=20)
    required = models.PositiveIntegerField()
    factors = models.JSONField(default=list)
    step_up_seconds = models.PositiveIntegerField(default=300)
    expires_seconds = models.PositiveIntegerField(default=1800)
    sign_off_required = models.BooleanField(default=False)
    automatic_allowed = models.BooleanField(default=False)
    stop_roles = models.JSONField(default=list, help_text="Who may stop a run; empty: every role with that right.")
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    active = models.BooleanField(default=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        app_label = "accounts"
        constraints = [
            models.UniqueConstraint(
                fields=["subject_kind", "risk_tier", "environment"],
                condition=Q(active=True),
                name="accounts_one_active_policy",
            ),
            models.UniqueConstraint(fields=["name", "version"], name="accounts_policy_version"),
        ]

    def __str__(self) -> str:
        return f"{self.name} v{self.version}"


@dataclass(frozen=True)
class Named:
    """A model by its slug and its owner team, on a floor that has no models."""

    slug: str
    team: str


class ApprovalRequest(models.Model):
    """The question put to the approvers: may what hashes to `subject_hash` be done, once, before `expires_at`?"""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    policy = models.ForeignKey(ApprovalPolicy, on_delete=models.PROTECT, related_name="requests")
    policy_hash = models.CharField(max_length=64)
    subject_kind = models.CharField(max_length=20, choices=SubjectKind)
    subject_ref = models.CharField(max_length=64, help_text="The identity of the plan.")
    subject_hash = models.CharField(max_length=64)
    title = models.CharField(max_length=300)
    incident_ref = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=50, blank=True, help_text="The model's slug, where it is about one.")
    team = models.CharField(max_length=100, blank=True, help_text="The model's owner team.")
    risk_tier = models.CharField(max_length=10, blank=True, help_text="The model's; empty: as in the policy.")
    environment = models.CharField(max_length=20, blank=True, help_text="The endpoint's; empty: as in the policy.")
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    excluded = models.JSONField(
        default=dict, help_text="Pseudonyms of others who may not approve, each with why: author, editor."
    )
    state = models.CharField(max_length=12, choices=RequestState, default=RequestState.OPEN)
    opened_at = models.DateTimeField(db_default=models.functions.Now())
    expires_at = models.DateTimeField()
    consumed_at = models.DateTimeField(null=True, blank=True)
    version = models.PositiveIntegerField(default=1)

    class Meta:
        app_label = "accounts"
        constraints = [
            models.UniqueConstraint(
                fields=["subject_hash"],
                condition=Q(state__in=["open", "approved"]),
                name="accounts_one_open_request_per_hash",
            ),
            models.CheckConstraint(condition=Q(state__in=RequestState.values), name="accounts_request_state_known"),
        ]

    def __str__(self) -> str:
        return self.title

    def concerned_models(self) -> list[Named]:
        return [Named(self.model, self.team)] if self.model else []


class ApprovalDecision(models.Model):
    """One person's decision on one hash. Rows are only ever added; a revocation is a row of its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=10, choices=Decision)
    subject_hash = models.CharField(max_length=64)
    role = models.CharField(max_length=20, blank=True, help_text="The factor that this approval fills.")
    evidence = models.CharField(max_length=64, blank=True, help_text="Digest of the evidence that was shown.")
    grant = models.CharField(max_length=36, blank=True, help_text="The grant or delegation that gave the role.")
    reason = models.TextField(blank=True)
    auth_method = models.CharField(max_length=20)
    auth_time = models.DateTimeField()
    decided_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        app_label = "accounts"
        ordering = ["decided_at", "id"]

    def __str__(self) -> str:
        return f"{self.by_id} {self.decision} {self.subject_hash[:12]}"


class ApprovalEvidence(models.Model):
    """What an approver was shown, as canonical JSON under its SHA-256. Written once; an erasure on record takes words
    out of it."""

    digest = models.CharField(max_length=64, primary_key=True)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="evidence")
    body = models.BinaryField()
    shown_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        app_label = "accounts"
        indexes = [models.Index(fields=["shown_at"], name="accounts_evidence_age")]

    def __str__(self) -> str:
        return self.digest[:12]


class EvidenceShown(models.Model):
    """To whom a piece of evidence was shown, and when last: a decision rests on what its maker saw."""

    evidence = models.ForeignKey(ApprovalEvidence, on_delete=models.CASCADE, related_name="showings")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    shown_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        app_label = "accounts"
        constraints = [models.UniqueConstraint(fields=["evidence", "person"], name="accounts_shown_once_each")]

    def __str__(self) -> str:
        return f"{self.evidence_id[:12]} to {self.person_id}"


class Act(models.Model):
    """One exact act other than a plan, waiting for its approvals or performed. `document` is what they are given for.

    `sealed` holds what the act needs and nobody may read; the document names its SHA-256.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=SubjectKind)
    document = models.BinaryField()
    act_hash = models.CharField(max_length=64, unique=True)
    sealed = models.BinaryField(default=b"")
    title = models.CharField(max_length=300)
    reason = models.TextField(blank=True)
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    request = models.OneToOneField(ApprovalRequest, on_delete=models.PROTECT, related_name="act")
    created_at = models.DateTimeField(db_default=models.functions.Now())
    performed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "accounts"

    def __str__(self) -> str:
        return self.title


class BreakGlass(models.Model):
    """That one person started one plan without its approvals, for which a review is owed."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.OneToOneField(ApprovalRequest, on_delete=models.PROTECT, related_name="break_glass")
    policy = models.ForeignKey(ApprovalPolicy, on_delete=models.PROTECT, related_name="+")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=20)
    reason = models.TextField()
    broken_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    review_due = models.DateTimeField()
    review_limit = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    overdue_at = models.DateTimeField(null=True, blank=True, help_text="When it was put on record that it is overdue.")
    locked_at = models.DateTimeField(null=True, blank=True, help_text="When it locked the glass for everybody.")
    verdict = models.CharField(max_length=14, blank=True, choices=Verdict)
    review_reason = models.TextField(blank=True)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "accounts"
        indexes = [
            models.Index(fields=["broken_at"], condition=Q(reviewed_at=None), name="accounts_review_owed"),
        ]

    def __str__(self) -> str:
        return f"break-glass of {self.request_id}"


class AutomaticLeave(models.Model):
    """That one plan may start without approvals, since its policy allows that and a program found its rule met."""

    request = models.OneToOneField(ApprovalRequest, on_delete=models.PROTECT, related_name="automatic_leave")
    rule = models.JSONField(default=dict, help_text="What was found to be met, as it stands in the record.")
    given_at = models.DateTimeField(db_default=models.functions.Now())
    used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "accounts"

    def __str__(self) -> str:
        return f"leave of {self.request_id}"


class GlassNotice(models.Model):
    """That one person is told by e-mail that the glass was broken. The row is what counts; a message may be lost."""

    glass = models.ForeignKey(BreakGlass, on_delete=models.CASCADE, related_name="notices")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    attempts = models.PositiveIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True, db_default=models.functions.Now(), help_text="Empty: no more tries.")
    sent_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        app_label = "accounts"
        constraints = [models.UniqueConstraint(fields=["glass", "person"], name="accounts_told_once_each")]
        indexes = [models.Index(fields=["next_try_at"], condition=Q(sent_at=None), name="accounts_notice_due")]

    def __str__(self) -> str:
        return f"{self.glass_id} to {self.person_id}"
