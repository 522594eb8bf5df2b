"""Figures of an endpoint. A chart has a title that is its finding, a summary in words, and its numbers as a table."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from django.utils.translation import gettext_lazy as _

from monitoring.charts.distributions import distribution
from monitoring.charts.fleet import heat, hosts_accuracy, hosts_latency, latency_fan
from monitoring.charts.judged import accuracy, accuracy_control, drift, latency
from monitoring.charts.metrics import MOST_CHARTS, metric, metric_names, metric_words
from monitoring.charts.over import Span, span
from monitoring.charts.parts import Chart, thinned

__all__ = [
    "CHARTS", "Chart", "Span", "accuracy", "accuracy_control", "called", "chart_of", "distribution", "drift",
    "first_of", "latency", "metric_names", "names_of", "span", "thinned",
]  # fmt: skip

CHARTS: dict[str, Callable[[Span], Chart | None]] = {
    "accuracy": accuracy,
    "drift": drift,
    "heat": heat,
    "latency": latency,
    "latency-fan": latency_fan,
    "hosts-latency": hosts_latency,
    "hosts-accuracy": hosts_accuracy,
    "accuracy-control": accuracy_control,
    "distribution": distribution,
}

CALLED = {
    "accuracy": _("Accuracy by version"),
    "drift": _("Drift of the inputs"),
    "heat": _("Drift of every input over time"),
    "latency": _("Latency by host"),
    "latency-fan": _("Quantiles of latency"),
    "hosts-latency": _("Latency, a panel for each host"),
    "hosts-accuracy": _("Accuracy, a panel for each host"),
    "accuracy-control": _("Control chart of accuracy"),
    "distribution": _("Distribution of an input beside its training data"),
}
PREFIX = "metric-"


NEEDED = {
    "accuracy": "accuracy", "drift": "psi", "heat": "psi", "latency": "latency_p95_ms", "latency-fan": "latency_p50_ms",
    "hosts-latency": "latency_p95_ms", "hosts-accuracy": "accuracy", "accuracy-control": "accuracy",
    "distribution": "psi",
}  # fmt: skip
"""The series without which a chart has nothing to show."""
OF_HOSTS = frozenset({"latency", "hosts-latency", "hosts-accuracy"})
TWO = frozenset({"hosts-latency", "hosts-accuracy", "heat"})
"""Charts that compare lines: one alone is nothing to compare."""


def names_of(over: Span, chosen: str = "") -> list[str]:
    """The charts whose series the endpoint has, in their order, without reading a point; of the metrics that other
    programs measured the `chosen` one first. In the span itself one may yet have no data."""
    lines: dict[tuple[str, bool], set[int | str | None]] = defaultdict(set)
    for one in over.series:
        lines[one.name, one.host_id is not None].add(one.host_id or one.column)
    own = [name for name in CHARTS if len(lines[NEEDED[name], name in OF_HOSTS]) >= (2 if name in TWO else 1)]
    others = sorted(metric_names(over), key=lambda name: name != chosen)[: MOST_CHARTS + bool(chosen)]
    return own + [f"{PREFIX}{name}" for name in others]


def called(name: str) -> str:
    """What a chart shows, before its data is read: the words that stand in its place."""
    return CALLED[name] if name in CALLED else metric_words(name.removeprefix(PREFIX))


def first_of(over: Span, names: Sequence[str], column: str = "") -> tuple[Chart | None, list[str]]:
    """The first of these charts that has data in the span, and the names of those behind it."""
    for number, name in enumerate(names):
        chart = chart_of(over, name, column)
        if chart is not None:
            return chart, list(names[number + 1 :])
    return None, []


def chart_of(over: Span, name: str, column: str = "") -> Chart | None:
    """One chart by its name; None where there is no data for it. Raises KeyError for a name that no chart has."""
    if name.startswith(PREFIX) and name.removeprefix(PREFIX) in metric_names(over):
        return metric(over, name.removeprefix(PREFIX))
    return distribution(over, column) if name == "distribution" else CHARTS[name](over)
