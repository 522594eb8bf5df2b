"""Metric points and their rollups, against rollups that are counted anew from every point."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from monitoring import sketch
from monitoring.models import MetricHour, MetricMinute, MetricPoint
from monitoring.points import keep, moments
from monitoring.rollups import HOUR, Points, combined, latest, minutes
from monitoring.series import series_for
from registry.models import Endpoint
from tests.monitoring.world import make_endpoint

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def endpoint() -> Endpoint:
    return make_endpoint()


def series(endpoint: Endpoint, *names: str) -> list[int]:
    return list(series_for(endpoint, {(name, None, "", ""): "" for name in names}).values())


def points(*rows: tuple[int, float, float, int]) -> Points:
    """Points of (series, seconds after noon, value, n)."""
    keys, seconds, values, counts = zip(*rows, strict=True)
    at = moments([NOON + timedelta(seconds=second) for second in seconds])
    return Points(np.array(keys), at, np.array(values, float), np.array(counts))


def stored(model: Any) -> list[tuple[Any, ...]]:
    """Every rollup; sums, whose last digit depends on the order, to nine digits."""
    names = ["series_id", "bin", "count", "n", "low", "high", "total", "weighted", "last", "last_at", "sketch"]
    rows = model.objects.order_by("series_id", "bin").values_list(*names)
    return [(*row[:6], float(f"{row[6]:.9g}"), float(f"{row[7]:.9g}"), *row[8:10], bytes(row[10])) for row in rows]


def counted_anew() -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    rows = list(MetricPoint.objects.order_by("series_id", "at").values_list("series_id", "at", "value", "n"))
    keys, at, values, counts = zip(*rows, strict=True)
    found = minutes(Points(np.array(keys), moments(at), np.array(values), np.array(counts)))
    return as_stored(found), as_stored(combined([found], HOUR))


def as_stored(found: Any) -> list[tuple[Any, ...]]:
    def moment(us: int) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))

    return [
        (int(found.series[i]), moment(found.bin[i]), int(found.count[i]), int(found.n[i]), float(found.low[i]),
         float(found.high[i]), float(f"{found.total[i]:.9g}"), float(f"{found.weighted[i]:.9g}"), float(found.last[i]),
         moment(found.last_at[i]), found.sketches[i])
        for i in range(len(found))
    ]  # fmt: skip


def test_a_minute_and_an_hour_hold_what_their_points_come_to(endpoint: Endpoint) -> None:
    (one,) = series(endpoint, "queue")
    keep(endpoint.pk, points((one, 1, 3.0, 2), (one, 60, -1.0, 1), (one, 61, 8.0, 5)))
    first, second = MetricMinute.objects.order_by("bin")
    assert (first.bin, first.count, first.n, first.low, first.high, first.total) == (
        NOON + timedelta(minutes=1), 2, 3, -1.0, 3.0, 2.0,
    )  # fmt: skip
    assert (first.weighted, first.last, first.last_at) == (5.0, -1.0, NOON + timedelta(minutes=1))
    assert (second.bin, second.count, second.last) == (NOON + timedelta(minutes=2), 1, 8.0)
    hour = MetricHour.objects.get()
    assert (hour.bin, hour.count, hour.n, hour.low, hour.high) == (NOON + timedelta(hours=1), 3, 8, -1.0, 8.0)
    assert (hour.total, hour.weighted, hour.last) == (10.0, 45.0, 8.0)
    assert sketch.quantile(bytes(hour.sketch), 0.5) == pytest.approx(3.0, rel=sketch.ACCURACY)


def test_a_point_at_a_full_minute_ends_the_minute_before_it(endpoint: Endpoint) -> None:
    (one,) = series(endpoint, "queue")
    keep(endpoint.pk, points((one, 0, 1.0, 1), (one, 3600, 1.0, 1)))
    assert list(MetricMinute.objects.order_by("bin").values_list("bin", flat=True)) == [NOON, NOON + timedelta(hours=1)]
    assert list(MetricHour.objects.order_by("bin").values_list("bin", flat=True)) == [NOON, NOON + timedelta(hours=1)]


def test_points_may_come_in_any_order_and_parts_late_and_again(endpoint: Endpoint) -> None:
    rng = np.random.default_rng(3)
    keys = series(endpoint, "a", "b", "c")
    sent: list[tuple[int, float, float, int]] = []
    for _ in range(12):
        fresh = [
            (int(rng.choice(keys)), int(rng.integers(0, 8000)), float(rng.normal() * 10), int(rng.integers(1, 9)))
            for _ in range(40)
        ]
        again = [(key, second, value + 1, n) for key, second, value, n in sent[:: int(rng.integers(9, 40))]]
        keep(endpoint.pk, points(*fresh, *again))
        sent += fresh
    made, hours = counted_anew()
    assert stored(MetricMinute) == made
    assert stored(MetricHour) == hours
    assert MetricPoint.objects.count() == len({row[:2] for row in sent})


def test_a_second_value_for_an_instant_replaces_the_first_in_the_rollups_too(endpoint: Endpoint) -> None:
    (one,) = series(endpoint, "queue")
    keep(endpoint.pk, points((one, 10, 100.0, 1), (one, 20, 2.0, 1)))
    keep(endpoint.pk, points((one, 10, 1.0, 1)))
    assert list(MetricPoint.objects.order_by("at").values_list("value", flat=True)) == [1.0, 2.0]
    for model in (MetricMinute, MetricHour):
        found = model.objects.get()
        assert (found.count, found.high, found.total) == (2, 2.0, 3.0)


def test_points_older_than_what_is_kept_are_not_taken_and_are_counted(endpoint: Endpoint, settings: Any) -> None:
    settings.LASTGOOD_METRICS_DAYS = 30
    (one,) = series(endpoint, "queue")
    now = timezone.now()
    at = moments([now - timedelta(days=31), now - timedelta(days=29), now])
    too_old = keep(endpoint.pk, Points(np.array([one] * 3), at, np.arange(3.0), np.ones(3, np.int64)))
    assert too_old == 1
    assert list(MetricPoint.objects.order_by("at").values_list("value", flat=True)) == [1.0, 2.0]
    assert MetricMinute.objects.count() == 2


def test_the_sketch_tells_each_quantile_within_its_accuracy_however_often_it_was_merged() -> None:
    rng = np.random.default_rng(7)
    values = np.concatenate([rng.lognormal(0, 3, 4000), -rng.lognormal(0, 2, 1000), np.zeros(50), [5e-324, 1e308]])
    rng.shuffle(values)
    at = np.arange(len(values)) * 700_000 + 60_000_000
    one = np.ones(len(values), np.int64)
    found = combined([minutes(latest(Points(one, at, values, one)))], 24 * HOUR)
    ordered = np.sort(values)
    for q in (0, 0.01, 0.25, 0.5, 0.9, 0.99, 1):
        exact = ordered[math.floor(q * (len(values) - 1))]
        assert sketch.quantile(found.sketches[0], q) == pytest.approx(exact, rel=sketch.ACCURACY + 1e-9)


def test_an_empty_sketch_has_no_quantile() -> None:
    with pytest.raises(ValueError, match="no quantile"):
        sketch.quantile(b"", 0.5)
