"""What a version's window is held against: its own promise and profile, and the endpoint's latency when it was good."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from django.db.models import QuerySet

from monitoring.models import Answer, Finding, MetricPoint, RuleKind, Window, WindowState
from monitoring.windows import load_predictions
from registry.models import Alias, Endpoint, Version

REFERENCE_WINDOWS = 3


@dataclass(frozen=True)
class LatencyReference:
    """Rows (latency_ms, host) of good windows, and which ones they are, in words that end a sentence."""

    table: pa.Table
    words: str


def versions_of(endpoint: Endpoint, pairs: Iterable[tuple[str, str]]) -> dict[str, Version]:
    """The registry's versions for (number, digest) pairs of the prediction log: by digest, else by number."""
    wanted = list(pairs)
    read = ("number", "digest", "metrics", "profile", "holdout", "signature")
    known = list(Version.objects.filter(model=endpoint.model_id).only(*read))
    by_digest, by_number = {v.digest: v for v in known}, {str(v.number): v for v in known}
    found = {number: by_digest.get(digest) or by_number.get(number) for number, digest in wanted}
    return {number: version for number, version in found.items() if version is not None}


def promised(version: Version | None) -> tuple[float | None, int | None]:
    """The accuracy on the version's holdout and its rows, as registered with it; None where it came without."""
    holdout = (version.metrics or {}).get("holdout", {}) if version else {}
    accuracy = holdout.get("accuracy")
    rows = holdout.get("rows") or holdout.get("n")
    return (float(accuracy) if accuracy is not None else None), (int(rows) if rows else None)


def latency_reference(endpoint: Endpoint, before: datetime, min_rows: int) -> LatencyReference | None:
    """The latencies of the last-good version's newest good windows before `before`; where it has none, of the
    endpoint's first windows. None while there are fewer than REFERENCE_WINDOWS of these."""
    last_good = Alias.objects.filter(model=endpoint.model_id, name=Alias.LAST_GOOD).select_related("version").first()
    if last_good is not None:
        number = str(last_good.version.number)
        ends = _good_ends(endpoint, before, min_rows).filter(series__version=number)
        picked = list(ends.order_by("-at").values_list("at", "series__version")[:REFERENCE_WINDOWS])
        if len(picked) == REFERENCE_WINDOWS:
            return _read(endpoint, picked, f"last-good version {number} in its newest good windows")
    picked = list(
        _good_ends(endpoint, before, min_rows).order_by("at").values_list("at", "series__version")[:REFERENCE_WINDOWS]
    )
    if len(picked) < REFERENCE_WINDOWS:
        return None
    return _read(endpoint, picked, "the endpoint's first windows")


def _good_ends(endpoint: Endpoint, before: datetime, min_rows: int) -> QuerySet[MetricPoint]:
    breached = Finding.objects.filter(
        rule__endpoint=endpoint, rule__kind=RuleKind.LATENCY, answer=Answer.BREACH, window__end__lte=before
    ).values("window__end")
    return MetricPoint.objects.filter(
        series__endpoint=endpoint, series__name="rows", series__host=None, at__lte=before, value__gte=min_rows
    ).exclude(at__in=breached)


def _read(endpoint: Endpoint, picked: list[tuple[datetime, str]], words: str) -> LatencyReference | None:
    ends = [at for at, _ in picked]
    judged = Window.objects.filter(endpoint=endpoint, state=WindowState.JUDGED, end__in=ends)
    windows = {window.end: window for window in judged}
    tables = [
        load_predictions(endpoint, windows[at].start, at, versions=[version], columns=["latency_ms", "host"])
        for at, version in picked
        if at in windows
    ]
    if not tables:
        return None
    return LatencyReference(pa.concat_tables(tables, promote_options="permissive"), words)
