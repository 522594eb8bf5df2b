"""Figures of an endpoint. A chart has a title that is its finding, a summary in words, and its numbers as a table."""

from collections.abc import Callable

from monitoring.charts.distributions import distribution
from monitoring.charts.fleet import heat, hosts_accuracy, hosts_latency, latency_fan
from monitoring.charts.judged import accuracy, accuracy_control, drift, latency
from monitoring.charts.metrics import MOST_CHARTS, metric, metric_names
from monitoring.charts.over import Span, span
from monitoring.charts.parts import Chart, thinned

__all__ = [
    "CHARTS", "Chart", "Span", "accuracy", "accuracy_control", "chart_of", "charts_of", "distribution", "drift",
    "latency", "metric_names", "span", "thinned",
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

PREFIX = "metric-"


def charts_of(over: Span, column: str = "", chosen: str = "") -> list[Chart]:
    """All charts that there is data for; of the metrics that other programs measured the `chosen` one first."""
    others = sorted(metric_names(over), key=lambda name: name != chosen)[: MOST_CHARTS + bool(chosen)]
    drawn = [distribution(over, column) if name == "distribution" else draw(over) for name, draw in CHARTS.items()]
    return [chart for chart in [*drawn, *(metric(over, name) for name in others)] if chart is not None]


def chart_of(over: Span, name: str, column: str = "") -> Chart | None:
    """One chart by its name; None where there is no data for it. Raises KeyError for a name that no chart has."""
    if name.startswith(PREFIX) and name.removeprefix(PREFIX) in metric_names(over):
        return metric(over, name.removeprefix(PREFIX))
    return distribution(over, column) if name == "distribution" else CHARTS[name](over)
