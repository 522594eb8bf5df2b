"""People, what they may do, the tokens of their programs, and approvals."""

import secrets
import uuid

from django.contrib.auth.models import AbstractUser
from django.db import models

from accounts.approvals.models import ApprovalDecision, ApprovalPolicy, ApprovalRequest
from accounts.authority.models import Delegation, ProposalState, Role, RoleGrant, RoleProposal
from accounts.rosters.models import Roster, Shift

__all__ = [
    "ApiToken",
    "ApprovalDecision",
    "ApprovalPolicy",
    "ApprovalRequest",
    "Delegation",
    "ProposalState",
    "Role",
    "RoleGrant",
    "RoleProposal",
    "Roster",
    "Shift",
    "User",
]


def new_pseudonym() -> str:
    return f"u-{secrets.token_hex(6)}"


class User(AbstractUser):
    """A person. The log knows a person by `pseudonym` only, so that a name can be erased without touching a leaf."""

    pseudonym = models.CharField(max_length=40, unique=True, default=new_pseudonym, editable=False)
    permission_epoch = models.PositiveIntegerField(default=1, help_text="Grows with each change of the roles.")
    roles_change_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="When a grant or a loan next begins or ends to count."
    )

    class Meta(AbstractUser.Meta):
        pass

    def __str__(self) -> str:
        return self.get_full_name() or self.username

    @property
    def role_names(self) -> list[str]:
        """The labels of the roles held now, for pages."""
        from accounts.permissions import user_roles

        return sorted(str(Role(role).label) for role in user_roles(self))


class ApiToken(models.Model):
    """A program's key: only the SHA-256 of the secret is kept. `scopes` are names of permissions or of
    programs' own scopes (`ingest`, `witness`)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="api_tokens")
    prefix = models.CharField(max_length=16, unique=True)
    sha256 = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    created_at = models.DateTimeField(db_default=models.functions.Now())
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    proved_at = models.DateTimeField(
        null=True, blank=True, help_text="When its owner had last proved who they are, at the time of issuing."
    )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
