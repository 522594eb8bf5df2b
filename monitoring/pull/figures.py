"""From two readings of a page of figures to values of ours. Nothing here touches the database or the network."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import parser as prometheus
from prometheus_client.samples import Sample

from monitoring.pull.known import GPU, KNOWN, MODEL_LABELS, How, Known
from monitoring.reading import is_measured

MOST_SAMPLES = 5_000
MOST_REQUESTS = 2**31 - 1
"""More of them than a point can name stand behind a value as so many."""
QUANTILES = {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}
_SUFFIXES = ("_total", "_bucket", "_sum", "_count")

Key = str
"""A sample's place: name, then labels in order, as `name|label=value|…`."""


class UnknownPage(ValueError):
    """A page holds no figures that can be read. The message says what is wrong with it."""


@dataclass(frozen=True)
class Figure:
    """One value of ours: of a model (its name on the engine; "" for all of the host) and version, over `n` requests."""

    name: str
    value: float
    unit: str
    model: str = ""
    version: str = ""
    column: str = ""
    n: int = 1


@dataclass
class Reading:
    """What a page says: values as they stand, and counters by their key, with how each is used."""

    values: list[Figure] = field(default_factory=list)
    counters: dict[Key, float] = field(default_factory=dict)
    used: dict[Key, tuple[str, Known, dict[str, str]]] = field(default_factory=dict)


def read_page(exporter: str, text: str) -> Reading:
    """The known figures of an exporter's page in Prometheus' text format.

    Raises UnknownPage for another text, one that holds nothing that this exporter is known to say, and too many.
    """
    if "\0" in text:
        raise UnknownPage("The page is not Prometheus' text: it holds the character NUL.")
    known, found, gauges = KNOWN[exporter], Reading(), defaultdict[tuple[Known, str, str, str], list[float]](list)
    try:
        for sample in _samples(text):
            called = next((name for name in _names(sample.name) if name in known), "")
            if not called or not is_measured(sample.value):
                continue
            entry = known[called]
            if entry.how == How.VALUE:
                gauges[(entry, *_owner(entry, sample.labels), _column(entry, sample.labels))].append(sample.value)
            elif _counts(entry, sample) and sample.value >= 0:
                key = "|".join([sample.name, *(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))])
                found.counters[key] = float(sample.value)
                found.used[key] = (called, entry, dict(sample.labels))
            if len(found.counters) + len(gauges) > MOST_SAMPLES:
                raise UnknownPage(f"The page has more than {MOST_SAMPLES} figures.")
    except UnknownPage:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UnknownPage(f"The page is not Prometheus' text: {' '.join(str(error).split())[:150]}") from error
    if not gauges and not found.counters:
        raise UnknownPage(f"The page holds none of the figures of {exporter}; is it another exporter's?")
    found.values = [
        Figure(entry.name, entry.fold(values) * entry.scale, entry.unit, model, version, column)
        for (entry, model, version, column), values in gauges.items()
    ]
    return found


def since_before(now: Reading, before: Mapping[Key, float], seconds: float) -> list[Figure]:
    """What the counters say of the time since the reading before, `seconds` ago. A counter that fell has begun anew;
    one that was not there before says nothing yet."""
    grown = {
        key: value - before[key] if value >= before[key] else value
        for key, value in now.counters.items()
        if key in before
    }
    sums: dict[tuple[Known, str, str, str], list[float]] = defaultdict(list)
    buckets: dict[tuple[Known, str, str], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    requests: dict[tuple[str, str, str], float] = defaultdict(float)
    for key, growth in grown.items():
        called, entry, labels = now.used[key]
        model, version = _owner(entry, labels)
        if entry.how == How.BUCKETS:
            buckets[entry, model, version][float(labels["le"])] += growth
        else:
            sums[entry, model, version, _column(entry, labels)].append(growth)
            requests[called, model, version] += growth
    figures: list[Figure] = []
    for (entry, model, version, column), values in sums.items():
        value = _value(entry, values, seconds, requests[entry.per, model, version] if entry.per else 0.0)
        if value is not None:
            figures.append(Figure(entry.name, value * entry.scale, entry.unit, model, version, column))
    for (entry, model, version), counted in buckets.items():
        total = counted[max(counted)]
        figures += [
            Figure(f"{entry.name}_{name}", quantile(counted, q) * entry.scale, entry.unit, model, version, n=_n(total))
            for name, q in QUANTILES.items()
            if total >= 1
        ]
    return figures


def quantile(buckets: Mapping[float, float], q: float) -> float:
    """The value up to which a share `q` of what a cumulative histogram counts lies; straight within a bucket, as
    Prometheus' histogram_quantile has it; beyond the last bound, that bound. Raises ValueError where it counts nothing.
    """
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if total <= 0:
        raise ValueError("A histogram that counts nothing has no quantile.")
    below, start = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= q * total and buckets[bound] > below:
            if math.isinf(bound):
                return start
            return start + (bound - start) * (q * total - below) / (buckets[bound] - below)
        below, start = buckets[bound], start if math.isinf(bound) else bound
    return start


def _n(total: float) -> int:
    return min(int(total), MOST_REQUESTS)


def _names(name: str) -> Iterable[str]:
    """What a sample's figure may be called: the parser adds `_total` to counters that lack it."""
    yield name
    yield from (name.removesuffix(suffix) for suffix in _SUFFIXES if name.endswith(suffix))


def _samples(text: str) -> Iterable[Sample]:
    for family in prometheus.text_string_to_metric_families(text):
        yield from family.samples


def _counts(entry: Known, sample: Sample) -> bool:
    if entry.how == How.BUCKETS:
        return sample.name.endswith("_bucket") and not math.isnan(float(sample.labels.get("le", "nan")))
    return entry.how != How.IDLE or sample.labels.get("mode") == "idle"


def _value(entry: Known, grown: list[float], seconds: float, requests: float) -> float | None:
    match entry.how:
        case How.RATE:
            return sum(grown) / seconds
        case How.GROWTH:
            return entry.fold(grown)
        case How.IDLE:
            return min(1.0, max(0.0, 1 - sum(grown) / len(grown) / seconds))
        case _:
            return sum(grown) / requests if requests else None


def _owner(entry: Known, labels: Mapping[str, str]) -> tuple[str, str]:
    """Model and version that a sample is of. Other makers' engines number versions their own way: those are none."""
    model = next((labels[name] for name in MODEL_LABELS if labels.get(name)), "")
    return model, labels.get("version", "") if entry.versioned else ""


def _column(entry: Known, labels: Mapping[str, str]) -> str:
    kept = [f"{'gpu' if name in GPU else name}={labels[name]}" for name in entry.labels if labels.get(name)]
    # Exporters name a GPU several ways at once; the first way that is known is enough.
    return ",".join(filter(None, [entry.fixed, *kept[: 1 if set(entry.labels) <= set(GPU) else None]]))[:200]
