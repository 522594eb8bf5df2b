"""How long evidence is kept on which nobody decided, and what an erasure takes out of evidence."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, Func, OuterRef, Q, QuerySet, Value
from django.db.models.fields import BinaryField, IntegerField

from accounts.approvals.actions import LIVE
from accounts.approvals.models import ApprovalDecision, ApprovalEvidence
from audit import holds
from audit.actions import Target, record, service_actor
from audit.clock import database_now

AT_ONCE = 200
LEAST_QUOTED = 12
"""Characters: a shorter text is no sentence, and would be found where nobody quoted it."""
MOST_QUOTED = 200
"""Characters of a text that pages quote at least."""


def unused(now: datetime) -> QuerySet[ApprovalEvidence]:
    """Snapshots of closed requests that were shown LASTGOOD_EVIDENCE_DAYS ago, on which nobody decided or broke glass,
    and that no legal hold keeps."""
    days = settings.LASTGOOD_EVIDENCE_DAYS
    if not days:
        return ApprovalEvidence.objects.none()
    decided = ApprovalDecision.objects.filter(evidence=OuterRef("digest"))
    models = [hold.ref for hold in holds.active().filter(kind="model")]
    old = ApprovalEvidence.objects.filter(shown_at__lt=now - timedelta(days=days), request__break_glass=None)
    held = Q(request__incident_ref__in=list(holds.held_incidents())) | Q(request__model__in=models)
    return old.exclude(request__state__in=LIVE).filter(~Exists(decided)).exclude(held)


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


class _Position(Func):
    function = "position"
    template = "%(function)s(%(expressions)s)"
    arg_joiner = " IN "
    output_field = IntegerField()


def forget(texts: Iterable[str]) -> int:
    """Empty every snapshot that quotes one of the texts; the number of them. Its digest stays with the decisions."""
    emptied = 0
    for text in {text.strip()[:MOST_QUOTED] for text in texts if len(text.strip()) >= LEAST_QUOTED}:
        quoted = json.dumps(text, ensure_ascii=False)[1:-1].encode()
        place = _Position(Value(quoted, output_field=BinaryField()), "body")
        emptied += ApprovalEvidence.objects.alias(place=place).filter(place__gt=0).update(body=b"")
    return emptied
