"""Asking a stored query anew: what it came to since it was last asked, and once more what may have come late."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.db import transaction

from audit.actions import Target, record, service_actor
from audit.clock import database_now
from monitoring.exposition import points_of
from monitoring.models import MetricPoint
from monitoring.pull.actions import floor_to
from monitoring.pull.asking import Line, PullFailed, query_range
from monitoring.pull.models import Query
from monitoring.reading import PointRow, Unreadable
from monitoring.series import SeriesKey, keep_points, series_for
from registry.models import Endpoint, Host

SETTLED = timedelta(seconds=15)
"""So long after a moment its values are asked for, so that what the source scrapes is there."""
LATE = timedelta(minutes=10)
"""What came up to so long ago is asked for once more each time: a source may take values late, or correct them."""
MOST_BACK = timedelta(days=7)
"""A gap is filled from here on at most."""
STEPS_AT_ONCE, ANSWERS_AT_ONCE = 500, 8
CLAIM = timedelta(minutes=2)
LONGEST_PAUSE = timedelta(minutes=5)


def pull(query_id: int) -> int:
    """Ask what is due of one query and keep it. Returns how many points were new or other than before.

    What is there already is not written again, so that asking twice changes nothing. Where the source fails, nothing
    is counted as asked, and the query says why.
    """
    now = database_now()
    due = Query.objects.filter(pk=query_id, ended_at=None, next_at__lte=now)
    if not due.update(next_at=now + CLAIM):
        return 0
    query = Query.objects.select_related("source", "endpoint").get(pk=query_id)
    step = timedelta(seconds=query.step_seconds)
    done, last = query.done_until or now, floor_to(now - SETTLED, step)
    start = floor_to(max(min(done, last) - LATE, now - MOST_BACK), step) + step
    kept = 0
    for _ in range(ANSWERS_AT_ONCE):
        end = min(start + (STEPS_AT_ONCE - 1) * step, last)
        if end < start:
            break
        try:
            lines = query_range(query.source, query.promql, start, end, step)
            kept += _keep(query, lines, start, end)
        except (PullFailed, Unreadable) as error:
            _failed(query, str(error), now, step)
            return kept
        start = end + step
    _again(query, now if start <= last else last + step + SETTLED)
    return kept


def rows_of(name: str, unit: str, lines: Iterable[Line], host_label: str, hosts: Iterable[Host]) -> list[PointRow]:
    """The points of an answer. A series is a host's where its `host_label` is the host's name, or its address with or
    without the port; another value stays a label. Raises Unreadable for labels that are too long."""
    known = _known(hosts)
    rows: list[PointRow] = []
    for line in lines:
        labels = dict(line.labels)
        said = labels.get(host_label, "")
        host = known.get(said) or known.get(urlsplit(f"//{said}").hostname or "")
        if host:
            labels.pop(host_label)
        if "host" in labels and labels["host"] not in known:
            labels["of_host"] = labels.pop("host")
        rows += points_of(name, labels | ({"host": host} if host else {}), line.samples, unit)
    return rows


def only_new(endpoint: Endpoint, rows: list[PointRow], since: datetime, until: datetime) -> list[PointRow]:
    """The rows whose values are not there already, between the two moments."""
    if not rows:
        return []
    hosts = {one.name: one for one in Host.objects.filter(name__in={row.host for row in rows} - {""})}
    keys: list[SeriesKey] = [(row.name, hosts.get(row.host), row.version, row.column) for row in rows]
    series = series_for(endpoint, dict(zip(keys, [row.unit for row in rows], strict=True)))
    there = MetricPoint.objects.filter(series__in=set(series.values()), at__gte=since, at__lte=until)
    known = {(pk, at): value for pk, at, value in there.values_list("series_id", "at", "value")}
    return [row for key, row in zip(keys, rows, strict=True) if known.get((series[key], row.at)) != row.value]


def _keep(query: Query, lines: list[Line], start: datetime, end: datetime) -> int:
    hosts = Host.objects.all()
    rows = rows_of(query.name, query.unit, lines, query.source.host_label, hosts)
    with transaction.atomic():
        rows = only_new(query.endpoint, rows, start, end)
        kept, _ = keep_points(query.endpoint, None, rows) if rows else (0, "")
        now = database_now()
        Query.objects.filter(pk=query.pk).update(done_until=end, answered_at=now, lines=len(lines), problem="")
        if kept:
            locked = Query.objects.select_for_update().get(pk=query.pk)
            Query.objects.filter(pk=query.pk).update(points=locked.points + kept)
        if query.problem:
            _note(query, "")
            query.problem = ""
    return kept


def _failed(query: Query, problem: str, now: datetime, step: timedelta) -> None:
    with transaction.atomic():
        pause = min(max(step, timedelta(seconds=30)), LONGEST_PAUSE)
        Query.objects.filter(pk=query.pk).update(problem=problem[:500], next_at=now + pause)
        if not query.problem:
            _note(query, problem)


def _again(query: Query, at: datetime) -> None:
    Query.objects.filter(pk=query.pk, ended_at=None).update(next_at=at)


def _note(query: Query, problem: str) -> None:
    """Put on record that a query fails, or answers again."""
    data = {"endpoint": query.endpoint.slug, "name": query.name, "source": query.source.name}
    record(
        action="metric_query.pull",
        target=Target("metric_query", str(query.pk)),
        actor=service_actor("pull"),
        data=data,
        reason=problem[:500],
        outcome="failed" if problem else "success",
    )


def _known(hosts: Iterable[Host]) -> dict[str, str]:
    """Names of hosts by what a label may call them. A machine with several of them is told apart by the port alone."""
    found: dict[str, str] = {}
    machines: dict[str, set[str]] = {}
    for host in hosts:
        parts = urlsplit(host.address)
        found |= {host.name: host.name, parts.netloc: host.name}
        machines.setdefault(parts.hostname or "", set()).add(host.name)
    return {machine: names.copy().pop() for machine, names in machines.items() if len(names) == 1} | found
