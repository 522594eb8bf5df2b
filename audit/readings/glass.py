"""Uses of break-glass, each with the review that it owes."""

import datetime
from dataclasses import dataclass

from audit.models import AuditEvent
from audit.readings.records import Recorded, about, moment_of, oldest_first, place_of, read

USED, REVIEWED = "approval.break_glass", "approval.break_glass.review"
BROKEN = b'"break_glass":true'


@dataclass(frozen=True)
class Use:
    """One use: what was done under it, its review, and until when that was owed."""

    event: Recorded
    review: Recorded | None
    starts: list[Recorded]
    due: datetime.datetime | None
    limit: datetime.datetime | None

    def state_at(self, moment: datetime.datetime) -> str:
        """reviewed, reviewed late, owed, overdue (nothing was reviewed in time)."""
        if self.review is not None:
            return "reviewed late" if self.due and self.review.at > self.due else "reviewed"
        return "overdue" if self.due and self.due <= moment else "owed"


def uses(since: datetime.datetime | None = None, until: datetime.datetime | None = None) -> list[Use]:
    """The uses in a span, the newest first."""
    span = ({"occurred_at__gte": since} if since else {}) | ({"occurred_at__lt": until} if until else {})
    found = oldest_first(action=USED, outcome="success", **span)
    requests = [event.text("request") or event.target for event in found]
    reviews = about(requests, [REVIEWED])
    started = _started(min((event.at for event in found), default=None))
    return [
        Use(
            event=event,
            review=next((one for one in reviews.get(request, []) if one.done), None),
            starts=[one for one in started if one.text("plan_hash") == event.text("subject_hash")],
            due=moment_of(event.data.get("review_due")),
            limit=moment_of(event.data.get("review_limit")),
        )
        for event, request in reversed(list(zip(found, requests, strict=True)))
    ]


def _started(since: datetime.datetime | None) -> list[Recorded]:
    """The runs that were started by break-glass from then on."""
    if since is None:
        return []
    starts = AuditEvent.objects.filter(action="rollback.run.start", outcome="success", occurred_at__gte=since)
    return read(starts.alias(told=place_of(BROKEN)).filter(told__gt=0).order_by("occurred_at", "id"))
