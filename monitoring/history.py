"""Reading metric points back: as they came over a short span, else what each minute or hour came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.db import connection

from monitoring.models import MetricMinute, MetricPoint, MetricSeries
from monitoring.points import HOURS

POINTS_UNTIL, MINUTES_UNTIL = timedelta(hours=6), timedelta(hours=48)
"""The longest spans that are read point by point, and by minutes."""
HOURS_UNTIL, QUARTERS_UNTIL = timedelta(days=25), timedelta(days=150)
"""The longest spans that are read by hours, and by quarters of a day; longer ones are read by days."""


class Step(Enum):
    """What one reading stands for. The value is its name in a sentence."""

    WINDOW = "window"
    MINUTE = "minute"
    HOUR = "hour"
    QUARTER = "quarter of a day"
    DAY = "day"


WIDTHS = {
    Step.MINUTE: timedelta(minutes=1),
    Step.HOUR: timedelta(hours=1),
    Step.QUARTER: timedelta(hours=6),
    Step.DAY: timedelta(days=1),
}
# A bin holds what is after its beginning, up to and at its end.
_GROUPED = f"""
    SELECT series_id, date_bin(%(width)s, bin - interval '1 microsecond', 'epoch'::timestamptz) + %(width)s AS ends,
           sum(count)::bigint, sum(n)::bigint, min(low), max(high), sum(total), sum(weighted)
    FROM {HOURS} WHERE series_id = ANY(%(series)s) AND bin > %(since)s AND bin < %(until)s
    GROUP BY series_id, ends ORDER BY ends, series_id
"""  # noqa: S608  the name of a table, no value of anybody's


@dataclass(frozen=True, slots=True)
class Reading:
    """What a series came to up to `at`: the mean of its values weighed by their observations, how many these were, and
    the lowest and highest value. A point that was read as it came is all three."""

    series: MetricSeries
    at: datetime
    value: float
    n: int
    low: float
    high: float


def step_of(since: datetime, until: datetime) -> Step:
    """How a span is read."""
    longest = {
        Step.WINDOW: POINTS_UNTIL, Step.MINUTE: MINUTES_UNTIL, Step.HOUR: HOURS_UNTIL, Step.QUARTER: QUARTERS_UNTIL,
    }  # fmt: skip
    return next((step for step, length in longest.items() if until - since <= length), Step.DAY)


def read(series: Iterable[MetricSeries], since: datetime, until: datetime) -> list[Reading]:
    """The readings of the series from `since` to `until`, oldest first. One query; none without a series.

    The reading of a bin that has not ended by `until` stands there.
    """
    known = {one.pk: one for one in series}
    if not known:
        return []
    step = step_of(since, until)
    if step == Step.WINDOW:
        rows = MetricPoint.objects.filter(series__in=list(known), at__gte=since, at__lte=until).order_by("at")
        return [
            Reading(known[key], at, value, n, value, value)
            for key, at, value, n in rows.values_list("series_id", "at", "value", "n")
        ]
    return [
        Reading(known[key], min(end, until), weighted / n if n else total / count, n, low, high)
        for key, end, count, n, low, high, total, weighted in _bins(list(known), since, until, step)
    ]


def _bins(series: list[int], since: datetime, until: datetime, step: Step) -> list[tuple]:
    width = WIDTHS[step]
    if step == Step.MINUTE:
        rows = MetricMinute.objects.filter(series__in=series, bin__gte=since, bin__lt=until + width).order_by("bin")
        return list(rows.values_list("series_id", "bin", "count", "n", "low", "high", "total", "weighted"))
    with connection.cursor() as cursor:
        span = {"since": since - timedelta(microseconds=1), "until": until + timedelta(hours=1)}
        cursor.execute(_GROUPED, {"width": width, "series": series, **span})
        return cursor.fetchall()
