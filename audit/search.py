"""Searching the log: by person, action, object, incident, outcome and time, newest first, page by page.

Pages are cut by the place of their first and last event, never by counting: a page costs the same at any depth, and
nothing ever counts the whole log. Every index of ``audit_event`` that a search uses ends in (occurred_at, id), the
order in which events are shown, so that one index serves filter, span and order together.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.models import Q, QuerySet

from audit import names, private
from audit.models import AuditEvent
from audit.queries import listed

NEWEST_FIRST = ("-occurred_at", "-id")
OLDEST_FIRST = ("occurred_at", "id")
NOBODY = "-"
ROOM = "SET LOCAL work_mem = '48MB'"
WORD = re.compile(r"[a-z0-9]+")
PROGRAM = re.compile(r"(?:svc:|lastgood \()?([a-z0-9_.-]+)\)?", re.IGNORECASE)


@dataclass(frozen=True)
class Filters:
    """What to search for; empty means any.

    ``actor`` is a pseudonym, a program's name or a part of a person's name. ``action`` is an action, a beginning of
    one such as ``approval``, or words that occur in its name. ``target`` is a kind, an id, both with a space between,
    or a person who is acted upon. ``since`` is included, ``until`` is not.
    """

    actor: str = ""
    action: str = ""
    incident: str = ""
    target: str = ""
    outcome: str = ""
    since: datetime.datetime | None = None
    until: datetime.datetime | None = None


@dataclass(frozen=True)
class Place:
    """Where in the order an event stands; text form ``2026-11-21T10:00:00.000001+00:00~17``."""

    occurred_at: datetime.datetime
    id: int

    @classmethod
    def of(cls, event: AuditEvent) -> "Place":
        return cls(event.occurred_at, event.pk)

    @classmethod
    def read(cls, text: str) -> "Place | None":
        """None for what is no place."""
        moment, _, number = text.partition("~")
        try:
            occurred_at = datetime.datetime.fromisoformat(moment)
            place = cls(occurred_at, int(number))
        except ValueError:
            return None
        return place if occurred_at.tzinfo is not None and 0 <= place.id < 2**63 else None

    def __str__(self) -> str:
        return f"{self.occurred_at.isoformat()}~{self.id}"


@dataclass(frozen=True)
class Slice:
    """A page of events, newest first, and the places from which the pages beside it begin (None at the ends)."""

    events: Sequence[AuditEvent]
    newer: Place | None
    older: Place | None

    @property
    def whole(self) -> bool:
        """Whether everything that was found is on this page."""
        return self.newer is None and self.older is None


def events(filters: Filters | None = None) -> QuerySet[AuditEvent]:
    """Events, newest first, with their leaf and reason."""
    found = AuditEvent.objects.select_related("leaf", private.SELECT).order_by(*NEWEST_FIRST)
    return narrowed(found, filters or Filters())


def narrowed(found: QuerySet[AuditEvent], filters: Filters) -> QuerySet[AuditEvent]:
    """Only the events that match."""
    if filters.actor:
        actors = people(filters.actor)
        found = _one_of(found, "actor", actors)
        if all(actor.startswith("svc:") for actor in actors):
            # Known to the planner together with action and outcome, as a single actor is not.
            found = found.filter(actor_kind="service")
    if filters.action:
        found = _one_of(found, "action", actions_like(filters.action))
    if filters.incident:
        found = found.filter(incident=filters.incident)
    if filters.outcome:
        found = found.filter(outcome=filters.outcome)
    if filters.target:
        found = found.filter(_target(filters.target))
    if filters.since:
        found = found.filter(occurred_at__gte=filters.since)
    if filters.until:
        found = found.filter(occurred_at__lt=filters.until)
    return found


def _one_of(found: QuerySet[AuditEvent], column: str, values: Sequence[str]) -> QuerySet[AuditEvent]:
    """One value is asked for as such: only then does the index give the order as well."""
    return found.filter(**({column: values[0]} if len(values) == 1 else {f"{column}__in": values}))


def people(text: str) -> list[str]:
    """The pseudonyms that a name, a part of one, a program's name or a pseudonym stands for; never empty."""
    text = text.strip()
    program = PROGRAM.fullmatch(text)
    named = f"svc:{program[1].lower()}" if program else ""
    programs = [named] if named and AuditEvent.objects.filter(actor=named).exists() else []
    return sorted({*names.find(text), *programs}) or [text or NOBODY]


def actions_like(text: str) -> list[str]:
    """The recorded actions that are meant; never empty."""
    known, text = listed("action"), text.strip().lower().rstrip(".")
    if text in known:
        return [text]
    family = [one for one in known if one.startswith(f"{text}.")]
    if family:
        return family
    wanted = WORD.findall(text)
    return [one for one in known if wanted and all(word in one for word in wanted)] or [text or NOBODY]


def _target(text: str) -> Q:
    text = text.strip()
    kinds = listed("target_kind")
    kind, _, identity = text.partition(" ")
    if identity and kind in kinds:
        return Q(target_kind=kind, target_id__in=[identity.strip(), *names.find(identity)])
    whole = Q(target_id__in=[text, *names.find(text)])
    as_kind = text.lower().replace(" ", "_")
    return whole | Q(target_kind=as_kind) if as_kind in kinds else whole


def page_of(
    found: QuerySet[AuditEvent], size: int, *, before: Place | None = None, after: Place | None = None
) -> Slice:
    """The newest ``size`` events, those just before a place, or those just after one."""
    if after is not None and before is None:
        rows = _fetched(_beyond(found, after, newer=True).order_by(*OLDEST_FIRST), size + 1)
        more, shown = len(rows) > size, rows[:size][::-1]
        return Slice(shown, Place.of(shown[0]) if more else None, Place.of(shown[-1]) if shown else None)
    rows = _fetched(found if before is None else _beyond(found, before, newer=False), size + 1)
    more, shown = len(rows) > size, rows[:size]
    newer = Place.of(shown[0]) if before is not None and shown else None
    return Slice(shown, newer, Place.of(shown[-1]) if more else None)


def _fetched(found: QuerySet[AuditEvent], most: int) -> list[AuditEvent]:
    """The first rows, with room for exact bitmaps of a few indexes over millions of events: without it, two frequent
    criteria that have nothing in common would have the database read half of the log to find nothing."""
    with transaction.atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute(ROOM)
        return list(found[:most])


def _beyond(found: QuerySet[AuditEvent], place: Place, *, newer: bool) -> QuerySet[AuditEvent]:
    at, side = place.occurred_at, "gt" if newer else "lt"
    # The span alone is what an index can use; the rest cuts within the one moment.
    return found.filter(
        Q(**{f"occurred_at__{side}": at}) | Q(occurred_at=at, **{f"id__{side}": place.id}),
        **{f"occurred_at__{side}e": at},
    )
