"""What windows were judged by: accuracy, drift, latency, and accuracy as a control chart."""

from collections import defaultdict
from typing import Any

from monitoring.charts import parts
from monitoring.charts.over import Span, by_host, by_version, newest_finding
from monitoring.charts.parts import Chart
from monitoring.drift import control
from monitoring.drift.measures import wilson
from monitoring.history import Reading
from monitoring.models import Answer, Finding, RuleKind
from monitoring.questions import listed
from monitoring.references import promised, versions_of

TOP_COLUMNS = 5


def accuracy(over: Span) -> Chart | None:
    """Accuracy of each version with its 95 % interval, and the limit of the newest one. None without labels."""
    found = by_version(over, "accuracy")
    if not found:
        return None
    traces: list[dict[str, Any]] = []
    for tone, version in enumerate(sorted(found, key=parts.number_of), 1):
        *earlier, last = stretches = over.stretches(found[version])
        for part in stretches:
            ends = [wilson(round(point.value * point.n), point.n) for point in part]
            traces += parts.band(part, [low for low, _ in ends], [high for _, high in ends], tone)
        traces += [parts.line(part, "", tone) for part in earlier] + [parts.line(last, f"version {version}", tone)]
    limit = _newest_limit(over)
    limits = [] if limit is None else [{"y": limit, "label": f"limit {limit:.1%} (version {over.newest})"}]
    figure = parts.figure(traces, {"title": "accuracy", "tickformat": ".0%"}, over.extras(limits=limits, direct=True))
    newest = found[over.newest][-1] if over.newest in found else max(parts.flat(found), key=lambda p: p.at)
    return Chart(
        "accuracy",
        _accuracy_title(over, newest, limit),
        f"Share of labelled answers that were right, by {over.by}; shaded: 95 % interval (Wilson). {over.reach}",
        figure,
        parts.table([f"{over.by}'s end, UTC", "version", "accuracy", "labelled rows"], [
            [parts.clock(p.at), p.series.version, f"{p.value:.1%}", f"{p.n:,}"]
            for p in parts.newest_first(parts.flat(found))
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
    traces = [trace for tone, name in enumerate(ranked, 1) for trace in parts.lines(by_column[name], name, tone)]
    found = newest_finding(over, RuleKind.INPUT_DRIFT)
    limits = [{"y": found.limit, "label": f"limit {found.limit:g}"}] if found and found.limit else []
    worst = ranked[0]
    at_last = by_column[worst][-1]
    largest = f"largest: {worst}, PSI {at_last.value:.2f}"
    return Chart(
        "drift",
        _drift_title(over, found, largest),
        f"Population stability index of the {len(ranked)} inputs that moved most, as sent, against the training data "
        f"of the version that answered. {over.means}{over.reach}",
        parts.figure(traces, {"title": "PSI", "rangemode": "tozero"}, over.extras(limits=limits)),
        parts.table(["column", "PSI, newest", "PSI, largest", "when largest, UTC"], [
            [name, f"{by_column[name][-1].value:.3f}", f"{top.value:.3f}", parts.clock(top.at)]
            for name in sorted(by_column, key=lambda n: -by_column[n][-1].value)
            for top in [max(by_column[name], key=lambda p: p.value)]
        ]),
    )  # fmt: skip


def _drift_title(over: Span, found: Finding | None, largest: str) -> str:
    if found is None or found.answer == Answer.NOT_ENOUGH:
        return f"The inputs of version {over.newest} were not judged against its training data here; {largest}."
    drifted = found.data.get("drifted", [])
    if not drifted:
        return f"The inputs are like version {over.newest}'s training data; {largest}."
    return (
        f"{listed(drifted)} {'is' if len(drifted) == 1 else 'are'} unlike the training data of version {over.newest}."
    )


def latency(over: Span) -> Chart | None:
    """Median (dotted) and 95th percentile of each host. None without latencies."""
    slow, middle = (by_host(over, name) for name in ("latency_p95_ms", "latency_p50_ms"))
    if not slow:
        return None
    traces = []
    for tone, host in enumerate(sorted(slow), 1):
        traces += parts.lines(slow[host], f"{host} p95", tone)
        traces.append(parts.line(middle.get(host, []), f"{host} median", tone, dash="dot"))
    return Chart(
        "latency",
        _latency_title(over, slow),
        f"Time to answer inside of the host, preprocessing and forward pass, in ms. {over.means}{over.reach}",
        parts.figure(traces, {"title": "ms", "rangemode": "tozero"}, over.extras()),
        parts.table([f"{over.by}'s end, UTC", "host", "median, ms", "p95, ms", "rows"], [
            [parts.clock(p.at), p.series.host.name, _same_instant(middle, p), f"{p.value:.2f}", f"{p.n:,}"]
            for p in parts.newest_first(parts.flat(slow))
        ]),
    )  # fmt: skip


def _latency_title(over: Span, slow: dict[str, list[Reading]]) -> str:
    found = newest_finding(over, RuleKind.LATENCY)
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
    found = by_version(over, "accuracy").get(over.newest, [])
    if len(found) < 2:
        return None
    version = versions_of(over.endpoint, [(over.newest, "")]).get(over.newest)
    centre, _ = promised(version)
    chart = control.proportions([round(p.value * p.n) for p in found], [p.n for p in found], centre=centre)
    out = set(chart.out)
    x = [parts.stamp(p.at) for p in found]
    dashed = {"line": {"dash": "dash", "width": 1, "shape": "hvh"}}
    traces: list[dict[str, Any]] = [
        {**parts.trace(x, chart.lower.tolist(), "limit, 3 sigma", "bad"), **dashed},
        {**parts.trace(x, chart.upper.tolist(), "", "bad"), **dashed},
        {**parts.trace(x, chart.points.tolist(), f"version {over.newest}", "accent"), "mode": "lines+markers"},
    ]
    if out:
        marks = [value if i in out else None for i, value in enumerate(chart.points.tolist())]
        traces.append({**parts.trace(x, marks, "out of control", "bad"), "mode": "markers", "marker": {"size": 9}})
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
        parts.figure(traces, {"title": "accuracy", "tickformat": ".0%"}, {"markers": over.extras()["markers"]}),
        parts.table([f"{over.by}'s end, UTC", "accuracy", "lower limit", "upper limit", "labelled rows"], [
            [parts.clock(p.at), f"{p.value:.1%}", f"{chart.lower[i]:.1%}", f"{chart.upper[i]:.1%}", f"{p.n:,}"]
            for i, p in reversed(list(enumerate(found)))
        ]),
    )  # fmt: skip
