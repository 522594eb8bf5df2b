"""People with roles, and a request for their approval."""

import datetime
import json
import uuid
from typing import Any

from django.utils import timezone

from accounts.actions import actor_for, create_user, issue_token
from accounts.approvals.actions import decide, open_request
from accounts.approvals.evidence import show
from accounts.approvals.models import ApprovalDecision, ApprovalRequest
from accounts.approvals.queries import policy_for
from accounts.models import User
from audit.actions import service_actor
from audit.models import AuditEvent

SETUP = service_actor("test")
PASSWORD = "correct horse battery staple"


def person(name: str, *roles: str) -> User:
    return create_user(
        username=name,
        email=f"{name}@example.org",
        full_name=name.title(),
        password=PASSWORD,
        roles=roles,
        actor=SETUP,
    )


def a_request(
    proposer: User, *, tier: str = "high", kind: str = "rollback", incident: str = "", model: str = ""
) -> ApprovalRequest:
    """A request under the default policy of the kind: for a high tier one commander and one approver."""
    return open_request(
        policy=policy_for(subject_kind=kind, risk_tier=tier, environment="production"),
        subject_kind=kind,
        subject_ref=str(uuid.uuid4()),
        subject_hash=uuid.uuid4().hex * 2,
        title="Roll back employment from version 2 to version 1",
        incident_ref=incident,
        proposer=proposer,
        actor=actor_for(user=proposer),
        model=model,
    )


def say(user: User, request: ApprovalRequest, decision: str = "approve", **changes: Any) -> ApprovalDecision:
    """Decide as somebody who gave a password just now and read the right hash, unless `changes` say otherwise."""
    arguments: dict[str, Any] = {
        "request_id": request.pk,
        "user": user,
        "decision": decision,
        "subject_hash": request.subject_hash,
        "reason": "",
        "auth_method": "password",
        "auth_time": timezone.now(),
        "actor": actor_for(user=user),
    }
    if "evidence" not in changes:
        arguments["evidence"] = show(request, user)[0]
    return decide(**(arguments | changes))


def bearer(user: User, *scopes: str, proved: bool = True) -> dict[str, str]:
    """The header of a program of that person's."""
    proved_at = timezone.now() if proved else None
    expires_at = timezone.now() + datetime.timedelta(days=1)
    _, secret = issue_token(
        owner=user, name="program", scopes=scopes, expires_at=expires_at, actor=SETUP, proved_at=proved_at
    )
    return {"Authorization": f"Bearer {secret}"}


def recorded(action: str) -> list[dict[str, Any]]:
    """The leaves of that action, oldest first."""
    return [json.loads(bytes(event.canon)) for event in AuditEvent.objects.filter(action=action).order_by("pk")]
