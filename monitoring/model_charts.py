"""Figures of a model: each version over time, on whichever of its endpoints it answered."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from monitoring import charts
from monitoring.charts import parts
from monitoring.charts.over import Span, by_version
from monitoring.charts.parts import Chart
from monitoring.drift.measures import wilson
from monitoring.history import Reading
from registry.models import Endpoint, Environment, Model

MOST_ENDPOINTS = 4
"""Endpoints that are drawn, production first."""
MOST_VERSIONS = 8
"""Versions that are drawn, the newest."""


@dataclass(frozen=True)
class ModelSpan:
    """A model from `since` to `until`: what is drawn of each of its endpoints, the first of which gives the bands."""

    model: Model
    since: datetime
    until: datetime
    overs: list[Span]
    left_out: int

    def on(self, slug: str) -> Span:
        """The span of the endpoint of that name; the first's where none that is drawn has it."""
        return next((over for over in self.overs if over.endpoint.slug == slug), self.overs[0])

    @property
    def reach(self) -> str:
        """What is drawn, as sentences' ends."""
        if not self.left_out:
            return self.overs[0].reach
        more = gettext("The first %(shown)s of %(all)s endpoints.") % {
            "shown": len(self.overs),
            "all": len(self.overs) + self.left_out,
        }
        return f"{self.overs[0].reach} {more}"

    def label(self, version: str, over: Span) -> str:
        """A line's name: the version, and the endpoint where there are several."""
        said = gettext("version %(version)s") % {"version": version}
        return said if len(self.overs) == 1 else f"{said}, {over.endpoint.slug}"

    def extras(self) -> dict[str, Any]:
        """Markers of all endpoints, and the versions of the first as bands."""
        found = self.overs[0].extras(direct=False)
        if len(self.overs) > 1:
            marked = [
                {**one, "label": f"{one['label']} ({over.endpoint.slug})"} for over in self.overs for one in over.marked
            ]
            found["markers"] = sorted(marked, key=lambda one: (one["x"], one["label"]))
        return found


@dataclass(frozen=True)
class Line:
    """One version on one endpoint: its readings, oldest first."""

    version: str
    over: Span
    found: list[Reading]

    def total(self, value: Callable[[Reading], float]) -> tuple[float, int]:
        """The mean of `value` weighed by observations, and how many there were; of none behind any, the plain mean."""
        n = sum(one.n for one in self.found)
        values = [value(one) for one in self.found]
        return float(np.average(values, weights=[one.n for one in self.found] if n else None)), n


def model_span(model: Model, since: datetime, until: datetime) -> ModelSpan | None:
    """What is drawn; None for a model without an endpoint."""
    endpoints = list(Endpoint.objects.filter(model=model).select_related("model"))
    endpoints.sort(key=lambda one: (one.environment != Environment.PRODUCTION, one.slug))
    shown = endpoints[:MOST_ENDPOINTS]
    if not shown:
        return None
    return ModelSpan(
        model, since, until, [charts.span(one, since, until) for one in shown], len(endpoints) - len(shown)
    )


def accuracy(over: ModelSpan) -> Chart | None:
    """Accuracy of each version with its 95 % interval. None without labels."""
    lines = list(_lines(over, "accuracy"))
    if not lines:
        return None
    traces: list[dict[str, Any]] = []
    for line in lines:
        tone = _tone(lines, line)
        for part in line.over.stretches(line.found):
            traces += parts.interval(part, tone)
        traces += _drawn(over, line, tone)
    rows, best = [], []
    for line in lines:
        share, n = line.total(lambda one: one.value)
        low, high = wilson(round(share * n), n)
        best.append(f"{over.label(line.version, line.over)} {share:.1%}")
        rows.append([*_of(line), f"{share:.1%}", f"{low:.1%} - {high:.1%}", f"{n:,}"])
    return Chart(
        "model-accuracy",
        gettext("Right of labelled answers over the span: %(versions)s.") % {"versions": "; ".join(best)},
        gettext("Share of labelled answers that were right, by version; shaded: 95 %% interval (Wilson). %(reach)s")
        % {"reach": over.reach},
        parts.figure(traces, {"title": gettext("accuracy"), "tickformat": ".0%"}, over.extras()),
        parts.table([*_columns(), gettext("accuracy"), "95 %", gettext("labelled rows")], rows),
    )


def drift(over: ModelSpan) -> Chart | None:
    """The largest PSI of any input, by version. None without a profile."""
    lines = list(_lines(over, "psi", _largest))
    if not lines:
        return None
    traces = [trace for line in lines for trace in _drawn(over, line, _tone(lines, line))]
    tops = [(max(line.found, key=lambda one: one.value), line) for line in lines]
    top, of = max(tops, key=lambda pair: pair[0].value)
    return Chart(
        "model-drift",
        gettext("The largest drift of an input: %(column)s, PSI %(psi)s, of %(version)s at %(at)s UTC.")
        % {
            "column": top.series.column, "psi": f"{top.value:.2f}", "version": over.label(of.version, of.over),
            "at": f"{top.at:%Y-%m-%d %H:%M}",
        },
        gettext("Population stability index of the input that moved most against the training data. %(reach)s")
        % {"reach": over.reach},
        parts.figure(traces, {"title": "PSI", "rangemode": "tozero"}, over.extras()),
        parts.table([*_columns(), gettext("largest PSI"), gettext("of input"), gettext("when, UTC")], [
            [*_of(line), f"{one.value:.3f}", one.series.column, parts.clock(one.at)] for one, line in tops
        ]),
    )  # fmt: skip


def latency(over: ModelSpan) -> Chart | None:
    """95th percentile of the time to answer, by version. None without latencies."""
    lines = list(_lines(over, "latency_p95_ms"))
    if not lines:
        return None
    traces = [trace for line in lines for trace in _drawn(over, line, _tone(lines, line))]
    means = [(line.total(lambda one: one.value)[0], line) for line in lines]
    slowest, of = max(means, key=lambda pair: pair[0])
    return Chart(
        "model-latency",
        gettext("The slowest is %(version)s: 95 %% of its answers take at most %(ms)s ms.")
        % {"version": over.label(of.version, of.over), "ms": f"{slowest:.2f}"},
        gettext("95th percentile of the time to answer inside of the hosts, in ms, by version. %(reach)s")
        % {"reach": over.reach},
        parts.figure(traces, {"title": "ms", "rangemode": "tozero"}, over.extras()),
        parts.table([*_columns(), gettext("p95, ms, mean"), gettext("highest")], [
            [*_of(line), f"{mean:.2f}", f"{max(one.high for one in line.found):.2f}"] for mean, line in means
        ]),
    )  # fmt: skip


def answers(over: ModelSpan) -> Chart | None:
    """How many answers each version gave. None without traffic."""
    lines = list(_lines(over, "rows"))
    if not lines:
        return None
    traces = [trace for line in lines for trace in _drawn(over, line, _tone(lines, line))]
    newest = max(lines, key=lambda line: (line.found[-1].at, line.found[-1].value))
    return Chart(
        "model-answers",
        gettext("%(version)s gave most answers at the latest: %(rows)s a window.")
        % {
            "version": over.label(newest.version, newest.over).capitalize(),
            "rows": f"{newest.found[-1].value:,.0f}",
        },
        gettext("Answers in a window, by version. %(reach)s") % {"reach": over.reach},
        parts.figure(traces, {"title": gettext("answers"), "rangemode": "tozero"}, over.extras()),
        parts.table([*_columns(), gettext("a window, mean"), gettext("last, UTC")], [
            [*_of(line), f"{np.mean([one.value for one in line.found]):,.0f}", parts.clock(line.found[-1].at)]
            for line in lines
        ]),
    )  # fmt: skip


CHARTS: dict[str, Callable[[ModelSpan], Chart | None]] = {
    "model-accuracy": accuracy, "model-drift": drift, "model-latency": latency, "model-answers": answers,
}  # fmt: skip

CALLED = {
    "model-accuracy": _("Accuracy by version"), "model-drift": _("Largest drift of an input by version"),
    "model-latency": _("Latency by version"), "model-answers": _("Answers by version"),
}  # fmt: skip
"""What stands in a chart's place before its data is read."""


OF_ENDPOINT = frozenset({"heat", "latency-fan", "hosts-latency", "hosts-accuracy", "distribution"})
"""Charts of an endpoint that stand on its model's page as well, beside those of its hosts' GPUs."""
GPU = "gpu_"


def names_on(over: Span) -> list[str]:
    """The charts of one endpoint that its model's page shows, of those for which it has series."""
    gpu = f"{charts.PREFIX}{GPU}"
    return [name for name in charts.names_of(over) if name in OF_ENDPOINT or name.startswith(gpu)]


def _lines(over: ModelSpan, name: str, reduce: Callable[[Sequence[Reading]], list[Reading]] = list) -> Iterator[Line]:
    """The newest versions' lines, oldest version first, endpoint by endpoint."""
    found = [(one, version, points) for one in over.overs for version, points in by_version(one, name).items()]
    newest = sorted({version for _, version, _ in found}, key=parts.number_of)[-MOST_VERSIONS:]
    for version in newest:
        for one, number, points in found:
            if number == version:
                yield Line(version, one, reduce(points))


def _largest(points: Sequence[Reading]) -> list[Reading]:
    """Of the readings of one moment, the one of the largest value."""
    top: dict[datetime, Reading] = {}
    for point in points:
        if point.at not in top or point.value > top[point.at].value:
            top[point.at] = point
    return [top[at] for at in sorted(top)]


def _tone(lines: Sequence[Line], line: Line) -> int:
    return list(dict.fromkeys(one.version for one in lines)).index(line.version) + 1


def _drawn(over: ModelSpan, line: Line, tone: int) -> list[dict[str, Any]]:
    """The line, cut where others answered; of a second endpoint it is dotted."""
    dash = "solid" if line.over is over.overs[0] else "dot"
    *earlier, last = line.over.stretches(line.found)
    named = over.label(line.version, line.over)
    return [parts.line(part, "", tone, dash) for part in earlier] + [parts.line(last, named, tone, dash)]


def _columns() -> list[str]:
    return [gettext("version"), gettext("endpoint"), gettext("from, UTC"), gettext("until, UTC")]


def _of(line: Line) -> list[str]:
    found = line.found
    return [line.version, line.over.endpoint.slug, parts.clock(found[0].at), parts.clock(found[-1].at)]
