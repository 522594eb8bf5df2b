"""What an iCalendar text (RFC 5545) says about who is on call. No database here."""

import datetime
import re
from dataclasses import dataclass
from typing import Any

import recurring_ical_events
from django.utils.translation import gettext
from icalendar import Calendar

MOST_SHIFTS = 2000
MOST_BYTES = 2**20
# What repeats within a day would make millions of shifts out of one line.
FREQUENCIES = frozenset({"DAILY", "WEEKLY", "MONTHLY", "YEARLY"})
ADDRESS = re.compile(r"[^\s<>:;,]+@[^\s<>:;,]+")


class CalendarUnreadable(ValueError):
    """The text is no calendar that can be used. The message says why."""


@dataclass(frozen=True)
class Duty:
    """One shift. `addresses` are those of the attendees, or the ones named in the title; times are in UTC."""

    title: str
    addresses: tuple[str, ...]
    starts: datetime.datetime
    ends: datetime.datetime


def duties_in(text: str, start: datetime.datetime, end: datetime.datetime) -> list[Duty]:
    """The shifts that touch the time between, in order; what repeats is spread out. A day without times is one in UTC.

    Raises CalendarUnreadable for anything else than a calendar of at most 1 MiB and 2,000 shifts in that time.
    """
    if len(text.encode()) > MOST_BYTES:
        raise CalendarUnreadable(gettext("The calendar is longer than 1 MiB."))
    try:
        calendar = Calendar.from_ical(text)
        _refuse_fast_repeats(calendar)
        found = []
        for event in recurring_ical_events.of(calendar).between(start, end):
            if str(event.get("STATUS", "")).upper() != "CANCELLED":
                found.append(_duty(event))
            if len(found) > MOST_SHIFTS:
                raise CalendarUnreadable(
                    gettext("The calendar has more than %(most_shifts)s shifts in two months.")
                    % {"most_shifts": MOST_SHIFTS}
                )
    except CalendarUnreadable:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise CalendarUnreadable(
            gettext("This is no calendar that can be read: %(error)s.") % {"error": str(error)[:200] or "malformed"}
        ) from error
    return sorted(found, key=lambda duty: (duty.starts, duty.title))


def _refuse_fast_repeats(calendar: Any) -> None:
    events = calendar.walk("VEVENT")
    if calendar.name != "VCALENDAR":
        raise CalendarUnreadable(gettext("This is no calendar: it does not begin with BEGIN:VCALENDAR."))
    for event in events:
        rules = event.get("RRULE", [])
        for rule in rules if isinstance(rules, list) else [rules]:
            if not {str(word).upper() for word in rule.get("FREQ", [])} <= FREQUENCIES:
                raise CalendarUnreadable(gettext("A shift repeats more often than daily."))


def _duty(event: Any) -> Duty:
    title = str(event.get("SUMMARY", "")).strip()[:200]
    attendees = event.get("ATTENDEE", [])
    said = [str(entry) for entry in (attendees if isinstance(attendees, list) else [attendees])]
    addresses = ADDRESS.findall(" ".join(entry.removeprefix("mailto:").removeprefix("MAILTO:") for entry in said))
    starts, ends = _utc(event["DTSTART"].dt), _utc(event["DTEND"].dt)
    return Duty(title, tuple(addresses or ADDRESS.findall(title)), starts, max(starts, ends))


def _utc(moment: datetime.date) -> datetime.datetime:
    if not isinstance(moment, datetime.datetime):
        return datetime.datetime.combine(moment, datetime.time(), datetime.UTC)
    return moment.astimezone(datetime.UTC) if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
