"""On whose authority something happened, and what happened around it."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext

from audit.models import AuditEvent
from audit.queries import record_of
from audit.readings.changes import DECISIONS, PERFORM, START, Change, act_of, told
from audit.readings.holders import Held, held_by
from audit.readings.records import Recorded, about, of_event, read

BESIDE = 3


@dataclass(frozen=True)
class Authority:
    """What stands behind an event.

    ``change``: the approved run or act that it is a part of. ``decisions``: what was decided on its approval request.
    ``roles``: what the person held at that time. ``program``: whether one of ours did it by itself.
    """

    change: Change | None
    decisions: list[Recorded]
    roles: list[Held]
    program: bool


def authority_of(event: AuditEvent) -> Authority:
    """Found in the log alone: a run by its id, a request by its id, a person's roles by the events that gave them."""
    data = record_of(event)["data"]
    run = str(data.get("run") or (event.target_id if event.target_kind == "run" else ""))
    request = str(data.get("request") or (event.target_id if event.target_kind == "approval_request" else ""))
    starts = about([run], [START])[run] if run else []
    started = next((one for one in starts if one.done), None)
    if started is None and not run:
        started = of_event(event) if event.action == PERFORM else act_of(event)
    change = told([started])[0] if started else None
    decided = change.approvals if change else about([request], DECISIONS)[request] if request else []
    return Authority(
        change=change,
        decisions=[one for one in decided if one.uuid != event.event_uuid],
        roles=held_by(event.actor, event.occurred_at) if event.actor_kind in ("user", "token") else [],
        program=event.actor_kind == "service",
    )


@dataclass(frozen=True)
class Neighbours:
    """The events just before and after, newest first, of what they have in common."""

    title: str
    query: str
    events: list[Recorded]


def around(event: AuditEvent) -> list[Neighbours]:
    """What else happened in the same incident, to the same object and by the same person."""
    kinds: list[tuple[str, str, dict[str, str]]] = []
    if event.incident:
        kinds.append(
            (gettext("In %(incident)s") % {"incident": event.incident}, "incident", {"incident": event.incident})
        )
    kinds.append(
        (gettext("To the same object"), "target", {"target_kind": event.target_kind, "target_id": event.target_id})
    )
    who = gettext("By the same person") if event.actor_kind != "service" else gettext("By the same program")
    kinds.append((who, "actor", {"actor": event.actor}))
    found = []
    for title, name, same in kinds:
        value = f"{event.target_kind} {event.target_id}" if name == "target" else next(iter(same.values()))
        neighbours = list(_beside(event, same))
        if neighbours:
            found.append(Neighbours(title, f"{name}={value}", neighbours))
    return found


def _beside(event: AuditEvent, same: dict[str, str]) -> Iterable[Recorded]:
    others = AuditEvent.objects.filter(**same).exclude(pk=event.pk)
    place, moment = ("incident_seq", event.incident_seq) if "incident" in same else ("occurred_at", event.occurred_at)
    after = read(others.filter(**{f"{place}__gte": moment}).order_by(place, "id")[:BESIDE])
    before = read(others.filter(**{f"{place}__lt": moment}).order_by(f"-{place}", "-id")[:BESIDE])
    return [*reversed(after), *before]


def last_before(event: AuditEvent) -> Recorded | None:
    """The event that said the same of the same object last, which this one replaces."""
    same = {"action": event.action, "target_id": event.target_id, "target_kind": event.target_kind}
    earlier = AuditEvent.objects.filter(**same, outcome="success", occurred_at__lt=event.occurred_at)
    return next(iter(read(earlier.order_by("-occurred_at", "-id")[:1])), None)
