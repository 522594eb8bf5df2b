"""The hosts side by side, the fan of latencies, the inputs over time: many lines in one figure."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median
from typing import Any

from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.over import Span, by_host
from monitoring.charts.parts import Chart
from monitoring.history import Reading

MOST_PANELS = 24
FAN = ("latency_p25_ms", "latency_p50_ms", "latency_p75_ms", "latency_p95_ms", "latency_p99_ms")
HEAT_TOP = 0.5
"""PSI from which a cell is drawn in full colour."""


def latency_fan(over: Span) -> Chart | None:
    """Quantiles of the latencies of the version that answered most: half of all within the dark band. None without."""
    found = {name: [p for p in over.read(name) if over.main.get(p.at) == p.series.version] for name in FAN}
    if not all(found.values()):
        return None
    low, middle, high, p95, p99 = found.values()
    quiet = {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    lower, upper = parts.line(low, "", "accent"), parts.line(high, "", "accent")
    traces: list[dict[str, Any]] = [
        {**lower, **quiet},
        {**upper, **quiet, "fill": "tonexty"},
        parts.line(middle, "median", "accent"),
        parts.line(p95, "p95", 2, dash="dash"),
        parts.line(p99, "p99", 2, dash="dot"),
    ]
    newest = [series[-1].value for series in (middle, p95, p99)]
    rows = [_at(found, point) for point in parts.newest_first(middle)]
    return Chart(
        "latency-fan",
        gettext("Half of all answers took at most %(newest)s ms, 95 %% at most %(p95)s ms, 99 %% at most %(p99)s ms.")
        % {"newest": f"{newest[0]:.2f}", "p95": f"{newest[1]:.2f}", "p99": f"{newest[2]:.2f}"},
        (
            gettext("Latency of all hosts together; shaded: the middle half of all answers. %(reach)s")
            if over.by == "window"
            else gettext(
                "Latency of all hosts together; shaded: the middle half of all answers. Quantiles of windows, "
                "averaged over each %(by)s. %(reach)s"
            )
        )
        % {"reach": over.reach, "by": over.by},
        parts.figure(traces, {"title": "ms", "rangemode": "tozero"}, over.extras()),
        parts.table(
            [
                gettext("%(by)s's end, UTC") % {"by": over.by},
                "p25, ms",
                gettext("median, ms"),
                "p75, ms",
                "p95, ms",
                "p99, ms",
            ],
            rows,
        ),
    )


def _at(found: dict[str, list[Reading]], point: Reading) -> list[str]:
    return [
        parts.clock(point.at),
        *(next((f"{p.value:.2f}" for p in series if p.at == point.at), "") for series in found.values()),
    ]


def hosts_latency(over: Span) -> Chart | None:
    """A panel for each host: its 95th percentile. None with fewer than two hosts."""
    return _panels(over, "latency_p95_ms", "hosts-latency", gettext("p95 of latency"), "ms", "ms")


def hosts_accuracy(over: Span) -> Chart | None:
    """A panel for each host: its accuracy. None with fewer than two hosts, or without labels."""
    return _panels(over, "accuracy", "hosts-accuracy", "accuracy", "%", "accuracy")


def _panels(over: Span, name: str, chart: str, words: str, unit: str, axis: str) -> Chart | None:
    found = by_host(over, name)
    if len(found) < 2:
        return None
    newest = {host: series[-1].value for host, series in found.items()}
    middle = median(newest.values())
    order = sorted(found, key=lambda host: (-abs(newest[host] - middle), host))
    shown = sorted(order[:MOST_PANELS])
    traces = []
    for panel, host in enumerate(shown):
        drawn = parts.line(found[host], "", "accent")
        traces.append({**drawn, "name": host, "meta": {**drawn["meta"], "panel": panel}})
    far = order[0]
    left_out = (
        gettext(" %(count)s hosts nearest to the middle are left out.") % {"count": len(found) - len(shown)}
        if len(found) > len(shown)
        else ""
    )
    yaxis: dict[str, Any] = {"tickformat": ".0%"} if unit == "%" else {"rangemode": "tozero"}
    return Chart(
        chart,
        gettext(
            "Of %(count)s hosts, %(far)s is farthest from the middle in %(words)s: %(newest)s; the median "
            "host has %(middle)s."
        )
        % {
            "count": len(found),
            "far": far,
            "words": words,
            "newest": _said(newest[far], unit),
            "middle": _said(middle, unit),
        },
        gettext("By host, %(words)s of the version that answered most, on one scale.%(left_out)s %(reach)s")
        % {"words": words, "left_out": left_out, "reach": over.reach},
        {
            "data": traces,
            "layout": {"xaxis": {"type": "date"}, "yaxis": {"title": axis, **yaxis}},
            "lastgood": over.extras(panels=shown, bands=[]),
        },
        parts.table(
            ["host", "newest", "lowest", "highest"],
            [
                [
                    host,
                    _said(newest[host], unit),
                    _said(min(p.low for p in found[host]), unit),
                    _said(max(p.high for p in found[host]), unit),
                ]
                for host in order
            ],
        ),
        "panels",
    )


def _said(value: float, unit: str) -> str:
    return f"{value:.1%}" if unit == "%" else f"{value:.2f} {unit}"


def heat(over: Span) -> Chart | None:
    """How far each input is from its training data, over time: PSI by column as a map. None without a profile."""
    cells: dict[str, dict[Any, Reading]] = defaultdict(dict)
    for point in over.read("psi"):
        if over.main.get(point.at) == point.series.version:
            cells[point.series.column][point.at] = point
    if len(cells) < 2:
        return None
    times = _thinned(sorted({at for column in cells.values() for at in column}))
    order = sorted(cells, key=lambda name: max(p.value for p in cells[name].values()))
    z = [[round(cells[name][at].value, 4) if at in cells[name] else None for at in times] for name in order]
    worst = max((p for column in cells.values() for p in column.values()), key=lambda p: p.value)
    beyond = sum(max(p.value for p in column.values()) >= 0.2 for column in cells.values())
    return Chart(
        "heat",
        gettext(
            "%(beyond)s of %(count)s inputs reached a PSI of 0.2; the largest was %(column)s with %(value)s "
            "at %(at)s UTC."
        )
        % {
            "beyond": beyond,
            "count": len(cells),
            "column": worst.series.column,
            "value": f"{worst.value:.2f}",
            "at": parts.clock(worst.at),
        },
        gettext(
            "Population stability index of each input against the training data of the version that "
            "answered, by %(by)s; darker is farther, full colour from %(top)s. %(reach)s"
        )
        % {"by": over.by, "top": f"{HEAT_TOP:g}", "reach": over.reach},
        {
            "data": [
                {
                    "type": "heatmap",
                    "x": [parts.stamp(at) for at in times],
                    "y": order,
                    "z": z,
                    "zmin": 0,
                    "zmax": HEAT_TOP,
                    "name": "PSI",
                    "xgap": 0,
                    "ygap": 1,
                }
            ],
            "layout": {"xaxis": {"type": "date"}, "yaxis": {"type": "category"}, "hovermode": "closest"},
            "lastgood": {"markers": over.extras()["markers"]},
        },
        parts.table(
            ["column", gettext("PSI, newest"), gettext("PSI, largest"), gettext("when largest, UTC")],
            [
                [name, f"{cells[name][max(cells[name])].value:.3f}", f"{top.value:.3f}", parts.clock(top.at)]
                for name in reversed(order)
                for top in [max(cells[name].values(), key=lambda p: p.value)]
            ],
        ),
        "tall",
    )


def _thinned(times: Sequence[Any]) -> list[Any]:
    """At most as many moments as a trace may have, evenly."""
    every = -(-len(times) // parts.MOST_POINTS)
    return list(times[::every])
