"""The reads of monitoring that are more than one line."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from monitoring.drift.measures import wilson
from monitoring.models import (
    Answer,
    Delivery,
    DeliveryState,
    Finding,
    MetricSeries,
    Monitor,
    Window,
    WindowState,
)
from monitoring.windows import load_predictions, numpy_column
from registry.models import Endpoint, Host

LATE_WINDOWS = 3
"""So many windows may end without being judged before that counts as silence."""


@dataclass(frozen=True)
class Accuracy:
    """How many of `n` labelled predictions were right; `low` and `high` are Wilson's 95 % interval of the share."""

    n: int
    correct: int
    low: float
    high: float

    @property
    def share(self) -> float | None:
        """The share that was right; None when nothing is labelled."""
        return self.correct / self.n if self.n else None


class Latency(NamedTuple):
    """Predictions with a latency, and its median and 95th percentile in milliseconds; None without any."""

    n: int
    p50: float | None
    p95: float | None


def right_rows(table: pa.Table) -> np.ndarray:
    """Of the labelled rows of a table with `output` and `label`, in its order, which are right: bool of shape (n,)."""
    output, label = numpy_column(table, "output"), numpy_column(table, "label").astype(float)
    known = ~np.isnan(label)
    return np.asarray(output[known] == label[known], dtype=bool)


def accuracy_of(table: pa.Table) -> Accuracy:
    """The accuracy of the labelled rows of a table with `output` and `label`."""
    right = right_rows(table)
    n, correct = len(right), int(right.sum())
    return Accuracy(n, correct, *wilson(correct, n))


def latency_of(table: pa.Table) -> Latency:
    """Median and 95th percentile of a table's `latency_ms`."""
    values = numpy_column(table, "latency_ms")
    values = values[~np.isnan(values)]
    if not len(values):
        return Latency(0, None, None)
    p50, p95 = np.quantile(values, [0.5, 0.95])
    return Latency(len(values), float(p50), float(p95))


def accuracy_between(
    endpoint: Endpoint,
    start: datetime,
    end: datetime,
    version: str | None = None,
    host: str | Host | None = None,
) -> Accuracy:
    """The accuracy of what was answered in [start, end) and has a label by now, of one version or host where given."""
    return accuracy_of(_of(endpoint, start, end, version, host, ["output", "label"]))


def latency_between(
    endpoint: Endpoint,
    start: datetime,
    end: datetime,
    version: str | None = None,
    host: str | Host | None = None,
) -> Latency:
    """(n, p50, p95) in milliseconds of what was answered in [start, end), of one version or host where given."""
    return latency_of(_of(endpoint, start, end, version, host, ["latency_ms"]))


def _of(
    endpoint: Endpoint,
    start: datetime,
    end: datetime,
    version: str | None,
    host: str | Host | None,
    columns: Sequence[str],
) -> pa.Table:
    return load_predictions(
        endpoint,
        start,
        end,
        versions=None if version is None else [version],
        hosts=None if host is None else [host],
        columns=columns,
    )


def latest_findings(endpoint: Endpoint) -> list[Finding]:
    """The findings of the newest judged window that had traffic, breaches first."""
    return findings_of(newest_window(endpoint))


def findings_of(window: Window | None) -> list[Finding]:
    """The findings of a window, breaches first; none of no window."""
    if window is None:
        return []
    found = Finding.objects.filter(window=window).select_related("rule", "window", "host")
    return sorted(found, key=lambda f: (f.answer != Answer.BREACH, f.rule.kind, f.version, f.host_id or 0))


def newest_window(endpoint: Endpoint) -> Window | None:
    """The newest judged window of the endpoint that had traffic."""
    return Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED, rows__gt=0).first()


def silent_since(endpoints: Iterable[Endpoint], now: datetime) -> dict[int, datetime]:
    """By id, the watched endpoints of which nothing came in their newest window, and since when: the end of the last
    window that had traffic, else the start of the first one. No data says nothing, least of all that all is well.

    An endpoint whose windows are no longer judged, or never were, is as silent. One query for any number.
    """
    windows = Window.objects.filter(endpoint=OuterRef("endpoint"))
    judged = windows.filter(state=WindowState.JUDGED).order_by("-start").values("end")
    rows = (
        Monitor.objects.filter(endpoint__in=endpoints, enabled=True)
        .values_list("endpoint", "window_seconds", "grace_seconds", "label_delay_seconds")
        .annotate(
            began=Coalesce(Subquery(windows.order_by("start").values("start")[:1]), F("next_window_at")),
            judged=Subquery(judged[:1]),
            heard=Subquery(judged.filter(rows__gt=0)[:1]),
        )
        .exclude(began=None)
    )
    found = {}
    for endpoint, window, grace, labels, began, newest, heard in rows:
        due = now - timedelta(seconds=LATE_WINDOWS * window + grace + labels)
        is_late = (newest or began + timedelta(seconds=window)) < due
        if is_late or (newest is not None and (heard is None or heard < newest)):
            found[endpoint] = heard or began
    return found


def waiting_deliveries() -> int:
    """How many deliveries are stored and not yet read."""
    return Delivery.objects.filter(state=DeliveryState.STORED).count()


def set_aside() -> QuerySet[Delivery]:
    """The deliveries that could not be read, newest first, without their bodies."""
    return (
        Delivery.objects.filter(state=DeliveryState.UNPARSEABLE)
        .defer("body")
        .select_related("endpoint", "host")
        .order_by("-received_at")
    )


def versions_and_hosts(endpoint: Endpoint) -> tuple[list[str], list[str]]:
    """The versions that answered in judged windows, newest first, and the hosts on which they did."""
    found = MetricSeries.objects.filter(endpoint=endpoint, name="rows").values_list("version", "host__name")
    versions, hosts = {version for version, _ in found if version}, {host for _, host in found if host}
    return sorted(versions, key=lambda number: (number.isdecimal(), number.zfill(40)), reverse=True), sorted(hosts)


def monitor_of(endpoint: Endpoint) -> Monitor | None:
    """How the endpoint is watched; None when it is not."""
    return Monitor.objects.filter(endpoint=endpoint).first()


def short_digest(*parts: object) -> str:
    """32 hex digits that change when any part's text does: for ETags."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
