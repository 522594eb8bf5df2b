"""How long evidence is kept on which nobody decided."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.approvals.actions import LIVE
from accounts.approvals.models import ApprovalDecision, ApprovalEvidence
from audit import holds
from audit.actions import Target, record, service_actor
from audit.clock import database_now

AT_ONCE = 200


def unused(now: datetime) -> QuerySet[ApprovalEvidence]:
    """Snapshots of closed requests that were shown LASTGOOD_EVIDENCE_DAYS ago, on which nobody decided or broke glass,
    and that no legal hold keeps."""
    days = settings.LASTGOOD_EVIDENCE_DAYS
    if not days:
        return ApprovalEvidence.objects.none()
    decided = ApprovalDecision.objects.filter(evidence=OuterRef("digest"))
    old = ApprovalEvidence.objects.filter(shown_at__lt=now - timedelta(days=days), request__break_glass=None)
    return old.exclude(request__state__in=LIVE).filter(~Exists(decided)).exclude(held())


def held() -> Q:
    """The evidence that a legal hold on its incident or its model keeps."""
    models = [hold.ref for hold in holds.active().filter(kind="model")]
    return Q(request__incident_ref__in=list(holds.held_incidents())) | Q(request__model__in=models)


def due_evidence(now: datetime) -> list[str]:
    """Requests that have evidence to prune."""
    return [str(pk) for pk in unused(now).values_list("request", flat=True).order_by("request").distinct()[:100]]


def prune_evidence(*, request_id: Any) -> int:
    """Delete a request's unused evidence, on record; the number of snapshots."""
    now = database_now()
    with transaction.atomic():
        holds.settle(shared=True)
        found = unused(now).filter(request=request_id).select_for_update(of=("self",), skip_locked=True)
        digests = [row.digest for row in found[:AT_ONCE]]
        if not digests:
            return 0
        ApprovalEvidence.objects.filter(pk__in=digests).delete()
        record(
            action="approval.evidence.prune",
            target=Target("approval_request", str(request_id)),
            actor=service_actor("retention"),
            data={"digests": digests, "days": settings.LASTGOOD_EVIDENCE_DAYS},
        )
    return len(digests)
