"""Reading metric points back: as they came, by minutes, by hours."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring import charts
from monitoring.history import Step, read, step_of
from monitoring.models import MetricPoint, MetricSeries
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.series import series_for
from registry.models import Endpoint
from tests.monitoring.world import make_endpoint, make_hosts

pytestmark = pytest.mark.django_db
START = datetime(2026, 11, 20, tzinfo=UTC)


@pytest.fixture
def endpoint() -> Endpoint:
    return make_endpoint()


def write(endpoint: Endpoint, name: str, values: list[float], n: int = 1, host: str = "") -> list[MetricSeries]:
    """A value for each 20 minutes from START on, the first after 20 minutes."""
    of = make_hosts(host)[0] if host else None
    (key,) = series_for(endpoint, {(name, of, "1", ""): ""}).values()
    at = moments([START + timedelta(minutes=20 * (number + 1)) for number in range(len(values))])
    keep(endpoint.pk, Points(np.full(len(values), key), at, np.array(values), np.full(len(values), n)))
    return list(MetricSeries.objects.filter(pk=key))


@pytest.mark.parametrize(
    ("hours", "step"), [(1, Step.WINDOW), (6, Step.WINDOW), (24, Step.FIVE), (48, Step.TEN), (168, Step.HOUR)]
)
def test_the_longer_the_span_the_longer_the_step(hours: int, step: Step) -> None:
    assert step_of(START, START + timedelta(hours=hours)) == step


def test_a_short_span_is_read_point_by_point(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1, 2, 6, 8])
    found = read(series, START + timedelta(minutes=40), START + timedelta(minutes=60))
    assert [(one.at, one.value, one.low, one.high) for one in found] == [
        (START + timedelta(minutes=40), 2, 2, 2), (START + timedelta(minutes=60), 6, 6, 6),
    ]  # fmt: skip


def test_bins_of_minutes_tell_of_windows_what_their_points_tell(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1, 2, 6, 8])
    short, long = (read(series, START, START + timedelta(hours=hours)) for hours in (6, 48))
    assert short == long


def test_an_hour_is_the_mean_by_observations_between_its_lowest_and_highest_value(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1, 2, 6, 8], n=5)
    keep(
        endpoint.pk,
        Points(np.array([series[0].pk]), moments([START + timedelta(minutes=61)]), np.zeros(1), np.ones(1, int)),
    )
    first, second = read(series, START, START + timedelta(hours=100))
    assert (first.at, first.value, first.n, first.low, first.high) == (START + timedelta(hours=1), 3.0, 15, 1.0, 6.0)
    assert (second.value, second.n, second.low, second.high) == (8 * 5 / 6, 6, 0.0, 8.0)


def test_a_long_span_is_read_without_a_single_point(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1, 2, 6, 8])
    MetricPoint.objects.all().delete()
    assert len(read(series, START, START + timedelta(hours=100))) == 2


def test_an_hour_that_has_not_ended_stands_at_the_span_s_end(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1, 2, 6, 8])
    until = START + timedelta(minutes=85)
    assert read(series, until - timedelta(hours=60), until)[-1].at == until


def test_nothing_is_asked_about_no_series(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):
        assert read([], START, START + timedelta(hours=1)) == []


def test_a_week_of_accuracy_is_drawn_by_hours_and_its_intervals_are_of_all_the_hour_s_rows(endpoint: Endpoint) -> None:
    write(endpoint, "rows", [100.0] * 9, n=100)
    write(endpoint, "accuracy", [0.8, 0.7, 0.9] * 3, n=100)
    chart = charts.accuracy(charts.span(endpoint, START, START + timedelta(days=7)))
    low, high, line = chart.figure["data"]
    assert line["x"] == ["2026-11-20T01:00:00", "2026-11-20T02:00:00", "2026-11-20T03:00:00"]
    assert line["y"] == pytest.approx([0.8] * 3)
    assert (low["y"][0], high["y"][0]) == pytest.approx((0.7511, 0.8414), abs=1e-4)
    assert "right, by hour; shaded" in chart.summary
    assert chart.table["columns"][0] == "hour's end, UTC"
    assert chart.table["rows"][0] == ["2026-11-20 03:00:00", "1", "80.0%", "300"]


def test_a_week_of_latency_keeps_its_spikes_in_a_band_behind_the_line(endpoint: Endpoint) -> None:
    write(endpoint, "rows", [100.0] * 6, n=100)
    write(endpoint, "latency_p95_ms", [2.0, 2.0, 50.0, 2.0, 2.0, 2.0], host="gpu-1")
    chart = charts.latency(charts.span(endpoint, START, START + timedelta(days=7)))
    low, high, line, _ = chart.figure["data"]
    assert (low["y"], high["y"], line["y"]) == ([2.0, 2.0], [50.0, 2.0], [18.0, 2.0])
    assert "Lines: means of each hour; shaded: its lowest to highest value." in chart.summary


def test_ninety_days_are_read_by_quarters_of_a_day_that_add_up_their_hours(endpoint: Endpoint) -> None:
    series = write(endpoint, "queue", [1.0] * 18 + [3.0, 5.0, 4.0])
    found = read(series, START, START + timedelta(days=90))
    assert [(one.at, one.value, one.n, one.low, one.high) for one in found] == [
        (START + timedelta(hours=6), 1.0, 18, 1.0, 1.0), (START + timedelta(hours=12), 4.0, 3, 3.0, 5.0),
    ]  # fmt: skip
    assert step_of(START, START + timedelta(days=400)) == Step.DAY
