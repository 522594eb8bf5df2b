"""Duties of laws and standards that ask for records or reports, as versioned data.

Each edition is a file of its own, ``audit/duties/YYYY-MM.json``, and is never changed once it was used: what was asked
of an incident is told by the edition that was in force when somebody marked it. It is not legal advice.
"""

import datetime
import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

HERE = Path(__file__).parent
NEWEST = "2026-11"
AT_ONCE = _("at once")


@dataclass(frozen=True)
class Clock:
    """A deadline. It runs from ``starts``: ``awareness``, ``classification`` (when the duty was marked as applying) or
    the id of the clock whose report comes before it. ``months`` are those of the calendar; ``cap_hours`` counts from
    awareness and comes first where it is earlier."""

    id: str
    label: str
    starts: str
    hours: int = 0
    days: int = 0
    months: int = 0
    cap_hours: int = 0

    def due(self, begun: datetime.datetime, aware: datetime.datetime) -> datetime.datetime:
        """When the report is due, for a clock that began at ``begun``."""
        due = _months_later(begun, self.months) + datetime.timedelta(days=self.days, hours=self.hours)
        return min(due, aware + datetime.timedelta(hours=self.cap_hours)) if self.cap_hours else due

    @property
    def allowed(self) -> str:
        """The time that it gives, in words."""
        if self.months:
            return ngettext("%(n)s month", "%(n)s months", self.months) % {"n": self.months}
        if self.days:
            return ngettext("%(n)s day", "%(n)s days", self.days) % {"n": self.days}
        if self.hours:
            return ngettext("%(n)s hour", "%(n)s hours", self.hours) % {"n": self.hours}
        return str(AT_ONCE)


@dataclass(frozen=True)
class Duty:
    """One duty: what it asks, in its own words where they are public, what is recorded for it, and what is not.

    ``checked``: the quote was compared word for word with published copies of the text; ``compared``: with which.
    ``see``: label and path of pages.
    """

    id: str
    source: str
    article: str
    title: str
    asks: str
    deadline: str
    recorded: list[str]
    gaps: list[str]
    quote: str = ""
    checked: bool = False
    compared: str = ""
    url: str = ""
    see: list[list[str]] = field(default_factory=list)
    clocks: list[Clock] = field(default_factory=list)


@dataclass(frozen=True)
class Edition:
    """What was known in a month."""

    edition: str
    note: str
    duties: list[Duty]

    @property
    def clocks(self) -> list[tuple[Duty, Clock]]:
        """Every clock with its duty, in the file's order."""
        return [(duty, clock) for duty in self.duties for clock in duty.clocks]

    def clock(self, identity: str) -> tuple[Duty, Clock]:
        """Raises KeyError for an unknown one."""
        for duty, clock in self.clocks:
            if clock.id == identity:
                return duty, clock
        raise KeyError(identity)


@cache
def load(edition: str = NEWEST) -> Edition:
    """One edition. Raises FileNotFoundError for one that there is not."""
    body: dict[str, Any] = json.loads((HERE / f"{edition}.json").read_text(encoding="utf-8"))
    duties = [Duty(**{**one, "clocks": [Clock(**clock) for clock in one.get("clocks", [])]}) for one in body["duties"]]
    return Edition(body["edition"], body["note"], duties)


def _months_later(moment: datetime.datetime, months: int) -> datetime.datetime:
    """The same day of a later month, or its last day where it is shorter."""
    year, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + year, month=month + 1, day=1)
    following = (first + datetime.timedelta(days=32)).replace(day=1)
    return first.replace(day=min(moment.day, (following - datetime.timedelta(days=1)).day))
