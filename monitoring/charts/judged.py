"""What windows were judged by: accuracy, drift, latency, and accuracy as a control chart."""

import math
from collections import defaultdict
from typing import Any

from django.utils.translation import gettext, ngettext

from monitoring.charts import parts
from monitoring.charts.over import Span, by_host, by_version, newest_finding
from monitoring.charts.parts import Chart
from monitoring.drift import control, run_length
from monitoring.drift.measures import wilson
from monitoring.history import Reading
from monitoring.models import Answer, Finding, RuleKind
from monitoring.questions import listed
from monitoring.references import promised, versions_of
from monitoring.rules.troubled import troubles

TOP_COLUMNS = 5

LEAST_WELL = 20
"""Points without trouble from which the false alarms of a control chart are told."""


def accuracy(over: Span) -> Chart | None:
    """Accuracy of each version with its 95 % interval, and the limit of the newest one. None without labels."""
    found = by_version(over, "accuracy")
    if not found:
        return None
    traces: list[dict[str, Any]] = []
    for tone, version in enumerate(sorted(found, key=parts.number_of), 1):
        *earlier, last = stretches = over.stretches(found[version])
        for part in stretches:
            traces += parts.interval(part, tone)
        traces += [parts.line(part, "", tone) for part in earlier] + [
            parts.line(last, gettext("version %(version)s") % {"version": version}, tone)
        ]
    limit = _newest_limit(over)
    limits = (
        []
        if limit is None
        else [
            {
                "y": limit,
                "label": gettext("limit %(limit)s (version %(newest)s)")
                % {"limit": f"{limit:.1%}", "newest": over.newest},
            }
        ]
    )
    figure = parts.figure(traces, {"title": "accuracy", "tickformat": ".0%"}, over.extras(limits=limits, direct=True))
    newest = found[over.newest][-1] if over.newest in found else max(parts.flat(found), key=lambda p: p.at)
    return Chart(
        "accuracy",
        _accuracy_title(over, newest, limit),
        gettext("Share of labelled answers that were right, by %(by)s; shaded: 95 %% interval (Wilson). %(reach)s")
        % {"by": over.by, "reach": over.reach},
        figure,
        parts.table(
            [gettext("%(by)s's end, UTC") % {"by": over.by}, "version", "accuracy", gettext("labelled rows")],
            [
                [parts.clock(p.at), p.series.version, f"{p.value:.1%}", f"{p.n:,}"]
                for p in parts.newest_first(parts.flat(found))
            ],
        ),
    )


def _accuracy_title(over: Span, newest: Reading, limit: float | None) -> str:
    version = newest.series.version
    text = gettext("Version %(version)s was right in %(value)s of labelled answers at %(at)s") % {
        "version": version,
        "value": f"{newest.value:.1%}",
        "at": f"{newest.at:%H:%M:%S}",
    }
    if limit is None:
        return f"{text}."
    return (
        gettext("%(text)s, below the limit of %(limit)s.")
        if newest.value < limit
        else gettext("%(text)s, above the limit of %(limit)s.")
    ) % {"text": text, "limit": f"{limit:.1%}"}


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
    limits = (
        [{"y": found.limit, "label": gettext("limit %(limit)s") % {"limit": f"{found.limit:g}"}}]
        if found and found.limit
        else []
    )
    worst = ranked[0]
    at_last = by_column[worst][-1]
    largest = gettext("largest: %(worst)s, PSI %(value)s") % {"worst": worst, "value": f"{at_last.value:.2f}"}
    return Chart(
        "drift",
        _drift_title(over, found, largest),
        gettext(
            "Population stability index of the %(count)s inputs that moved most, as sent, against the "
            "training data of the version that answered. %(means)s%(reach)s"
        )
        % {"count": len(ranked), "means": over.means, "reach": over.reach},
        parts.figure(traces, {"title": "PSI", "rangemode": "tozero"}, over.extras(limits=limits)),
        parts.table(
            ["column", gettext("PSI, newest"), gettext("PSI, largest"), gettext("when largest, UTC")],
            [
                [name, f"{by_column[name][-1].value:.3f}", f"{top.value:.3f}", parts.clock(top.at)]
                for name in sorted(by_column, key=lambda n: -by_column[n][-1].value)
                for top in [max(by_column[name], key=lambda p: p.value)]
            ],
        ),
    )


def _drift_title(over: Span, found: Finding | None, largest: str) -> str:
    if found is None or found.answer == Answer.NOT_ENOUGH:
        return gettext(
            "The inputs of version %(newest)s were not judged against its training data here; %(largest)s."
        ) % {"newest": over.newest, "largest": largest}
    drifted = found.data.get("drifted", [])
    if not drifted:
        return gettext("The inputs are like version %(newest)s's training data; %(largest)s.") % {
            "newest": over.newest,
            "largest": largest,
        }
    return ngettext(
        "%(drifted)s is unlike the training data of version %(newest)s.",
        "%(drifted)s are unlike the training data of version %(newest)s.",
        len(drifted),
    ) % {"drifted": listed(drifted), "newest": over.newest}


def latency(over: Span) -> Chart | None:
    """Median (dotted) and 95th percentile of each host. None without latencies."""
    slow, middle = (by_host(over, name) for name in ("latency_p95_ms", "latency_p50_ms"))
    if not slow:
        return None
    traces = []
    for tone, host in enumerate(sorted(slow), 1):
        traces += parts.lines(slow[host], f"{host} p95", tone)
        traces.append(parts.line(middle.get(host, []), gettext("%(host)s median") % {"host": host}, tone, dash="dot"))
    return Chart(
        "latency",
        _latency_title(over, slow),
        gettext("Time to answer inside of the host, preprocessing and forward pass, in ms. %(means)s%(reach)s")
        % {"means": over.means, "reach": over.reach},
        parts.figure(traces, {"title": "ms", "rangemode": "tozero"}, over.extras()),
        parts.table(
            [gettext("%(by)s's end, UTC") % {"by": over.by}, "host", gettext("median, ms"), "p95, ms", "rows"],
            [
                [parts.clock(p.at), p.series.host.name, _same_instant(middle, p), f"{p.value:.2f}", f"{p.n:,}"]
                for p in parts.newest_first(parts.flat(slow))
            ],
        ),
    )


def _latency_title(over: Span, slow: dict[str, list[Reading]]) -> str:
    found = newest_finding(over, RuleKind.LATENCY)
    if found is not None and found.answer != Answer.NOT_ENOUGH:
        median = found.data["median"]
        held = "beyond" if found.answer == Answer.BREACH else "within"
        return gettext(
            "Version %(found)s takes %(window)s ms (median), %(ratio)s times as long as %(reference)s, "
            "%(held)s the limit."
        ) % {
            "found": found.version,
            "window": f"{median['window']:.2f}",
            "ratio": f"{median['ratio']:.1f}",
            "reference": found.data["reference"],
            "held": held,
        }
    host, newest = max(((host, points_of[-1]) for host, points_of in slow.items()), key=lambda item: item[1].value)
    return gettext("95 %% of answers take at most %(value)s ms on the slowest host, %(host)s.") % {
        "value": f"{newest.value:.2f}",
        "host": host,
    }


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
        {**parts.trace(x, chart.lower.tolist(), gettext("limit, 3 sigma"), "bad"), **dashed},
        {**parts.trace(x, chart.upper.tolist(), "", "bad"), **dashed},
        {
            **parts.trace(x, chart.points.tolist(), gettext("version %(newest)s") % {"newest": over.newest}, "accent"),
            "mode": "lines+markers",
        },
    ]
    if out:
        marks = [value if i in out else None for i, value in enumerate(chart.points.tolist())]
        traces.append(
            {**parts.trace(x, marks, gettext("out of control"), "bad"), "mode": "markers", "marker": {"size": 9}}
        )
    runs = [hit for hit in chart.hits if not out.issuperset(hit.points)]
    what = gettext("its promise") if centre is not None else gettext("its own mean")
    title = (
        (
            gettext("Accuracy of version %(newest)s is out of control: %(count)s of %(count2)s windows beyond 3 sigma.")
            % {"newest": over.newest, "count": len(out), "count2": len(found)}
        )
        if out
        else (
            gettext("Accuracy of version %(newest)s is in control: no window beyond 3 sigma of %(what)s.")
            % {"newest": over.newest, "what": what}
        )
    )
    named = "; ".join(
        gettext("%(meaning)s at %(at)s") % {"meaning": hit.meaning, "at": f"{found[hit.at].at:%H:%M:%S}"}
        for hit in runs[:3]
    )
    return Chart(
        "accuracy-control",
        title,
        (
            gettext("p-chart around %(centre)s, %(what)s; limits follow each window's labelled rows. ")
            % {"centre": f"{chart.centre:.1%}", "what": what}
        )
        + (
            gettext("Run rules (Nelson): %(named)s.") % {"named": named}
            if named
            else gettext("No run rule (Nelson) holds.")
        )
        + f" {_false_alarms(over, found, chart)}",
        parts.figure(traces, {"title": "accuracy", "tickformat": ".0%"}, {"markers": over.extras()["markers"]}),
        parts.table(
            [
                gettext("%(by)s's end, UTC") % {"by": over.by},
                "accuracy",
                gettext("lower limit"),
                gettext("upper limit"),
                gettext("labelled rows"),
            ],
            [
                [parts.clock(p.at), f"{p.value:.1%}", f"{chart.lower[i]:.1%}", f"{chart.upper[i]:.1%}", f"{p.n:,}"]
                for i, p in reversed(list(enumerate(found)))
            ],
        ),
    )


def _false_alarms(over: Span, found: list[Reading], chart: control.Chart) -> str:
    """How often a point of the p-chart is beyond 3 sigma though nothing is wrong: by theory, and of those shown."""
    known = troubles(over.endpoint, over.since, over.until)
    well = [place for place, point in enumerate(found) if not known.touches(point.at)]
    beyond = len(set(chart.out).intersection(well))
    points = run_length.proportion_run_length(chart.centre, sum(point.n for point in found) / len(found))
    theory = (
        gettext("By theory one point in %(points)s is beyond 3 sigma by chance; ") % {"points": f"{points:,.0f}"}
        if math.isfinite(points)
        else gettext("By theory no point is beyond 3 sigma by chance; ")
    )
    if len(well) < LEAST_WELL:
        few = ngettext(
            "measured it can't be yet: %(well)s point is without an incident or alert, and %(least)s are needed.",
            "measured it can't be yet: %(well)s points are without an incident or alert, and %(least)s are needed.",
            len(well),
        )
        return theory + few % {"well": len(well), "least": LEAST_WELL}
    low, high = wilson(beyond, len(well))
    said = gettext(
        "of the %(well)s that no incident or alert touches, %(beyond)s were (95 %% interval of their share: %(low)s to "
        "%(high)s)."
    )
    return theory + said % {
        "well": f"{len(well):,}",
        "beyond": f"{beyond:,}",
        "low": f"{low:.2%}",
        "high": f"{high:.2%}",
    }
