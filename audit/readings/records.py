"""Events with their data, read for a purpose: no leaf, no text, nothing that has to be asked again."""

import datetime
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Func, Q, QuerySet, Value
from django.db.models.fields import BinaryField, IntegerField

from audit.models import AuditEvent, Outcome

COLUMNS = (
    "id", "event_uuid", "occurred_at", "action", "outcome", "actor_kind", "actor", "target_kind", "target_id",
    "incident", "canon",
)  # fmt: skip


@dataclass(frozen=True)
class Recorded:
    """One event. ``data`` is what the action said of itself; ``act`` the act under approval that it was a part of."""

    id: int
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
    act: str = ""

    @property
    def done(self) -> bool:
        return self.outcome == Outcome.SUCCESS

    def text(self, key: str) -> str:
        """A value of the data as text; empty where there is none."""
        value = self.data.get(key)
        return "" if value is None else str(value)


class Within(Func):
    """``position(needle IN haystack)`` of two byte strings."""

    function = "position"
    template = "%(function)s(%(expressions)s)"
    arg_joiner = " IN "
    output_field = IntegerField()


def place_of(needle: bytes) -> Within:
    """Where these bytes stand in an event's record, from 1; 0 where they do not."""
    return Within(Value(needle, output_field=BinaryField()), "canon")


def of_event(event: AuditEvent) -> Recorded:
    """An event that is in memory already."""
    return _recorded([getattr(event, column) for column in COLUMNS])


def read(found: QuerySet[AuditEvent]) -> list[Recorded]:
    """The events in the order of the query."""
    return [_recorded(row) for row in found.values_list(*COLUMNS)]


def _recorded(row: Sequence[Any]) -> Recorded:
    record = json.loads(bytes(row[-1]))
    values: list[Any] = [*row[:-1], record["data"], str(record.get("correlation", {}).get("act", ""))]
    return Recorded(*values)


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
