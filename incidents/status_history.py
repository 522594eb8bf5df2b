"""The history of a component as spans of one state each, by day, by month and as uptime. Pure functions of what was
told. The arithmetic: an overlap counts as the worst that was told (never as a sum), a partial outage counts half,
degraded and quality count nothing, maintenance is left out of the time that counts, what is not known is not counted,
and shares are rounded down."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise

from django.utils.translation import gettext

from incidents.models import ComponentState

DAYS = 45
RANK = {
    ComponentState.OPERATIONAL: 0,
    ComponentState.MAINTENANCE: 1,
    ComponentState.DEGRADED: 2,
    ComponentState.PARTIAL_OUTAGE: 3,
    ComponentState.MAJOR_OUTAGE: 4,
}
HALVES = {ComponentState.MAJOR_OUTAGE: 2, ComponentState.PARTIAL_OUTAGE: 1}
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Told:
    """What one incident or maintenance said of a component from `start` until `end`; None while it still says so."""

    start: datetime
    end: datetime | None
    state: str


@dataclass(frozen=True)
class Span:
    """From `start` until `end` the component was in `state`."""

    start: datetime
    end: datetime
    state: str


@dataclass(frozen=True)
class Tally:
    """Microseconds that count, and twice the weighted ones of outage among them, so that both are whole numbers."""

    known: int
    lost: int

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.known + other.known, self.lost + other.lost)


@dataclass(frozen=True)
class Day:
    """One UTC day; `state` is the worst that was told on it, "unknown" where nothing is known."""

    date: date
    state: str
    label: str


def worst(states: Iterable[str]) -> str:
    """The worst of the states; operational where there are none."""
    told = [ComponentState(state) for state in states]
    return str(max(told, key=RANK.__getitem__, default=ComponentState.OPERATIONAL))


def spans(told: Iterable[Told], *, born: datetime, now: datetime) -> list[Span]:
    """The component's states from `born` until `now`, each as long as it lasted. Where several things were told at
    once the worst counts; where nothing was told it was operational."""
    cut = [Span(max(one.start, born), min(one.end or now, now), one.state) for one in told]
    cut = [one for one in cut if one.start < one.end]
    edges = sorted({born, now, *(one.start for one in cut), *(one.end for one in cut)})
    found: list[Span] = []
    for start, end in pairwise(edges):
        state = worst(one.state for one in cut if one.start <= start and one.end >= end)
        if found and found[-1].state == state:
            found[-1] = Span(found[-1].start, end, state)
        else:
            found.append(Span(start, end, state))
    return found


def between(history: Iterable[Span], start: datetime, end: datetime) -> list[Span]:
    """The part of the history that lies between two moments."""
    cut = (Span(max(one.start, start), min(one.end, end), one.state) for one in history)
    return [one for one in cut if one.start < one.end]


def tally(history: Iterable[Span]) -> Tally:
    counted = [one for one in history if one.state != ComponentState.MAINTENANCE]
    return Tally(
        sum((one.end - one.start) // MICROSECOND for one in counted),
        sum(HALVES.get(ComponentState(one.state), 0) * ((one.end - one.start) // MICROSECOND) for one in counted),
    )


def share(counted: Tally) -> str:
    """The share of time without outage with three decimals, rounded down so that it never flatters; "" where nothing
    is known."""
    if not counted.known:
        return ""
    thousandths = int((1 - Fraction(counted.lost, 2 * counted.known)) * 100_000)
    return f"{thousandths // 1000}.{thousandths % 1000:03} %"


def uptime(history: list[Span], *, since: datetime | None = None) -> str:
    """The share of the history without outage, or of its part from a moment on."""
    if since is not None and history:
        history = between(history, since, history[-1].end)
    return share(tally(history))


def first_day(now: datetime, count: int = DAYS) -> datetime:
    """The beginning of the oldest of the last `count` UTC days."""
    return midnight(now.astimezone(UTC).date() - timedelta(days=count - 1))


def midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def days(history: list[Span], *, now: datetime, count: int = DAYS) -> list[Day]:
    """The last `count` UTC days, oldest first, each with the worst state of its spans."""
    today = now.astimezone(UTC).date()
    return [_day(history, today - timedelta(days=back)) for back in reversed(range(count))]


def _day(history: list[Span], day: date) -> Day:
    seen = between(history, midnight(day), midnight(day + timedelta(days=1)))
    if not seen:
        return Day(day, "unknown", gettext("no data"))
    state = ComponentState(worst(one.state for one in seen))
    label = str(state.label).lower()
    if state == ComponentState.OPERATIONAL:
        return Day(day, state, label)
    lasted = sum((one.end - one.start for one in seen if one.state == state), timedelta())
    return Day(day, state, f"{label}, {_minutes(lasted)}")


def _minutes(lasted: timedelta) -> str:
    minutes = max(1, -(-lasted // timedelta(minutes=1)))
    hours, rest = divmod(minutes, 60)
    said = gettext("%(hours)s h %(rest)s min") if hours and rest else gettext("%(hours)s h")
    return (said if hours else gettext("%(rest)s min")) % {"hours": hours, "rest": rest}


def month_of(moment: datetime) -> date:
    return moment.astimezone(UTC).date().replace(day=1)


def next_month(first: date) -> date:
    return (first + timedelta(days=32)).replace(day=1)


def month_tally(history: list[Span], first: date) -> Tally:
    """What counts of one month, given by its first day."""
    return tally(between(history, midnight(first), midnight(next_month(first))))


def finished_months(*, born: datetime, now: datetime) -> list[date]:
    """The months that have ended since the component is known, oldest first."""
    found, month = [], month_of(born)
    while month < month_of(now):
        found.append(month)
        month = next_month(month)
    return found
