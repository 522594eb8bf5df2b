"""Who held which role, since when, by whose word: from the log's events on roles and loans of roles."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from audit.queries import listed
from audit.readings.records import Recorded, moment_of, oldest_first

APPROVING = ("administrator", "approver", "commander")
FAMILIES = ("role.", "delegation.")
ERASED = "subject.erase"
PROGRAM, TWO, LENT = _("given by a program"), _("proposed and confirmed"), "lent"


@dataclass(frozen=True)
class Held:
    """That ``user`` holds ``role`` within ``scope`` ({} is everywhere) from ``since`` to ``until`` (None: open).

    ``ref`` is the grant's or the loan's id. ``since`` is None for what was proposed and never confirmed. ``events`` are
    those that say so, the oldest first.
    """

    ref: str
    user: str
    role: str
    how: str
    scope: dict[str, Any]
    said_at: datetime.datetime
    since: datetime.datetime | None
    until: datetime.datetime | None = None
    proposer: str = ""
    by: str = ""
    grant: str = ""
    refused: bool = False
    events: list[Recorded] = field(default_factory=list)

    def state_at(self, moment: datetime.datetime) -> str:
        """counts, resting, proposed, refused, ended, or "" before anybody said so."""
        if moment < self.said_at:
            return ""
        if self.until is not None and self.until <= moment:
            return "refused" if self.refused else "ended"
        if self.since is None:
            return "proposed"
        return "counts" if self.since <= moment else "resting"

    @property
    def where(self) -> str:
        """The scope in words."""
        limits = [f"{kind} {', '.join(map(str, names))}" for kind, names in self.scope.items() if names]
        return " and ".join(limits) or "everywhere"


def holdings(upto: datetime.datetime | None = None) -> list[Held]:
    """All that the log says of roles, or what it had said by a moment; the newest first."""
    actions = [action for action in listed("action") if action.startswith(FAMILIES) or action == ERASED]
    limit = {} if upto is None else {"occurred_at__lte": upto}
    known: dict[str, Held] = {}
    for event in oldest_first(action__in=actions, outcome="success", **limit):
        _take(known, event)
    return sorted(known.values(), key=lambda held: held.said_at, reverse=True)


def held_by(user: str, moment: datetime.datetime, roles: Sequence[str] = ()) -> list[Held]:
    """What counted for a person at a moment, by what had been recorded until then."""
    found = [held for held in holdings(moment) if held.user == user and held.state_at(moment) == "counts"]
    return [held for held in found if not roles or held.role in roles]


def _take(known: dict[str, Held], event: Recorded) -> None:
    data = event.data
    if event.action in ("role.grant", "role.propose", "role.confirm", "delegation.create"):
        held = _new(event)
        before = known.get(held.ref)
        known[held.ref] = replace(held, events=[*(before.events if before else []), event])
    elif event.action == "role.refuse":
        _end(known, event, lambda held: held.ref == str(data.get("grant")), refused=True)
    elif event.action == "role.end":
        grant, user, role = str(data.get("grant", "")), str(data.get("user") or event.target), str(data.get("role"))
        _end(
            known,
            event,
            lambda held: held.ref == grant or held.grant == grant if grant else (held.user, held.role) == (user, role),
        )
    elif event.action == "delegation.end":
        _end(known, event, lambda held: held.ref == str(data.get("delegation")))
    elif event.action == ERASED:
        _end(known, event, lambda held: held.user == event.target)


def _new(event: Recorded) -> Held:
    data, user = event.data, str(event.data.get("user") or event.target)
    role = str(data.get("role", ""))
    common: dict[str, Any] = {"role": role, "scope": data.get("scope") or {}, "said_at": event.at}
    if event.action == "delegation.create":
        starts, ends = moment_of(data.get("starts")) or event.at, moment_of(data.get("ends"))
        lent: dict[str, Any] = {
            "ref": str(data.get("delegation")),
            "user": str(data.get("to")),
            "how": LENT,
            "by": str(data.get("from")),
        }
        return Held(**lent, **common, since=starts, until=ends, grant=str(data.get("grant", "")))
    ref, counts = str(data.get("grant") or f"{user} {role}"), moment_of(data.get("counts_from")) or event.at
    if event.action == "role.grant":
        how = str(PROGRAM) if event.actor_kind == "service" else gettext("given by one administrator")
        return Held(ref=ref, user=user, how=how, by=event.actor, since=counts, **common)
    if event.action == "role.propose":
        proposer = str(data.get("proposer") or event.actor)
        return Held(ref=ref, user=user, how=str(TWO), proposer=proposer, since=None, **common)
    proposer, by = str(data.get("proposer", "")), str(data.get("by") or event.actor)
    return Held(ref=ref, user=user, how=str(TWO), proposer=proposer, by=by, since=counts, **common)


def _end(known: dict[str, Held], event: Recorded, ends: Any, *, refused: bool = False) -> None:
    for ref, held in known.items():
        if ends(held) and (held.until is None or held.until > event.at):
            known[ref] = replace(held, until=event.at, refused=refused, events=[*held.events, event])
