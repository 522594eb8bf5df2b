"""Who is on call, now or at another moment, by the turns that are kept here."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext

from accounts.models import User
from audit.clock import database_now
from incidents.oncall import turns
from incidents.oncall.models import Override, Rotation
from incidents.oncall.turns import Turn

AHEAD = datetime.timedelta(days=28)


def rotations() -> QuerySet[Rotation]:
    """Those in use, with their `covers`: the overrides that were not taken back, the earliest made first."""
    counted = Override.objects.filter(removed_at=None).select_related("user").order_by("pk")
    return Rotation.objects.filter(retired_at=None).prefetch_related(
        Prefetch("overrides", queryset=counted, to_attr="covers")
    )


def layers_of(stored: Sequence[dict[str, Any]]) -> list[turns.Layer]:
    """The layers that a rotation keeps as JSON. Raises ValueError, KeyError and TypeError for what is none."""
    return [
        turns.Layer(
            people=tuple(one["people"]),
            begins=datetime.datetime.fromisoformat(one["begins"]),
            length=datetime.timedelta(hours=one["hours"]),
            windows=tuple(
                turns.Window(
                    frozenset(window["days"]),
                    datetime.time.fromisoformat(window["start"]),
                    datetime.time.fromisoformat(window["until"]),
                )
                for window in one.get("windows", [])
            ),
        )
        for one in stored
    ]


def _parts(rotation: Rotation) -> tuple[list[turns.Layer], list[turns.Override], ZoneInfo]:
    covers = getattr(rotation, "covers", None)
    if covers is None:
        covers = rotation.overrides.filter(removed_at=None).select_related("user").order_by("pk")
    above = [turns.Override(one.user.pseudonym, one.starts, one.ends) for one in covers]
    return layers_of(rotation.layers), above, ZoneInfo(rotation.zone)


def turns_of(rotation: Rotation, start: datetime.datetime, end: datetime.datetime) -> list[Turn]:
    """Its turns from `start` until `end`, gaps among them. Persons are pseudonyms."""
    layers, above, zone = _parts(rotation)
    return turns.turns(layers, above, zone, start, end)


def on_call(rotation: Rotation, moment: datetime.datetime) -> str:
    """The pseudonym of who is on call at the moment; empty where nobody is."""
    layers, above, zone = _parts(rotation)
    return turns.turn_at(layers, above, zone, moment).person


def people_of_team(team: str, moment: datetime.datetime) -> list[int]:
    """The keys of the people who have a turn in any rotation of the team."""
    named = {on_call(rotation, moment) for rotation in rotations().filter(team=team)} - {""}
    return list(User.objects.filter(pseudonym__in=named).values_list("pk", flat=True)) if named else []


@dataclass(frozen=True)
class Shown:
    """A turn for people: `person` is None in a gap, and where the pseudonym is nobody's who is active."""

    turn: Turn
    person: User | None
    zone: ZoneInfo

    @property
    def is_gap(self) -> bool:
        return self.person is None

    @property
    def starts(self) -> datetime.datetime:
        return self.turn.starts.astimezone(self.zone)

    @property
    def ends(self) -> datetime.datetime:
        return self.turn.ends.astimezone(self.zone)

    @property
    def sentence(self) -> str:
        """Such as `Nobody from Sat 22 Nov 22:00 to Sun 23 Nov 06:00`."""
        return gettext("%(person)s from %(starts)s to %(ends)s") % {
            "person": self.person or "Nobody",
            "starts": f"{self.starts:%a %d %b %H:%M}",
            "ends": f"{self.ends:%a %d %b %H:%M}",
        }


@dataclass(frozen=True)
class Plan:
    """What a rotation says of the weeks ahead, from `now`."""

    rotation: Rotation
    now: datetime.datetime
    shown: list[Shown]

    @property
    def current(self) -> Shown:
        return self.shown[0]

    @property
    def next(self) -> Shown | None:
        return self.shown[1] if len(self.shown) > 1 else None

    @property
    def gaps(self) -> list[Shown]:
        return [one for one in self.shown if one.is_gap]


def plans(found: Iterable[Rotation], *, ahead: datetime.timedelta = AHEAD) -> list[Plan]:
    """The weeks ahead of each rotation; two queries for any number of prefetched ones."""
    now = database_now()
    spread = [(rotation, turns_of(rotation, now, now + ahead)) for rotation in found]
    named = {turn.person for _, theirs in spread for turn in theirs}
    people = {user.pseudonym: user for user in User.objects.filter(pseudonym__in=named, is_active=True)}
    return [
        Plan(rotation, now, [Shown(turn, people.get(turn.person), ZoneInfo(rotation.zone)) for turn in theirs])
        for rotation, theirs in spread
    ]
