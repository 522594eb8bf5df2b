"""Reading metric points back: as they came over a short span, else as bins that PostgreSQL adds up from the rollups."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.db import connection
from django.utils.translation import gettext_lazy as _

from monitoring.models import MetricPoint, MetricSeries
from monitoring.points import HOURS, MINUTES


class Step(Enum):
    """What one reading stands for. The value is its name in a sentence."""

    WINDOW = "window"
    FIVE = _("5-minute step")
    TEN = _("10-minute step")
    HOUR = "hour"
    QUARTER = _("quarter of a day")
    DAY = "day"


WIDTHS = {
    Step.FIVE: timedelta(minutes=5),
    Step.TEN: timedelta(minutes=10),
    Step.HOUR: timedelta(hours=1),
    Step.QUARTER: timedelta(hours=6),
    Step.DAY: timedelta(days=1),
}
LONGEST = {
    Step.WINDOW: timedelta(hours=6),
    Step.FIVE: timedelta(hours=24),
    Step.TEN: timedelta(hours=48),
    Step.HOUR: timedelta(days=16),
    Step.QUARTER: timedelta(days=100),
}
"""The longest span that is read so, of at most some 400 bins; longer ones than all are read by days."""
# A bin holds what is after its beginning, up to and at its end.
_GROUPED = """
    SELECT series_id, date_bin(%(width)s, bin - interval '1 microsecond', 'epoch'::timestamptz) + %(width)s AS ends,
           sum(count)::bigint, sum(n)::bigint, min(low), max(high), sum(total), sum(weighted)
    FROM {table} WHERE series_id = ANY(%(series)s) AND bin > %(since)s AND bin < %(until)s
    GROUP BY series_id, ends ORDER BY ends, series_id
"""


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
    return next((step for step, length in LONGEST.items() if until - since <= length), Step.DAY)


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
    table, rolled = (MINUTES, timedelta(minutes=1)) if step in {Step.FIVE, Step.TEN} else (HOURS, timedelta(hours=1))
    with connection.cursor() as cursor:
        span = {"since": since - timedelta(microseconds=1), "until": until + rolled}
        cursor.execute(_GROUPED.format(table=table), {"width": WIDTHS[step], "series": series, **span})
        return cursor.fetchall()
