"""The history of a component as spans of one state each, by day, and as uptime. Pure functions of what was told."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction

from incidents.models import ComponentState

DAYS = 45
RANK = {
    ComponentState.OPERATIONAL: 0,
    ComponentState.MAINTENANCE: 1,
    ComponentState.DEGRADED: 2,
    ComponentState.PARTIAL_OUTAGE: 3,
    ComponentState.MAJOR_OUTAGE: 4,
}
DOWN = {ComponentState.MAJOR_OUTAGE: Fraction(1), ComponentState.PARTIAL_OUTAGE: Fraction(1, 2)}


@dataclass(frozen=True)
class Span:
    """From `start` until `end` the component was in `state`."""

    start: datetime
    end: datetime
    state: str


@dataclass(frozen=True)
class Day:
    """One UTC day; `state` is the worst that was told on it, "unknown" where nothing is known."""

    date: date
    state: str
    label: str


def spans(changes: Iterable[tuple[datetime, str]], *, born: datetime, now: datetime) -> list[Span]:
    """The component's states from `born` until `now`. `changes` are (time, state told), in any order."""
    found: list[Span] = []
    start, state = born, str(ComponentState.OPERATIONAL)
    for at, told in sorted(changes):
        if at > start:
            found.append(Span(start, at, state))
        start, state = max(start, at), told
    if now > start:
        found.append(Span(start, now, state))
    return found


def days(history: list[Span], *, now: datetime, count: int = DAYS) -> list[Day]:
    """The last `count` UTC days, oldest first, each with the worst state of its spans."""
    today = now.astimezone(UTC).date()
    return [_day(history, today - timedelta(days=back)) for back in reversed(range(count))]


def _day(history: list[Span], day: date) -> Day:
    begin = datetime.combine(day, time.min, UTC)
    end = begin + timedelta(days=1)
    seen = [span.state for span in history if span.start < end and span.end > begin]
    if not seen:
        return Day(day, "unknown", "no data")
    worst = ComponentState(max(seen, key=lambda state: RANK[ComponentState(state)]))
    return Day(day, worst, str(worst.label).lower())


def uptime(history: list[Span]) -> str:
    """The share of known time without outage, as text with three decimals, rounded down so that it never flatters;
    a partial outage counts half, maintenance not at all. Empty where nothing is known."""
    counted = [span for span in history if span.state != ComponentState.MAINTENANCE]
    known = sum((span.end - span.start for span in counted), timedelta())
    if not known:
        return ""
    lost = sum(DOWN.get(ComponentState(span.state), Fraction(0)) * _micros(span) for span in counted)
    whole = known // timedelta(microseconds=1)
    thousandths = math.floor((1 - Fraction(lost, whole)) * 100_000)
    return f"{thousandths // 1000}.{thousandths % 1000:03} %"


def _micros(span: Span) -> int:
    return (span.end - span.start) // timedelta(microseconds=1)
