"""What a window shows, in numbers: the metric points of each version, overall and by host."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.queries import accuracy_of, latency_of
from monitoring.windows import numpy_column

POSITIVE = 1

FAN = {"latency_p25_ms": 0.25, "latency_p75_ms": 0.75, "latency_p99_ms": 0.99}
"""Quantiles that are kept beside median and p95, of all hosts together: what the fan of latencies is drawn from."""

LABELLED = frozenset({"accuracy", "accuracy_low", "accuracy_high"})
"""The measures that need labels."""


@dataclass(frozen=True)
class Measured:
    """One number: a metric of a version, of one host (by name) or of all, over `n` rows."""

    name: str
    version: str
    host: str | None
    value: float
    n: int
    column: str = ""
    unit: str = ""


def measure(table: pa.Table) -> Iterator[Measured]:
    """The points of a window's table: rows, accuracy with its Wilson interval, positive share, quantiles of latency."""
    for version in sorted(pc.unique(table.column("version")).to_pylist()):
        own = table.filter(pc.equal(table.column("version"), version))
        yield from _of(own, version, None)
        for host in sorted(name for name in pc.unique(own.column("host")).to_pylist() if name):
            yield from _of(own.filter(pc.equal(own.column("host"), host)), version, host)


def _of(table: pa.Table, version: str, host: str | None) -> Iterator[Measured]:
    yield Measured("rows", version, host, float(len(table)), len(table), unit="rows")
    if pa.types.is_integer(table.column("output").type):
        share = float(np.mean(numpy_column(table, "output") == POSITIVE))
        yield Measured("positive_share", version, host, share, len(table), unit="share")
        accuracy = accuracy_of(table)
        if accuracy.share is not None:
            yield Measured("accuracy", version, host, accuracy.share, accuracy.n, unit="share")
            yield Measured("accuracy_low", version, host, accuracy.low, accuracy.n, unit="share")
            yield Measured("accuracy_high", version, host, accuracy.high, accuracy.n, unit="share")
    latency = latency_of(table)
    if latency.p50 is not None and latency.p95 is not None:
        yield Measured("latency_p50_ms", version, host, latency.p50, latency.n, unit="ms")
        yield Measured("latency_p95_ms", version, host, latency.p95, latency.n, unit="ms")
        if host is None:
            values = numpy_column(table, "latency_ms")
            for name, value in zip(FAN, np.nanquantile(values, list(FAN.values())), strict=True):
                yield Measured(name, version, None, float(value), latency.n, unit="ms")
