"""The arithmetic of histories: what was told becomes spans, days, months and a share that never flatters."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.models import ComponentState
from incidents.status_history import (
    HALVES,
    RANK,
    Tally,
    Told,
    days,
    finished_months,
    month_tally,
    share,
    spans,
    tally,
    uptime,
    worst,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
BORN, LENGTH = NOON - timedelta(seconds=200), 200


def told(start: int, end: int | None, state: str) -> Told:
    """In seconds after BORN."""
    return Told(BORN + start * SECOND, None if end is None else BORN + end * SECOND, state)


SAID = st.builds(
    lambda start, length, state: told(start, None if length is None else start + length, state),
    st.integers(-50, 210), st.none() | st.integers(0, 150), st.sampled_from(ComponentState.values),
)  # fmt: skip


def second_by_second(said: list[Told]) -> list[str]:
    """The slow way: the worst state of each second."""
    moments = [BORN + second * SECOND for second in range(LENGTH)]
    return [worst(one.state for one in said if one.start <= at and (one.end is None or at < one.end)) for at in moments]


@given(st.lists(SAID, max_size=6))
@settings(max_examples=150)
def test_spans_and_their_tally_are_those_of_each_second_counted_alone(said: list[Told]) -> None:
    slow = second_by_second(said)
    history = spans(said, born=BORN, now=NOON)
    assert [one.state for one in history for _ in range((one.end - one.start) // SECOND)] == slow
    assert [a.end for a in history[:-1]] == [b.start for b in history[1:]]
    counted = [state for state in slow if state != ComponentState.MAINTENANCE]
    assert tally(history) == Tally(
        len(counted) * 1_000_000, sum(HALVES.get(ComponentState(state), 0) for state in counted) * 1_000_000
    )


@given(st.lists(SAID, max_size=5), SAID)
@settings(max_examples=100)
def test_one_thing_more_that_went_wrong_never_makes_a_moment_look_better_and_order_does_not_count(
    said: list[Told], more: Told
) -> None:
    before, after = second_by_second(said), spans([more, *said], born=BORN, now=NOON)
    seconds = [one.state for one in after for _ in range((one.end - one.start) // SECOND)]
    rank = [RANK[ComponentState(state)] for state in seconds]
    assert all(now >= RANK[ComponentState(then)] for now, then in zip(rank, before, strict=True))
    assert spans([*reversed(said), more], born=BORN, now=NOON) == after


@given(st.integers(1, 10**15), st.integers(0, 2 * 10**15))
def test_a_share_is_never_more_than_it_is_and_less_than_a_thousandth_below_it(known: int, lost: int) -> None:
    lost = min(lost, 2 * known)
    exact = 100 * (1 - Fraction(lost, 2 * known))
    told_share = Fraction(share(Tally(known, lost)).removesuffix(" %"))
    assert 0 <= exact - told_share < Fraction(1, 1000)
    assert (told_share == 100) == (lost == 0)


def test_what_overlaps_counts_as_the_worst_and_is_not_added_up() -> None:
    said = [told(0, 100, "partial_outage"), told(50, 100, "partial_outage"), told(90, 100, "major_outage")]
    assert uptime(spans(said, born=BORN, now=NOON)) == "72.500 %"


def test_states_become_days_with_their_length_and_what_is_not_known_is_not_green() -> None:
    hours = [NOON - back * HOUR for back in (5, 4, 3)]
    said = [Told(hours[0], hours[1], "major_outage"), Told(hours[1], hours[2], "partial_outage")]
    history = spans(said, born=NOON - 24 * HOUR, now=NOON)
    assert [((one.end - one.start) // HOUR, one.state) for one in history] == [
        (19, "operational"), (1, "major_outage"), (1, "partial_outage"), (3, "operational"),
    ]  # fmt: skip
    assert uptime(history) == "93.750 %"
    assert [(day.date.day, day.state, day.label) for day in days(history, now=NOON, count=3)] == [
        (19, "unknown", "no data"), (20, "operational", "operational"), (21, "major_outage", "major outage, 1 h"),
    ]  # fmt: skip


def test_uptime_never_flatters_and_maintenance_does_not_count() -> None:
    born = NOON - timedelta(days=30)
    assert uptime(spans([Told(NOON - SECOND, None, "major_outage")], born=born, now=NOON)) == "99.999 %"
    assert uptime(spans([Told(born, None, "under_maintenance")], born=born, now=NOON)) == ""
    assert uptime([]) == ""


@pytest.mark.parametrize(
    ("born", "now", "months"),
    [
        (NOON, NOON, []),
        (datetime(2026, 10, 31, 23, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC), [date(2026, 10, 1)]),
        (datetime(2025, 12, 5, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC), [date(2025, 12, 1), date(2026, 1, 1)]),
    ],
)
def test_months_that_have_ended_are_those_of_utc(born: Any, now: Any, months: list[date]) -> None:
    assert finished_months(born=born, now=now) == months


def test_months_add_up_to_the_whole() -> None:
    born, now = datetime(2026, 8, 20, tzinfo=UTC), NOON
    said = [Told(datetime(2026, 9, 29, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC), "major_outage")]
    history = spans(said, born=born, now=now)
    firsts = [*finished_months(born=born, now=now), date(2026, 11, 1)]
    total = sum((month_tally(history, first) for first in firsts), Tally(0, 0))
    assert total == tally(history)
    assert month_tally(history, date(2026, 9, 1)).lost == 2 * 2 * 86_400_000_000
