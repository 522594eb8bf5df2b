"""Approval policies, requests and decisions: N distinct people on the hash of one exact thing."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q


class SubjectKind(models.TextChoices):
    ROLLBACK = "rollback", "Rollback"
    RELEASE = "release", "Release"
    DRILL = "drill", "Drill"
    CONVERGE = "converge", "Converge"


class RequestState(models.TextChoices):
    OPEN = "open", "Waiting for approvals"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    EXPIRED = "expired", "Expired"
    WITHDRAWN = "withdrawn", "Withdrawn"
    CONSUMED = "consumed", "Used"


class Decision(models.TextChoices):
    APPROVE = "approve", "Approve"
    DENY = "deny", "Deny"
    REVOKE = "revoke", "Revoke own approval"


class ApprovalPolicy(models.Model):
    """Who must agree before an act of `subject_kind` on a model of `risk_tier` in `environment`.

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
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
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


class ApprovalDecision(models.Model):
    """One person's decision on one hash. Rows are only ever added; a revocation is a row of its own."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    request = models.ForeignKey(ApprovalRequest, on_delete=models.PROTECT, related_name="decisions")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    decision = models.CharField(max_length=10, choices=Decision)
    subject_hash = models.CharField(max_length=64)
    role = models.CharField(max_length=20, blank=True, help_text="The factor that this approval fills.")
    reason = models.TextField(blank=True)
    auth_method = models.CharField(max_length=20)
    auth_time = models.DateTimeField()
    decided_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        app_label = "accounts"
        ordering = ["decided_at", "id"]

    def __str__(self) -> str:
        return f"{self.by_id} {self.decision} {self.subject_hash[:12]}"
