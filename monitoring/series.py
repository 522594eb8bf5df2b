"""Which series a metric point belongs to, and points that name theirs."""

from collections.abc import Mapping, Sequence

import numpy as np
from django.conf import settings

from monitoring.models import MetricSeries
from monitoring.points import keep, moments
from monitoring.reading import PointRow, Unreadable
from monitoring.rollups import Points
from registry.models import Endpoint, Host

SeriesKey = tuple[str, Host | None, str, str]
"""Name, host, version and column of a series."""


def series_for(endpoint: Endpoint, units: Mapping[SeriesKey, str]) -> dict[SeriesKey, int]:
    """The keys of the endpoint's series of that name, host, version and column, made (with their unit) where they do
    not exist. One query where all do."""
    found = _found(endpoint, units)
    absent = [key for key in units if key not in found]
    if absent:
        MetricSeries.objects.bulk_create(
            [
                MetricSeries(endpoint=endpoint, name=name, host=host, version=version, column=column, unit=units[key])
                for key in sorted(absent, key=_order)
                for name, host, version, column in [key]
            ],
            ignore_conflicts=True,
        )
        found = _found(endpoint, units)
    return {key: found[key] for key in units}


def _found(endpoint: Endpoint, units: Mapping[SeriesKey, str]) -> dict[SeriesKey, int]:
    hosts = {key[1].pk: key[1] for key in units if key[1] is not None}
    rows = MetricSeries.objects.filter(endpoint=endpoint, name__in={key[0] for key in units})
    return {
        (name, hosts.get(host), version, column): pk
        for pk, name, host, version, column in rows.values_list("pk", "name", "host", "version", "column")
        if host is None or host in hosts
    }


def _order(key: SeriesKey) -> tuple[str, int, str, str]:
    name, host, version, column = key
    return name, host.pk if host else 0, version, column


def keep_points(endpoint: Endpoint, host: Host | None, points: Sequence[PointRow]) -> tuple[int, str]:
    """Write points of an endpoint; `host` is the one of those that name none. Returns how many were kept, and in words
    which were not. Raises Unreadable, and keeps none, where a host is unknown."""
    hosts = {one.name: one for one in Host.objects.filter(name__in={point.host for point in points} - {""})}
    unknown = {point.host for point in points} - set(hosts) - {""}
    if unknown:
        raise Unreadable(f"No host is called {sorted(unknown)[0]}; register it first.")
    keys = [(point.name, hosts.get(point.host, host), point.version, point.column) for point in points]
    series = series_for(endpoint, dict(zip(keys, [point.unit for point in points], strict=True)))
    too_old = keep(
        endpoint.pk,
        Points(
            series=np.array([series[key] for key in keys], np.int64),
            at=moments([point.at for point in points]),
            value=np.array([point.value for point in points], np.float64),
            n=np.array([point.n for point in points], np.int64),
        ),
    )
    days = settings.LASTGOOD_METRICS_DAYS
    return len(points) - too_old, f"{too_old} points are older than {days} days; none such is kept." if too_old else ""
