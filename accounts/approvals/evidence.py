"""What an approver was shown: kept as bytes under their digest, and shown again as it was."""

import datetime
import hashlib
import json
from typing import Any

from django.db.models.functions import Now

from accounts.approvals.models import ApprovalEvidence, ApprovalRequest, EvidenceShown
from accounts.approvals.policy import policy_facts
from accounts.approvals.subjects import Subject, sections_of, subject_of
from accounts.models import User
from audit.canonical import canonical_bytes
from audit.english import english
from audit.models import AuditEvent
from audit.queries import record_of

FORMAT = "lastgood-evidence/1"


@english()
def snapshot(request: ApprovalRequest, subject: Subject | None = None) -> dict[str, Any]:
    """What the page of the request says about its subject at this moment, as JSON."""
    told = subject or subject_of(request)
    return {
        "format": FORMAT,
        "request": str(request.id),
        "subject_kind": request.subject_kind,
        "subject_hash": request.subject_hash,
        "title": told.title,
        "sentence": told.sentence,
        "policy": policy_facts(request.policy),
        "proposer": request.proposer.pseudonym,
        "sections": sections_of(request, told),
    }


def show(request: ApprovalRequest, person: User, subject: Subject | None = None) -> tuple[str, dict[str, Any]]:
    """Keep the snapshot and that this person is shown it now; its SHA-256 in hex, with the body as the kept bytes hold
    it."""
    body = canonical_bytes(snapshot(request, subject))
    digest = hashlib.sha256(body).hexdigest()
    ApprovalEvidence.objects.bulk_create(
        [ApprovalEvidence(digest=digest, request=request, body=body)], ignore_conflicts=True
    )
    EvidenceShown.objects.bulk_create(
        [EvidenceShown(evidence_id=digest, person=person, shown_at=Now())],
        update_conflicts=True,
        unique_fields=["evidence", "person"],
        update_fields=["shown_at"],
    )
    return digest, json.loads(body)


def shown(request: ApprovalRequest, digest: str) -> dict[str, Any]:
    """The body under the digest, if it is of this request, and hashes to it or is what an erasure on record left of it.

    Raises ApprovalEvidence.DoesNotExist.
    """
    body = bytes(ApprovalEvidence.objects.get(digest=digest, request=request).body)
    if not intact(request, digest, body):
        raise ApprovalEvidence.DoesNotExist(f"The evidence {digest[:12]} was altered behind its digest.")
    content: dict[str, Any] = json.loads(body)
    return content


def intact(request: ApprovalRequest, digest: str, body: bytes) -> bool:
    """Whether it is what was shown, or what the log says that an erasure left of it."""
    now = hashlib.sha256(body).hexdigest()
    erasures = AuditEvent.objects.filter(
        action="approval.evidence.erase", target_kind="approval_request", target_id=str(request.pk)
    )
    return now == digest or any(record_of(event)["data"]["digests"].get(digest) == now for event in erasures)


def was_shown(request: ApprovalRequest, digest: str, person: User, *, lately: bool = True) -> bool:
    """Whether this person was shown it, for this request; `lately`: within the time that the policy gives a request."""
    showings = EvidenceShown.objects.filter(evidence=digest, evidence__request=request, person=person)
    if lately:
        showings = showings.filter(shown_at__gt=Now() - datetime.timedelta(seconds=request.policy.expires_seconds))
    return showings.exists()
