"""What a rule is judged by: rollups by the minute of its series, or the values of a detector's findings."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_

import numpy as np
from django.db import connection
from django.db.models import Q, QuerySet
from numpy.typing import NDArray

from monitoring.models import Finding, MetricMinute, MetricSeries
from monitoring.points import moments
from monitoring.rules.bins import KINDS, Bins, bins_of
from monitoring.rules.models import AlertRule, Scope, Subject
from registry.models import Host

Spans = Sequence[tuple[int, int]]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

BY_THE_SECOND = "1/s"
"""The unit of a metric that is a counter's rate."""

MOST_HOSTS = 200
"""Hosts that one rule watches, each by itself."""

_SENT = {"bin": ">i8", "count": ">i8", "n": ">i8", "total": ">f8", "weighted": ">f8", "low": ">f8", "high": ">f8"}
"""The columns of a rollup in the order of Bins, as PostgreSQL sends their values."""
_READ = (
    f"COPY (SELECT series_id, {', '.join(f'array_send(array_agg({name}))' for name in _SENT)} "  # noqa: S608
    f"FROM {MetricMinute._meta.db_table} WHERE series_id = ANY(%s) AND ({{}}) GROUP BY series_id ORDER BY series_id) "
    "TO STDOUT (FORMAT BINARY)"
)
_HEAD = 20
"""Bytes of an array of one dimension before its values, each of which has its length in four bytes before it."""
_POSTGRES_EPOCH = 946_684_800_000_000
"""The year 2000, from which PostgreSQL counts, in microseconds since 1970."""


def moment(us: int) -> datetime:
    """Microseconds since 1970 as a moment in UTC."""
    return EPOCH + timedelta(microseconds=us)


def microseconds(at: datetime) -> int:
    """A moment as microseconds since 1970."""
    return int(moments([at])[0])


def hosts_of(rule: AlertRule) -> list[Host | None]:
    """What the rule is judged for: the endpoint as a whole (None), or its hosts, in the order of their names.

    The hosts are those placed at the endpoint; where none is, those that sent the metric.
    """
    if rule.scope == Scope.ENDPOINT:
        return [None]
    placed = Host.objects.filter(placements__endpoint=rule.endpoint).order_by("name").distinct()
    if not placed.exists():
        sent = MetricSeries.objects.filter(endpoint=rule.endpoint, name=rule.metric, host__isnull=False)
        placed = Host.objects.filter(pk__in=sent.values("host")).order_by("name")
    return list(placed[:MOST_HOSTS])


def read(rule: AlertRule, hosts: Iterable[Host | None], spans: Spans) -> dict[Host | None, Bins]:
    """The bins of each in the spans (after, until], versions together. A host that sent nothing has empty ones."""
    wanted = list(hosts)
    keys = [host.pk for host in wanted if host is not None]
    if rule.subject == Subject.METRIC and not rule.params.get("per"):
        minutes = _minutes(rule, keys, spans)
        return {host: minutes.get(host.pk if host is not None else None) or bins_of([]) for host in wanted}
    rows: dict[int | None, list[tuple[float, ...]]] = defaultdict(list)
    source = _findings if rule.subject == Subject.FINDING else _counted
    for found, row in source(rule, keys, spans):
        rows[found].append(row)
    return {host: bins_of(rows[host.pk if host is not None else None]) for host in wanted}


def _minutes(rule: AlertRule, hosts: list[int], spans: Spans) -> dict[int | None, Bins]:
    """The bins of each host, or of the endpoint as a whole (None). A month of a dozen hosts is half a million rows:
    they come as arrays, one of each column and series, without a Python object for each value."""
    series = dict(series_of(rule, hosts).values_list("pk", "host_id"))
    found: dict[int | None, list[Bins]] = defaultdict(list)
    with connection.cursor() as cursor:
        within = " OR ".join(["bin > %s AND bin <= %s"] * len(spans))
        ends = [moment(end) for span in spans for end in span]
        with cursor.copy(_READ.format(within), [list(series), *ends]) as copy:
            copy.set_types(["int8", *["bytea"] * len(_SENT)])
            for key, *columns in copy.rows():
                found[series[key]].append(Bins(*map(_array, columns, _SENT.values(), KINDS)))
    return {host: _together(parts) for host, parts in found.items()}


def _array(sent: bytes, kind: str, wanted: type) -> NDArray:
    values = np.frombuffer(sent, [("size", ">i4"), ("value", kind)], offset=_HEAD)["value"]
    return values.astype(wanted)


def _together(parts: Sequence[Bins]) -> Bins:
    """Those of several versions in the order of their ends; of one end in the order of their series."""
    whole = Bins(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    order = np.argsort(whole.at, kind="stable")
    ordered = Bins(*(column[order] for column in whole))
    return ordered._replace(at=ordered.at + _POSTGRES_EPOCH)


def _counted(rule: AlertRule, hosts: list[int], spans: Spans) -> Iterable[tuple[int | None, tuple[float, ...]]]:
    """A count for each unit that another metric (`per`) counts, by the minute, the units as observations: minutes that
    have both. Where only hosts send them, theirs are added up."""
    units = _growth(rule, rule.params["per"], "", spans)
    for end, count in _growth(rule, rule.metric, rule.column, spans).items():
        exposure = round(units.get(end, 0.0))
        if exposure > 0:
            share = count / exposure
            yield None, (end, 1, exposure, share, count, share, share)


def _growth(rule: AlertRule, metric: str, column: str, spans: Spans) -> dict[int, float]:
    """By how much a counter grew in each minute: the sum of what was sent, or a rate by the second times sixty."""
    found = MetricSeries.objects.filter(endpoint=rule.endpoint, name=metric, column=column)
    if rule.version:
        found = found.filter(version=rule.version)
    whole = dict(found.filter(host=None).values_list("pk", "unit"))
    units = whole or dict(found.values_list("pk", "unit"))
    grown: dict[int, float] = defaultdict(float)
    minutes = MetricMinute.objects.filter(_within("bin", spans), series__in=list(units)).order_by("bin", "series_id")
    for key, end, count, total in minutes.values_list("series_id", "bin", "count", "total").iterator(chunk_size=10_000):
        grown[_us(end)] += 60 * total / count if units[key] == BY_THE_SECOND else total
    return grown


def _findings(rule: AlertRule, hosts: list[int], spans: Spans) -> Iterable[tuple[int | None, tuple[float, ...]]]:
    found = Finding.objects.filter(
        _within("window__end", spans), rule__endpoint=rule.endpoint, rule__kind=rule.metric, value__isnull=False
    )
    found = found.filter(host__in=hosts) if rule.scope == Scope.HOSTS else found.filter(host=None)
    if rule.version:
        found = found.filter(version=rule.version)
    columns = ("host_id", "window__end", "value", "rows")
    for host, end, value, rows in found.order_by("window__end", "pk").values_list(*columns).iterator():
        yield host, (_us(end), 1, rows, value, value * rows, value, value)


def series_of(rule: AlertRule, hosts: Iterable[int] = ()) -> QuerySet[MetricSeries]:
    """The series that the rule is judged by: of the endpoint as a whole, or of these hosts."""
    found = MetricSeries.objects.filter(endpoint=rule.endpoint, name=rule.metric, column=rule.column)
    if rule.version:
        found = found.filter(version=rule.version)
    return found.filter(host__in=list(hosts)) if rule.scope == Scope.HOSTS else found.filter(host=None)


def versions_in(rule: AlertRule, host: Host | None, after: int, until: int) -> list[str]:
    """The versions of which there is data in the span, in their order."""
    if rule.subject == Subject.FINDING:
        found = Finding.objects.filter(
            _within("window__end", [(after, until)]), rule__endpoint=rule.endpoint, rule__kind=rule.metric, host=host
        )
        return sorted(set(found.values_list("version", flat=True)))
    series = dict(series_of(rule, [host.pk] if host else []).exclude(version="").values_list("pk", "version"))
    heard = MetricMinute.objects.filter(_within("bin", [(after, until)]), series__in=list(series))
    return sorted({series[key] for key in heard.values_list("series_id", flat=True).distinct()})


def _within(field: str, spans: Spans) -> Q:
    parts = [Q(**{f"{field}__gt": moment(after), f"{field}__lte": moment(until)}) for after, until in spans]
    return reduce(or_, parts)


def _us(at: datetime) -> int:
    length = at - EPOCH
    return (length.days * 86_400 + length.seconds) * 1_000_000 + length.microseconds
