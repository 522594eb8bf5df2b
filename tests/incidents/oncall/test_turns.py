"""Who has which turn: no hole and no overlap, whatever the clocks do."""

from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incidents.oncall.turns import Layer, Override, Turn, Window, gaps, instant, turn_at, turns

BERLIN = ZoneInfo("Europe/Berlin")
WEEK = timedelta(days=7)
MONDAY_NINE = datetime(2026, 3, 2, 9)  # noqa: DTZ001 (a wall clock's)
ALL_DAYS = frozenset(range(7))
ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham", "Asia/Kolkata", "Africa/Cairo"]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


def test_a_hand_over_on_monday_at_nine_stays_there_when_the_clocks_change() -> None:
    # given people who hand over each Monday at nine in Berlin, where the clocks go forward on 29 March 2026
    layer = Layer(("ada", "ben"), MONDAY_NINE, WEEK)
    # when
    found = turns([layer], [], BERLIN, utc(2026, 3, 23, 8), utc(2026, 4, 13))
    # then the shift with the change is an hour shorter
    assert [(turn.person, turn.starts) for turn in found] == [
        ("ben", utc(2026, 3, 23, 8)),
        ("ada", utc(2026, 3, 30, 7)),
        ("ben", utc(2026, 4, 6, 7)),
    ]
    assert found[0].ends - found[0].starts == WEEK - timedelta(hours=1)


def test_hours_over_midnight_leave_the_gap_that_they_leave() -> None:
    # given a layer for nights only, from Sunday to Friday
    nights = Window(frozenset({0, 1, 2, 3, 4, 6}), time(22), time(6))
    layer = Layer(("ada",), MONDAY_NINE, WEEK, (nights,))
    # when
    found = turns([layer], [], BERLIN, utc(2026, 3, 6, 12), utc(2026, 3, 9))
    # then nobody has Saturday's night, nor the days
    assert [(turn.starts, turn.ends) for turn in gaps(found)] == [
        (utc(2026, 3, 6, 12), utc(2026, 3, 6, 21)),
        (utc(2026, 3, 7, 5), utc(2026, 3, 8, 21)),
    ]


def test_an_override_is_above_all_layers_and_a_later_one_above_an_earlier_one() -> None:
    low = Layer(("ada",), MONDAY_NINE, WEEK)
    high = Layer(("ben",), MONDAY_NINE, WEEK, (Window(ALL_DAYS, time(9), time(17)),))
    first = Override("eve", utc(2026, 3, 3, 9), utc(2026, 3, 3, 12))
    later = Override("kim", utc(2026, 3, 3, 11), utc(2026, 3, 3, 13))
    found = turns([low, high], [first, later], BERLIN, utc(2026, 3, 3, 7), utc(2026, 3, 3, 20))
    assert [(turn.person, turn.starts.hour, turn.layer) for turn in found] == [
        ("ada", 7, 0),
        ("ben", 8, 1),
        ("eve", 9, None),
        ("kim", 11, None),
        ("ben", 13, 1),
        ("ada", 16, 0),
    ]


def test_before_its_first_shift_a_layer_has_nobody() -> None:
    layer = Layer(("ada",), MONDAY_NINE, WEEK)
    assert turns([layer], [], BERLIN, utc(2026, 3, 2, 7), utc(2026, 3, 2, 9)) == [
        Turn("", utc(2026, 3, 2, 7), utc(2026, 3, 2, 8)),
        Turn("ada", utc(2026, 3, 2, 8), utc(2026, 3, 2, 9), 0),
    ]


def test_a_time_that_the_clocks_leap_over_is_the_moment_of_the_leap_by_the_offset_before_it() -> None:
    assert instant(datetime(2026, 3, 29, 2, 30), BERLIN) == utc(2026, 3, 29, 1, 30)  # noqa: DTZ001
    assert instant(datetime(2026, 10, 25, 2, 30), BERLIN) == utc(2026, 10, 25, 0, 30)  # noqa: DTZ001


zones = st.sampled_from(ZONES).map(ZoneInfo)
moments = st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2027, 12, 31)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=UTC)
)
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
windows = st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), times, times)
layers = st.builds(
    Layer,
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=4, unique=True).map(tuple),
    st.datetimes(min_value=datetime(2025, 6, 1), max_value=datetime(2026, 12, 31)),  # noqa: DTZ001
    st.integers(1, 24 * 21).map(lambda hours: timedelta(hours=hours)),
    st.lists(windows, max_size=2).map(tuple),
)
overrides = st.tuples(st.sampled_from("xy"), moments, st.integers(1, 200)).map(
    lambda one: Override(one[0], one[1], one[1] + timedelta(hours=one[2]))
)


@settings(max_examples=60)
@given(zones, st.lists(layers, max_size=3), st.lists(overrides, max_size=2), moments, st.integers(1, 24 * 20))
def test_turns_cover_the_time_without_hole_or_overlap_and_each_moment_agrees(
    zone: ZoneInfo, some: list[Layer], above: list[Override], start: datetime, hours: int
) -> None:
    end = start + timedelta(hours=hours)
    found = turns(some, above, zone, start, end)
    assert (found[0].starts, found[-1].ends) == (start, end)
    assert all(one.ends == other.starts for one, other in pairwise(found))
    assert all(one.starts < one.ends for one in found)
    for turn in found[:12]:
        for moment in (turn.starts, turn.starts + (turn.ends - turn.starts) / 2):
            assert turn_at(some, above, zone, moment).person == turn.person


@settings(max_examples=60)
@given(zones, st.integers(0, 3), st.integers(0, 23), st.integers(1, 14), moments)
def test_each_hand_over_is_at_its_time_of_the_wall_clock_and_people_follow_in_order(
    zone: ZoneInfo, first: int, hour: int, days: int, start: datetime
) -> None:
    layer = Layer(("a", "b", "c", "d")[: first + 1], datetime(2025, 6, 2, hour), timedelta(days=days))  # noqa: DTZ001
    found = turns([layer], [], zone, start, start + timedelta(days=60))
    for one, other in pairwise(found):
        assert layer.people[(layer.people.index(one.person) + 1) % len(layer.people)] == other.person
        wall = other.starts.astimezone(zone)
        leapt = instant(wall.replace(tzinfo=None, hour=hour, minute=0), zone)
        assert other.starts == leapt


def test_a_shift_across_the_change_of_clocks_is_an_hour_longer_in_autumn() -> None:
    layer = Layer(("ada", "ben"), datetime(2026, 10, 24, 20), timedelta(hours=12))  # noqa: DTZ001
    found = turns([layer], [], BERLIN, utc(2026, 10, 24, 18), utc(2026, 10, 25, 19))
    assert [(turn.person, turn.ends - turn.starts) for turn in found] == [
        ("ada", timedelta(hours=13)),
        ("ben", timedelta(hours=12)),
    ]


@pytest.mark.parametrize("zone", ZONES)
def test_what_is_read_of_a_year_is_what_is_read_of_its_days(zone: str) -> None:
    layer = Layer(("a", "b", "c"), datetime(2026, 1, 5, 2, 30), timedelta(hours=36))  # noqa: DTZ001
    start = utc(2026, 1, 1)
    year = turns([layer], [], ZoneInfo(zone), start, start + timedelta(days=365))
    for day in range(60, 365, 7):
        at = start + timedelta(days=day)
        assert turn_at([layer], [], ZoneInfo(zone), at).person == next(
            turn.person for turn in year if turn.starts <= at < turn.ends
        )
