"""Metric points of a delivery, in whichever format they come: JSON lines, OpenMetrics, or Prometheus' text format.

The texts are parsed by prometheus_client. Nothing here touches the database; what can't be read raises Unreadable.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from prometheus_client import parser as prometheus
from prometheus_client.core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.samples import Timestamp

from monitoring.reading import PointRow, Unreadable, is_measured, measured_at, read_json_points

OPENMETRICS, TEXT = "application/openmetrics-text", "text/plain"
PARSERS: dict[str, Callable[[str], Iterable[Metric]]] = {
    OPENMETRICS: openmetrics.text_string_to_metric_families,
    TEXT: prometheus.text_string_to_metric_families,
}
MOST_LABELS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OWN = ("host", "version", "column")
"""Labels that are columns of a series of ours; all others are kept together."""


def read_points(content_type: str, body: bytes, *, received_at: datetime) -> list[PointRow]:
    """The points of a delivery; those without a moment of their own were measured when it came. Raises Unreadable."""
    kind = content_type.split(";")[0].strip().lower()
    parse = PARSERS.get(kind)
    if parse is None:
        return read_json_points(body)
    words = "OpenMetrics" if kind == OPENMETRICS else "Prometheus' text format"
    try:
        return list(_points(parse(body.decode()), received_at))
    except Unreadable:
        raise
    except UnicodeDecodeError as error:
        raise Unreadable(f"The text is not UTF-8 at byte {error.start}.") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise Unreadable(f"The text is not {words}: {said}") from error


def points_of(
    name: str, labels: Mapping[str, str], samples: Iterable[tuple[datetime, float]], unit: str = ""
) -> Iterator[PointRow]:
    """Samples of one name and set of labels as points. Values that are not finite say that there is none: they are left
    out, as those are that no sum could hold. Raises Unreadable where the labels are too long."""
    if len(name) > 60 or not re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name):
        raise Unreadable(f"The name {name[:80]!r} is not one of at most 60 letters, digits, underscores and colons.")
    others = ",".join(f"{key}={labels[key]}" for key in sorted(labels) if key not in _OWN and labels[key])
    column = ",".join(filter(None, [labels.get("column", ""), others]))
    if len(column) > MOST_LABELS or "\0" in column:
        raise Unreadable(
            f"The labels of {name} take more than {MOST_LABELS} characters, or hold one that can't be kept."
        )
    host, version = labels.get("host", "")[:50], labels.get("version", "")[:40]
    for at, value in samples:
        if is_measured(value):
            yield PointRow(name, at, value, 1, host, version, column, unit[:20])


def _points(families: Iterable[Metric], received_at: datetime) -> Iterator[PointRow]:
    for family in families:
        for sample in family.samples:
            at = received_at if sample.timestamp is None else _moment(sample.timestamp)
            yield from points_of(sample.name, sample.labels, [(at, float(sample.value))], family.unit)


def _moment(stamp: Timestamp | float) -> datetime:
    if isinstance(stamp, Timestamp):
        moment = _EPOCH + timedelta(seconds=stamp.sec, microseconds=stamp.nsec // 1000)
    else:
        moment = _EPOCH + timedelta(microseconds=round(stamp * 1_000_000))
    return measured_at(moment, "a sample")
