"""Writing metric points: which series a point belongs to, and points that replace the ones of the same instant."""

from collections.abc import Iterable, Mapping

from monitoring.models import MetricPoint, MetricSeries
from registry.models import Endpoint, Host

SeriesKey = tuple[str, Host | None, str, str]
"""Name, host, version and column of a series."""


def series_for(endpoint: Endpoint, units: Mapping[SeriesKey, str]) -> dict[SeriesKey, MetricSeries]:
    """The series of the endpoint with these keys, made (with their unit) where they do not exist. Two queries."""
    MetricSeries.objects.bulk_create(
        [
            MetricSeries(endpoint=endpoint, name=name, host=host, version=version, column=column, unit=unit)
            for (name, host, version, column), unit in sorted(units.items(), key=lambda item: _order(item[0]))
        ],
        ignore_conflicts=True,
    )
    rows = MetricSeries.objects.filter(endpoint=endpoint, name__in={key[0] for key in units}).select_related("host")
    found = {(row.name, row.host, row.version, row.column): row for row in rows}
    return {key: found[key] for key in units}


def _order(key: SeriesKey) -> tuple[str, int, str, str]:
    name, host, version, column = key
    return name, host.pk if host else 0, version, column


def save_points(points: Iterable[MetricPoint]) -> None:
    """Insert the points; one that stands at the same instant of its series is replaced."""
    latest = {(point.series_id, point.at): point for point in points}
    MetricPoint.objects.bulk_create(
        [latest[key] for key in sorted(latest)],
        update_conflicts=True,
        unique_fields=["series", "at"],
        update_fields=["value", "n"],
    )
