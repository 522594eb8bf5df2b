from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from monitoring.charts import Span

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


def at(minute):
    return START + timedelta(minutes=minute)


def points(*minutes):
    return [SimpleNamespace(at=at(minute)) for minute in minutes]


def test_a_version_that_did_not_answer_for_some_windows_leaves_a_gap():
    over = Span(None, at(0), at(60), {at(minute): "1" for minute in range(0, 60, 5)})

    parts = over.stretches(points(0, 5, 10, 40, 45))

    assert [[point.at for point in part] for part in parts] == [[at(0), at(5), at(10)], [at(40), at(45)]]


def test_windows_without_any_traffic_are_no_gap_of_one_version():
    over = Span(None, at(0), at(60), {at(0): "1", at(5): "1", at(40): "1"})

    assert len(over.stretches(points(0, 5, 40))) == 1
