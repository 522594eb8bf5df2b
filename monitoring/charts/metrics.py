"""What hosts, engines and other programs measured: scraped, pulled by PromQL, or pushed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.over import Span
from monitoring.charts.parts import Chart
from monitoring.history import Reading
from monitoring.models import MetricSeries
from monitoring.questions import listed

OF_WINDOWS = frozenset({
    "rows", "accuracy", "accuracy_low", "accuracy_high", "positive_share", "psi", "joint_auc", "latency_p25_ms",
    "latency_p50_ms", "latency_p75_ms", "latency_p95_ms", "latency_p99_ms",
})  # fmt: skip
"""What Lastgood measures itself, which has charts of its own."""

FIRST = (
    "gpu_utilisation", "gpu_memory_used_bytes", "gpu_memory_free_bytes", "gpu_temperature", "gpu_ecc_uncorrected",
    "gpu_ecc_corrected", "gpu_xid", "requests_per_second", "failures_per_second", "exceptions_per_second",
    "refused_per_second", "engine_latency_p95_ms", "queue",
    "cpu_utilisation", "memory_used_bytes", "host_up",
)  # fmt: skip
"""Metrics whose charts stand first, in this order."""

MOST_CHARTS, MOST_LINES = 6, 8
SILENT, STEPS = timedelta(minutes=5), 3
SCALED = {"bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")), "bytes/s": ((2**20, "MiB/s"), (2**10, "KiB/s"))}


def metric_names(over: Span) -> list[str]:
    """The metrics of the endpoint that other programs measured, those that matter most first."""
    names = {one.name for one in over.series} - OF_WINDOWS
    return sorted(names, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))


def metric(over: Span, name: str) -> Chart | None:
    """One metric of every host, GPU and version that has it; the eight highest lines of more. None without points."""
    lines: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read_all(name):
        lines[_called(point.series)].append(point)
    if not lines:
        return None
    ranked = sorted(lines, key=lambda label: -max(point.high for point in lines[label]))
    shown = sorted(ranked[:MOST_LINES])
    unit = next((found[0].series.unit for found in lines.values() if found[0].series.unit), "")
    top = max(point.high for found in lines.values() for point in found)
    factor, unit_shown = _scale(unit, top)
    scaled = {label: [_times(point, factor) for point in lines[label]] for label in shown}
    traces = [trace for tone, label in enumerate(shown, 1) for trace in parts.lines(scaled[label], label, tone)]
    present, gone = _present(lines)
    newest = max(present, key=lambda label: lines[label][-1].value)
    words = metric_words(name)
    of = f", {newest}" if newest != "all" else ""
    left_out = (
        gettext(" The %(most)s highest of %(count)s lines.") % {"most": MOST_LINES, "count": len(lines)}
        if len(lines) > MOST_LINES
        else ""
    )
    return Chart(
        f"metric-{name}",
        (
            gettext("%(words)s: %(plain)s at the latest%(of)s.")
            % {"words": words, "plain": _plain(lines[newest][-1].value * factor, unit_shown), "of": of}
        )
        + (gettext(" Nothing since from %(gone)s.") % {"gone": listed(gone)} if gone else ""),
        gettext("%(words)s, as it was measured.%(left_out)s %(means)s%(reach)s")
        % {"words": words, "left_out": left_out, "means": over.means, "reach": over.reach},
        parts.figure(
            traces, {"title": "share" if unit == "share" else unit_shown, **_axis(unit)}, over.extras(bands=[])
        ),
        parts.table(
            ["line", "newest", "lowest", "highest", gettext("measured last, UTC")],
            [
                [
                    label,
                    *(
                        _plain(v * factor, unit_shown)
                        for v in (found[-1].value, min(p.low for p in found), max(p.high for p in found))
                    ),
                    parts.clock(found[-1].at),
                ]
                for label in ranked
                for found in [lines[label]]
            ],
        ),
        "small",
    )


def _present(lines: Mapping[str, Sequence[Reading]]) -> tuple[list[str], list[str]]:
    """The lines that reach to the newest reading of any, but for STEPS of their own usual distances or SILENT,
    whichever is longer; and those that end before that: their last value is none of the present."""
    last = max(found[-1].at for found in lines.values())
    present = []
    for label, found in lines.items():
        usual = (found[-1].at - found[0].at) / max(len(found) - 1, 1)
        if last - found[-1].at <= max(SILENT, STEPS * usual):
            present.append(label)
    return present, sorted(set(lines) - set(present))


def metric_words(name: str) -> str:
    """The metric's name as words, as a sentence begins; its unit stands beside the values."""
    spelt = {"gpu": "GPU", "cpu": "CPU", "ecc": "ECC", "xid": "XID", "kv": "KV", "ms": "", "bytes": ""}
    words = " ".join(filter(None, [spelt.get(word, word) for word in name.split("_")])) or name
    return f"{words[0].upper()}{words[1:]}"


def _called(series: MetricSeries) -> str:
    version = gettext("version %(series)s") % {"series": series.version} if series.version else ""
    return " ".join(filter(None, [series.host.name if series.host else "", version, series.column])) or "all"


def _scale(unit: str, top: float) -> tuple[float, str]:
    return next(((1 / size, name) for size, name in SCALED.get(unit, ()) if top >= size), (1.0, unit))


def _times(point: Reading, factor: float) -> Reading:
    return Reading(point.series, point.at, point.value * factor, point.n, point.low * factor, point.high * factor)


def _axis(unit: str) -> dict[str, object]:
    return {"tickformat": ".0%", "rangemode": "tozero"} if unit == "share" else {"rangemode": "tozero"}


def _plain(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "share" else f"{value:,.4g} {unit}".strip()
