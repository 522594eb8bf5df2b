"""Figures of an endpoint, as plain dicts in Plotly's terms (colours are the page's: see static/js/charts.js).

Each chart has a title that is its finding, a summary in words, and its numbers as a table.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np

from monitoring import markers
from monitoring.drift import control
from monitoring.drift.measures import wilson
from monitoring.drift.profile import CategoricalProfile, NumericProfile
from monitoring.drift.values import category_counts, numeric_values
from monitoring.history import Reading, read, step_of
from monitoring.models import Answer, Finding, MetricSeries, RuleKind
from monitoring.profiles import profiles_of
from monitoring.questions import listed
from monitoring.references import promised, versions_of
from monitoring.windows import load_predictions, numpy_column
from registry.models import Endpoint

MOST_POINTS = 400
"""Points of one trace that are sent to a browser; a longer series is thinned to its extremes."""

TOP_COLUMNS = 5
TABLE_ROWS = 50


@dataclass(frozen=True)
class Chart:
    """One chart, as templates/parts/chart.html takes it. `size` is "", small or tall."""

    id: str
    title: str
    summary: str
    figure: dict[str, Any]
    table: dict[str, list[Any]] = field(default_factory=lambda: {"columns": [], "rows": []})
    size: str = ""


@dataclass(frozen=True)
class Span:
    """What is drawn: an endpoint from `since` to `until`, and the version that answered most in each window."""

    endpoint: Endpoint
    since: datetime
    until: datetime
    main: dict[datetime, str]

    @property
    def newest(self) -> str:
        """The version that answered most in the newest window; "" without traffic."""
        return self.main[max(self.main)] if self.main else ""

    @property
    def by(self) -> str:
        """What one point of a trace stands for, in a word: window, minute or hour."""
        return step_of(self.since, self.until).value

    @cached_property
    def series(self) -> list[MetricSeries]:
        """Every series of the endpoint, with its host."""
        return list(MetricSeries.objects.filter(endpoint=self.endpoint).select_related("host"))

    def read(self, name: str, *, of_hosts: bool = False) -> list[Reading]:
        """The readings of that name in the span, of all hosts together or of each, oldest first."""
        wanted = [one for one in self.series if one.name == name and (one.host_id is not None) == of_hosts]
        return read(wanted, self.since, self.until)

    def stretches(self, found: Sequence[Reading]) -> list[list[Reading]]:
        """One version's points, cut where windows with traffic went by in which it did not answer: gaps are gaps."""
        parts: list[list[Reading]] = []
        windows = sorted(self.main)
        for point in found:
            near = parts and bisect_left(windows, point.at) - bisect_right(windows, parts[-1][-1].at) < 1
            if near:
                parts[-1].append(point)
            else:
                parts.append([point])
        return parts

    def extras(self, **more: Any) -> dict[str, Any]:
        """Markers and version bands, the same on every chart over time, and what this one adds."""
        found = markers.markers(self.endpoint, self.since, self.until)
        shown = [{"x": _stamp(m.at), "label": m.label, "kind": m.kind} for m in found]
        return {"markers": shown, "bands": self._bands(), **more}

    def _bands(self) -> list[dict[str, str]]:
        bands: list[dict[str, str]] = []
        for at in sorted(self.main):
            label = f"version {self.main[at]}"
            if bands and bands[-1]["label"] == label:
                bands[-1]["x1"] = _stamp(at)
            else:
                if bands:
                    bands[-1]["x1"] = _stamp(at)
                bands.append({"x0": _stamp(at), "x1": _stamp(at), "label": label})
        return bands if len(bands) > 1 else []


def span(endpoint: Endpoint, since: datetime, until: datetime) -> Span:
    """The span with its main versions, read from the windows' rows."""
    most: dict[datetime, tuple[float, str]] = {}
    over = Span(endpoint, since, until, {})
    for point in over.read("rows"):
        most[point.at] = max(most.get(point.at, (-1.0, "")), (point.value, point.series.version))
    over.main.update({at: version for at, (_, version) in most.items()})
    return over


def accuracy(over: Span) -> Chart | None:
    """Accuracy of each version with its 95 % interval, and the limit of the newest one. None without labels."""
    by_version = _by_version(over, "accuracy")
    if not by_version:
        return None
    traces: list[dict[str, Any]] = []
    for tone, version in enumerate(sorted(by_version, key=_number), 1):
        *earlier, last = parts = over.stretches(by_version[version])
        for part in parts:
            ends = [wilson(round(point.value * point.n), point.n) for point in part]
            traces += _band(part, [low for low, _ in ends], [high for _, high in ends], tone)
        traces += [_line(part, "", tone) for part in earlier] + [_line(last, f"version {version}", tone)]
    limit = _newest_limit(over)
    limits = [] if limit is None else [{"y": limit, "label": f"limit {limit:.1%} (version {over.newest})"}]
    figure = _figure(traces, {"title": "accuracy", "tickformat": ".0%"}, over.extras(limits=limits, direct=True))
    newest = by_version[over.newest][-1] if over.newest in by_version else max(_flat(by_version), key=lambda p: p.at)
    return Chart(
        "accuracy",
        _accuracy_title(over, newest, limit),
        f"Share of labelled answers that were right, by {over.by}; shaded: 95 % interval (Wilson). {_reach(over)}",
        figure,
        _table([f"{over.by}'s end, UTC", "version", "accuracy", "labelled rows"], [
            [_clock(p.at), p.series.version, f"{p.value:.1%}", f"{p.n:,}"] for p in _newest_first(_flat(by_version))
        ]),
    )  # fmt: skip


def _accuracy_title(over: Span, newest: Reading, limit: float | None) -> str:
    version = newest.series.version
    text = f"Version {version} was right in {newest.value:.1%} of labelled answers at {newest.at:%H:%M:%S}"
    if limit is None:
        return f"{text}."
    return f"{text}, {'below' if newest.value < limit else 'above'} the limit of {limit:.1%}."


def _newest_limit(over: Span) -> float | None:
    found = Finding.objects.filter(
        rule__endpoint=over.endpoint, rule__kind=RuleKind.ACCURACY, version=over.newest, host=None, limit__isnull=False
    )
    return found.order_by("-window__start").values_list("limit", flat=True).first()


def drift(over: Span) -> Chart | None:
    """PSI of the columns that drifted most, each held to the version that answered. None without a profile."""
    by_column: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read("psi"):
        if over.main.get(point.at) == point.series.version:
            by_column[point.series.column].append(point)
    if not by_column:
        return None
    ranked = sorted(by_column, key=lambda name: -max(point.value for point in by_column[name]))[:TOP_COLUMNS]
    traces = [trace for tone, name in enumerate(ranked, 1) for trace in _lines(by_column[name], name, tone)]
    found = _newest_finding(over, RuleKind.INPUT_DRIFT)
    limits = [{"y": found.limit, "label": f"limit {found.limit:g}"}] if found and found.limit else []
    worst = ranked[0]
    at_last = by_column[worst][-1]
    drifted = found.data.get("drifted", []) if found else []
    title = (
        f"{listed(drifted)} {'is' if len(drifted) == 1 else 'are'} unlike the training data of version {over.newest}."
        if drifted
        else f"The inputs are like version {over.newest}'s training data; largest: {worst}, PSI {at_last.value:.2f}."
    )
    return Chart(
        "drift",
        title,
        f"Population stability index of the {len(ranked)} inputs that moved most, as sent, against the training data "
        f"of the version that answered. {_means(over)}{_reach(over)}",
        _figure(traces, {"title": "PSI", "rangemode": "tozero"}, over.extras(limits=limits)),
        _table(["column", "PSI, newest", "PSI, largest", "when largest, UTC"], [
            [name, f"{by_column[name][-1].value:.3f}", f"{top.value:.3f}", _clock(top.at)]
            for name in sorted(by_column, key=lambda n: -by_column[n][-1].value)
            for top in [max(by_column[name], key=lambda p: p.value)]
        ]),
    )  # fmt: skip


def latency(over: Span) -> Chart | None:
    """Median (dotted) and 95th percentile of each host. None without latencies."""
    slow, middle = (_by_host(over, name) for name in ("latency_p95_ms", "latency_p50_ms"))
    if not slow:
        return None
    traces = []
    for tone, host in enumerate(sorted(slow), 1):
        traces += _lines(slow[host], f"{host} p95", tone)
        traces.append(_line(middle.get(host, []), f"{host} median", tone, dash="dot"))
    return Chart(
        "latency",
        _latency_title(over, slow),
        f"Time to answer inside of the host, preprocessing and forward pass, in ms. {_means(over)}{_reach(over)}",
        _figure(traces, {"title": "ms", "rangemode": "tozero"}, over.extras()),
        _table([f"{over.by}'s end, UTC", "host", "median, ms", "p95, ms", "rows"], [
            [_clock(p.at), p.series.host.name, _same_instant(middle, p), f"{p.value:.2f}", f"{p.n:,}"]
            for p in _newest_first(_flat(slow))
        ]),
    )  # fmt: skip


def _latency_title(over: Span, slow: dict[str, list[Reading]]) -> str:
    found = _newest_finding(over, RuleKind.LATENCY)
    if found is not None and found.answer != Answer.NOT_ENOUGH:
        median = found.data["median"]
        held = "beyond" if found.answer == Answer.BREACH else "within"
        return (
            f"Version {found.version} takes {median['window']:.2f} ms (median), {median['ratio']:.1f} times as long as "
            f"{found.data['reference']}, {held} the limit."
        )
    host, newest = max(((host, points_of[-1]) for host, points_of in slow.items()), key=lambda item: item[1].value)
    return f"95 % of answers take at most {newest.value:.2f} ms on the slowest host, {host}."


def _same_instant(series: dict[str, list[Reading]], point: Reading) -> str:
    assert point.series.host is not None
    return next((f"{p.value:.2f}" for p in series.get(point.series.host.name, []) if p.at == point.at), "")


def accuracy_control(over: Span) -> Chart | None:
    """A p-chart of the newest version's accuracy: limits at 3 sigma of each window's own size around its promise."""
    found = _by_version(over, "accuracy").get(over.newest, [])
    if len(found) < 2:
        return None
    version = versions_of(over.endpoint, [(over.newest, "")]).get(over.newest)
    centre, _ = promised(version)
    chart = control.proportions([round(p.value * p.n) for p in found], [p.n for p in found], centre=centre)
    out = set(chart.out)
    x = [_stamp(p.at) for p in found]
    dashed = {"line": {"dash": "dash", "width": 1, "shape": "hvh"}}
    traces: list[dict[str, Any]] = [
        {**_trace(x, chart.lower.tolist(), "limit, 3 sigma", "bad"), **dashed},
        {**_trace(x, chart.upper.tolist(), "", "bad"), **dashed},
        {**_trace(x, chart.points.tolist(), f"version {over.newest}", "accent"), "mode": "lines+markers"},
    ]
    if out:
        marks = [value if i in out else None for i, value in enumerate(chart.points.tolist())]
        traces.append({**_trace(x, marks, "out of control", "bad"), "mode": "markers", "marker": {"size": 9}})
    runs = [hit for hit in chart.hits if not out.issuperset(hit.points)]
    what = "its promise" if centre is not None else "its own mean"
    title = (
        f"Accuracy of version {over.newest} is out of control: {len(out)} of {len(found)} windows beyond 3 sigma."
        if out
        else f"Accuracy of version {over.newest} is in control: no window beyond 3 sigma of {what}."
    )
    named = "; ".join(f"{hit.meaning} at {found[hit.at].at:%H:%M:%S}" for hit in runs[:3])
    return Chart(
        "accuracy-control",
        title,
        f"p-chart around {chart.centre:.1%}, {what}; limits follow each window's labelled rows. "
        + (f"Run rules (Nelson): {named}." if named else "No run rule (Nelson) holds."),
        _figure(traces, {"title": "accuracy", "tickformat": ".0%"}, {"markers": over.extras()["markers"]}),
        _table([f"{over.by}'s end, UTC", "accuracy", "lower limit", "upper limit", "labelled rows"], [
            [_clock(p.at), f"{p.value:.1%}", f"{chart.lower[i]:.1%}", f"{chart.upper[i]:.1%}", f"{p.n:,}"]
            for i, p in reversed(list(enumerate(found)))
        ]),
    )  # fmt: skip


def distribution(over: Span, column: str = "") -> Chart | None:
    """One input column in the newest window against the training data of the version that answered most.

    Without `column`, the one that drifted most. None when there is no window, profile or such column.
    """
    found = _newest_finding(over, RuleKind.INPUT_DRIFT)
    if found is None or not found.data.get("columns"):
        return None
    column = column or found.data["columns"][0]["column"]
    version = versions_of(over.endpoint, [(found.version, "")]).get(found.version)
    profiles = profiles_of(version) if version else None
    reference = profiles[0].columns.get(column) if profiles else None
    if reference is None:
        return None
    window = found.window
    table = load_predictions(
        over.endpoint, window.start, window.end, versions=[found.version], columns=[f"feature.{column}"]
    )
    if not table.num_rows or not table.num_columns:
        return None
    values = numpy_column(table, f"feature.{column}")
    if isinstance(reference, NumericProfile):
        cells = _numeric_cells(reference, values)
    else:
        cells = _categories(reference, values)
    names, before, now = ([cell[i] for cell in cells] for i in range(3))
    judged = next((c for c in found.data["columns"] if c["column"] == column), None)
    return Chart(
        "distribution",
        judged["sentence"] if judged else f"{column} in the newest window.",
        f"Share of rows by value of {column}, as sent, {window.start:%H:%M:%S} to {window.end:%H:%M:%S} UTC "
        f"({len(table):,} rows), beside the training data of version {found.version} ({reference.rows:,} rows).",
        {
            "data": [
                {"type": "bar", "x": names, "y": before, "name": f"training data of version {found.version}",
                 "meta": {"tone": "muted"}},
                {"type": "bar", "x": names, "y": now, "name": "window", "meta": {"tone": "accent"}},
            ],
            "layout": {
                "barmode": "group",
                "hovermode": "x",
                "xaxis": {"title": column, "type": "category"},
                "yaxis": {"title": "share of rows", "tickformat": ".0%"},
            },
        },
        _table([column, "training data", "window"], [
            [name, f"{a:.1%}", f"{b:.1%}"] for name, a, b in zip(names, before, now, strict=True)
        ]),
    )  # fmt: skip


def _numeric_cells(reference: NumericProfile, values: np.ndarray) -> list[tuple[str, float, float]]:
    """Shares between the reference's deciles, and beyond its ends where the window has rows."""
    if not reference.edges:
        return []
    edges = np.asarray(reference.edges)
    ends = edges[reference.deciles]
    starts = np.concatenate(([edges[0]], ends[:-1]))
    finite = numeric_values(values).finite
    held = np.asarray(reference.at_or_below)[reference.deciles]
    before = np.diff(np.concatenate(([0], held))) / max(reference.n, 1)
    at_or_below = np.searchsorted(finite, np.concatenate(([np.nextafter(edges[0], -np.inf)], ends)), "right")
    rows = max(len(finite), 1)
    cells = [
        (f"{_plain(a)} to {_plain(b)}", float(p), float(n / rows))
        for a, b, p, n in zip(starts, ends, before, np.diff(at_or_below), strict=True)
    ]
    below, above = at_or_below[0], len(finite) - at_or_below[-1]
    if below:
        cells.insert(0, (f"below {_plain(edges[0])}", 0.0, float(below / rows)))
    if above:
        cells.append((f"above {_plain(edges[-1])}", 0.0, float(above / rows)))
    return cells


def _categories(reference: CategoricalProfile, values: np.ndarray) -> list[tuple[str, float, float]]:
    counted, missing = category_counts(values)
    now = {str(value): n for value, n in counted.items()} | ({"missing": missing} if missing else {})
    before = {str(value): n for value, n in reference.counts}
    names = sorted({*before, *now}, key=_number)[:40]
    total = max(reference.n, 1)
    return [(name, before.get(name, 0) / total, now.get(name, 0) / len(values)) for name in names]


def _by_version(over: Span, name: str) -> dict[str, list[Reading]]:
    grouped: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read(name):
        grouped[point.series.version].append(point)
    return dict(grouped)


def _by_host(over: Span, name: str) -> dict[str, list[Reading]]:
    """Points by host, of the version that answered most in each window."""
    grouped: dict[str, list[Reading]] = defaultdict(list)
    for point in over.read(name, of_hosts=True):
        if point.series.host is not None and over.main.get(point.at) == point.series.version:
            grouped[point.series.host.name].append(point)
    return dict(grouped)


def _newest_finding(over: Span, kind: str) -> Finding | None:
    found = Finding.objects.filter(
        rule__endpoint=over.endpoint, rule__kind=kind, version=over.newest, host=None, window__end__lte=over.until
    )
    return found.select_related("window").order_by("-window__start").first()


def _line(found: Sequence[Reading], name: str, tone: int, dash: str = "solid") -> dict[str, Any]:
    kept = thinned(found, lambda point: point.value)
    return {**_trace([_stamp(p.at) for p in kept], [p.value for p in kept], name, tone), "line": {"dash": dash}}


def _lines(found: Sequence[Reading], name: str, tone: int) -> list[dict[str, Any]]:
    """A line, and behind it from the lowest to the highest value of each reading, where it stands for several."""
    line = _line(found, name, tone)
    if all(point.low == point.high for point in found):
        return [line]
    kept = thinned(found, lambda point: point.high)
    return [*_band(kept, [point.low for point in kept], [point.high for point in kept], tone), line]


def _band(found: Sequence[Reading], low: list[float], high: list[float], tone: int) -> list[dict[str, Any]]:
    quiet = {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    times = [_stamp(point.at) for point in found]
    return [
        {**_trace(times, low, "", tone), **quiet},
        {**_trace(times, high, "", tone), **quiet, "fill": "tonexty"},
    ]


def _trace(x: list[str], y: list[Any], name: str, tone: int | str) -> dict[str, Any]:
    trace: dict[str, Any] = {"type": "scatter", "mode": "lines", "x": x, "y": y, "meta": {"tone": tone}}
    return {**trace, "name": name} if name else {**trace, "name": "", "showlegend": False}


def _figure(traces: list[dict[str, Any]], yaxis: dict[str, Any], extras: dict[str, Any]) -> dict[str, Any]:
    layout: dict[str, Any] = {"xaxis": {"type": "date"}, "yaxis": yaxis}
    if not extras.get("direct"):
        # Below the plot: above it stand the names of the version bands and markers.
        layout["legend"] = {"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"}
    return {"data": traces, "layout": layout, "lastgood": extras}


def thinned(found: Sequence[Any], value: Callable[[Any], float], most: int = MOST_POINTS) -> list[Any]:
    """At most `most` items in their order: of each of most / 2 equal stretches, the lowest and the highest."""
    if len(found) <= most:
        return list(found)
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(found)), most // 2):
        values = [value(found[i]) for i in part]
        kept |= {int(part[int(np.argmin(values))]), int(part[int(np.argmax(values))])}
    return [found[i] for i in sorted(kept)]


def _flat(grouped: dict[str, list[Reading]]) -> Iterable[Reading]:
    return [point for found in grouped.values() for point in found]


def _newest_first(found: Iterable[Reading]) -> list[Reading]:
    return sorted(found, key=lambda point: (-point.at.timestamp(), point.series.pk))


def _table(columns: list[str], rows: list[list[str]]) -> dict[str, list[Any]]:
    return {"columns": columns, "rows": rows[:TABLE_ROWS]}


def _means(over: Span) -> str:
    """What a line shows where a reading stands for several windows."""
    return "" if over.by == "window" else f"Lines: means of each {over.by}; shaded: its lowest to highest value. "


def _reach(over: Span) -> str:
    return f"{over.since:%Y-%m-%d %H:%M} to {over.until:%Y-%m-%d %H:%M} UTC."


def _stamp(at: datetime) -> str:
    """UTC without an offset, as Plotly draws it."""
    return f"{at:%Y-%m-%dT%H:%M:%S}"


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _plain(number: float) -> str:
    return f"{number:g}"


def _number(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


CHARTS: dict[str, Callable[[Span], Chart | None]] = {
    "accuracy": accuracy,
    "drift": drift,
    "latency": latency,
    "accuracy-control": accuracy_control,
    "distribution": distribution,
}
