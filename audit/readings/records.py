"""Events with their data, read for a purpose: no leaf, no text, nothing that has to be asked again."""

import datetime
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from audit.models import AuditEvent, Outcome

COLUMNS = (
    "id", "xid", "event_uuid", "occurred_at", "action", "outcome", "actor_kind", "actor", "target_kind", "target_id",
    "incident", "canon",
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """One event. ``data`` is what the action said of itself; events of one transaction have the same ``xid``."""

    id: int
    xid: int
    uuid: uuid.UUID
    at: datetime.datetime
    action: str
    outcome: str
    actor_kind: str
    actor: str
    target_kind: str
    target: str
    incident: str
    data: dict[str, Any]

    @property
    def done(self) -> bool:
        return self.outcome == Outcome.SUCCESS

    def text(self, key: str) -> str:
        """A value of the data as text; empty where there is none."""
        value = self.data.get(key)
        return "" if value is None else str(value)


def of_event(event: AuditEvent) -> Recorded:
    """An event that is in memory already."""
    *columns, canon = (getattr(event, column) for column in COLUMNS)
    return Recorded(*columns, json.loads(bytes(canon))["data"])


def read(found: QuerySet[AuditEvent]) -> list[Recorded]:
    """The events in the order of the query."""
    return [Recorded(*row[:-1], json.loads(bytes(row[-1]))["data"]) for row in found.values_list(*COLUMNS).iterator()]


def oldest_first(*conditions: Q, **filters: Any) -> list[Recorded]:
    """The events that match, in the order in which they happened."""
    return read(AuditEvent.objects.filter(*conditions, **filters).order_by("occurred_at", "id"))


def about(targets: Iterable[str], actions: Iterable[str]) -> dict[str, list[Recorded]]:
    """The events of these actions on each of the objects, oldest first, in one query."""
    wanted = sorted({target for target in targets if target})
    found: dict[str, list[Recorded]] = {target: [] for target in wanted}
    if wanted:
        for event in oldest_first(target_id__in=wanted, action__in=list(actions)):
            found[event.target].append(event)
    return found


def moment_of(value: object) -> datetime.datetime | None:
    """An instant that an event's data holds as text; None for anything else."""
    try:
        moment = datetime.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
