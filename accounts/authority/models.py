"""Who holds which role: grants, proposals of grants that wait for a second administrator, and loans of a role."""

import uuid

from django.conf import settings
from django.contrib.postgres.functions import RandomUUID
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    VIEWER = "viewer", _("Viewer")
    RESPONDER = "responder", _("Responder")
    COMMANDER = "commander", _("Incident commander")
    APPROVER = "approver", _("Approver")
    ANALYST = "analyst", _("Analyst")
    AUDITOR = "auditor", _("Auditor")
    ADMINISTRATOR = "administrator", _("Administrator")


class Scoped(models.Model):
    """What is limited by a scope: {"teams": [...], "models": [slugs...]}, each list sorted; {} is everywhere."""

    scope = models.JSONField(default=dict, db_default={}, blank=True)

    class Meta:
        abstract = True

    @property
    def scope_words(self) -> str:
        """Such as "models letters, loans; team ml"."""
        kinds = [(kind, self.scope.get(kind, [])) for kind in ("models", "teams")]
        words = [f"{kind if len(names) > 1 else kind[:-1]} {', '.join(names)}" for kind, names in kinds if names]
        return "; ".join(words) or "everywhere"


class RoleGrant(Scoped):
    """That a user holds a role; it counts from `counts_from` on. Ended, never deleted.

    `granted_by` proposed it and `confirmed_by` agreed; both are empty where a program on the machine itself granted it.
    """

    uuid = models.UUIDField(unique=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="role_grants")
    role = models.CharField(max_length=20, choices=Role)
    granted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    confirmed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    since = models.DateTimeField(db_default=Now())
    counts_from = models.DateTimeField(db_default=Now())
    until = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "scope"], condition=Q(until=None), name="accounts_one_grant_per_scope"
            ),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="accounts_grant_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class ProposalState(models.TextChoices):
    OPEN = "open", _("Waits for a second administrator")
    CONFIRMED = "confirmed", _("Confirmed")
    REFUSED = "refused", _("Refused")
    EXPIRED = "expired", _("Expired")


class RoleProposal(Scoped):
    """A grant that one administrator asks for and another confirms; its id becomes the grant's."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="role_proposals")
    role = models.CharField(max_length=20, choices=Role)
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=10, choices=ProposalState, default=ProposalState.OPEN)
    proposed_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "role", "scope"], condition=Q(state="open"), name="accounts_one_proposal_per_scope"
            ),
            models.CheckConstraint(condition=~Q(user=F("proposer")), name="accounts_nobody_proposes_themselves"),
            models.CheckConstraint(
                condition=~Q(state="confirmed") | (~Q(decided_by=F("proposer")) & ~Q(decided_by=F("user"))),
                name="accounts_two_administrators",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role} {self.state}"


class Delegation(Scoped):
    """That `lender` lets `borrower` hold a role of theirs from `starts` to `ends`, while the grant itself stands."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    grant = models.ForeignKey(RoleGrant, on_delete=models.PROTECT, related_name="delegations")
    lender = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="lent")
    borrower = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="borrowed")
    role = models.CharField(max_length=20, choices=Role)
    starts = models.DateTimeField()
    ends = models.DateTimeField()
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(ends__gt=F("starts")), name="accounts_delegation_ends_after_start"),
            models.CheckConstraint(condition=~Q(lender=F("borrower")), name="accounts_delegation_to_another"),
        ]
        indexes = [models.Index(fields=["borrower"], condition=Q(ended_at=None), name="accounts_delegation_live")]

    def __str__(self) -> str:
        return f"{self.lender_id} to {self.borrower_id}: {self.role}"
