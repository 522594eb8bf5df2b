"""Reading metric points back: as they came over a short span, else what each minute or hour came to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from monitoring.models import MetricHour, MetricMinute, MetricPoint, MetricSeries

POINTS_UNTIL, MINUTES_UNTIL = timedelta(hours=6), timedelta(hours=48)
"""The longest spans that are read point by point, and by minutes."""


class Step(Enum):
    """What one reading stands for. The value is its name in a sentence."""

    WINDOW = "window"
    MINUTE = "minute"
    HOUR = "hour"


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
    length = until - since
    return Step.WINDOW if length <= POINTS_UNTIL else Step.MINUTE if length <= MINUTES_UNTIL else Step.HOUR


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
    model, width = (MetricMinute, timedelta(minutes=1)) if step == Step.MINUTE else (MetricHour, timedelta(hours=1))
    bins = model.objects.filter(series__in=list(known), bin__gte=since, bin__lt=until + width).order_by("bin")
    return [
        Reading(known[key], min(end, until), weighted / n if n else total / count, n, low, high)
        for key, end, count, n, low, high, total, weighted in bins.values_list(
            "series_id", "bin", "count", "n", "low", "high", "total", "weighted"
        )
    ]
