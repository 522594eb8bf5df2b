"""Who has which turn: layers of people who hand over to each other, with overrides above them. No database here.

Hand-overs are moments of a wall clock: the k-th is `begins` plus k times the shift's length on the clock that hangs in
the team's office, so that "Monday 09:00" stays Monday 09:00 when the clocks change, and the shift in which they do is
an hour shorter or longer. A time that the clocks leap over is the moment right after the leap by the offset before it;
one that comes twice is the first of the two (PEP 495, fold 0).
"""

import datetime
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from zoneinfo import ZoneInfo

UTC = datetime.UTC
DAY = datetime.timedelta(days=1)
SHORTEST = datetime.timedelta(hours=1)
LONGEST = datetime.timedelta(days=92)
INSTANT = datetime.timedelta(microseconds=1)


@dataclass(frozen=True)
class Window:
    """Hours in which a layer counts: from one time to another of the wall clock, on these weekdays (Monday is 0). Where
    `until` is not later than `start`, it is on the next day."""

    days: frozenset[int]
    start: datetime.time
    until: datetime.time


@dataclass(frozen=True)
class Layer:
    """People who take turns of the same length; the first one's begins at `begins`, a time without a zone. Without
    windows it counts at all hours."""

    people: tuple[str, ...]
    begins: datetime.datetime
    length: datetime.timedelta
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True)
class Override:
    """One person for another, between two moments. Later ones in a list cover earlier ones."""

    person: str
    starts: datetime.datetime
    ends: datetime.datetime


@dataclass(frozen=True)
class Turn:
    """From when to when one person is on call, in UTC; `person` is empty in a gap. `layer`: its place, from 0 for the
    lowest; None for an override and in a gap."""

    person: str
    starts: datetime.datetime
    ends: datetime.datetime
    layer: int | None = None


def instant(wall: datetime.datetime, zone: ZoneInfo) -> datetime.datetime:
    """The moment at which the wall clock shows this."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def shifts(
    layer: Layer, zone: ZoneInfo, start: datetime.datetime, end: datetime.datetime
) -> Iterator[tuple[str, datetime.datetime, datetime.datetime]]:
    """Each shift of a layer that touches the time between, whatever the hours in which the layer counts."""
    if not layer.people:
        return
    wall = start.astimezone(zone).replace(tzinfo=None)
    number = max(0, (wall - layer.begins) // layer.length - 1)
    while number and instant(layer.begins + number * layer.length, zone) > start:
        number -= 1
    begins = instant(layer.begins + number * layer.length, zone)
    while begins < end:
        ends = instant(layer.begins + (number + 1) * layer.length, zone)
        if ends > start and ends > begins:
            yield layer.people[number % len(layer.people)], begins, ends
        number, begins = number + 1, max(begins, ends)


def hours(
    layer: Layer, zone: ZoneInfo, start: datetime.datetime, end: datetime.datetime
) -> Iterator[tuple[datetime.datetime, datetime.datetime]]:
    """The spans between `start` and `end` in which the layer counts."""
    if not layer.windows:
        yield start, end
        return
    day = start.astimezone(zone).date() - DAY
    last = end.astimezone(zone).date()
    while day <= last:
        for window in layer.windows:
            if day.weekday() in window.days:
                over = day + DAY if window.until <= window.start else day
                opens = instant(datetime.datetime.combine(day, window.start), zone)
                closes = instant(datetime.datetime.combine(over, window.until), zone)
                if max(opens, start) < min(closes, end):
                    yield max(opens, start), min(closes, end)
        day += DAY


def turns(
    layers: Sequence[Layer],
    overrides: Iterable[Override],
    zone: ZoneInfo,
    start: datetime.datetime,
    end: datetime.datetime,
) -> list[Turn]:
    """Who is on call from `start` until `end`, without a hole: a gap is a turn of nobody. Where several layers count,
    the highest one does; an override is above all of them."""
    found: list[tuple[int, Turn]] = []
    for place, layer in enumerate(layers):
        for opens, closes in hours(layer, zone, start, end):
            for person, begins, ends in shifts(layer, zone, opens, closes):
                found.append((place, Turn(person, max(begins, opens), min(ends, closes), place)))
    for number, one in enumerate(overrides):
        if one.starts < end and one.ends > start:
            found.append((len(layers) + number, Turn(one.person, max(one.starts, start), min(one.ends, end))))
    return _flat(found, start, end)


def _flat(found: list[tuple[int, Turn]], start: datetime.datetime, end: datetime.datetime) -> list[Turn]:
    """The uppermost turn of each span; neighbours of the same person and layer are one."""
    edges = sorted({start, end, *(at for _, turn in found for at in (turn.starts, turn.ends))})
    flat: list[Turn] = []
    for begins, ends in pairwise(edges):
        covering = [(rank, turn) for rank, turn in found if turn.starts <= begins and turn.ends >= ends]
        top = max(covering, key=lambda one: one[0])[1] if covering else Turn("", begins, ends)
        before = flat[-1] if flat else None
        if before is not None and (before.person, before.layer) == (top.person, top.layer):
            flat[-1] = Turn(before.person, before.starts, ends, before.layer)
        else:
            flat.append(Turn(top.person, begins, ends, top.layer))
    return flat


def turn_at(layers: Sequence[Layer], overrides: Iterable[Override], zone: ZoneInfo, moment: datetime.datetime) -> Turn:
    """The turn at one moment, cut to an instant."""
    return turns(layers, overrides, zone, moment, moment + INSTANT)[0]


def gaps(found: Iterable[Turn]) -> list[Turn]:
    """The turns of nobody."""
    return [turn for turn in found if not turn.person]
