"""How often a control chart is out of control by chance, if points are what theory takes them for."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from django.utils.translation import gettext

from monitoring.drift.control import c4
from monitoring.drift.run_length import (
    cusum_run_length,
    deviation_run_length,
    ewma_run_length,
    proportion_run_length,
    rate_run_length,
    shewhart_run_length,
    simulated_run_length,
)
from monitoring.rules.bins import Floats
from monitoring.rules.control.judging import found_by
from monitoring.rules.control.params import ControlChart, chart_of
from monitoring.rules.models import AlertRule
from monitoring.rules.spec import between

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]


def run_length(params: dict[str, Any]) -> float:
    """Mean number of points until the chart calls a process that is in control out of it: points are independent, and
    normal where no rows are counted. Infinite where it never does."""
    chart = chart_of(params)
    if chart == ControlChart.EWMA:
        return _ewma(params["weight"], params["width"])
    if chart == ControlChart.CUSUM:
        return _cusum(params["k"], params["h"])
    size = params.get("size") or params.get("sample") or 0
    return _shewhart(chart, params["runs"], tuple(params["numbers"]), size, params["centre"])


_ewma = lru_cache(maxsize=64)(lambda weight, width: ewma_run_length(weight=weight, width=width))
_cusum = lru_cache(maxsize=64)(lambda k, h: cusum_run_length(k=k, h=h))


@lru_cache(maxsize=64)
def _shewhart(chart: ControlChart, runs: str, numbers: tuple[int, ...], size: float, centre: float) -> float:
    if numbers == (1,):
        exact = {
            ControlChart.S: lambda: deviation_run_length(int(size)),
            ControlChart.P: lambda: proportion_run_length(centre, size),
            ControlChart.U: lambda: rate_run_length(centre, size),
        }
        return exact.get(chart, shewhart_run_length)()
    wanted = {"runs": runs, "numbers": list(numbers)}
    return simulated_run_length(lambda z: found_by(wanted, z), _draw(chart, size, centre))


def _draw(chart: ControlChart, size: float, centre: float) -> Draw:
    """Standardised points of a process that is in control."""
    if chart == ControlChart.S:
        free, factor = int(size) - 1, c4(int(size))
        return lambda rng, n: (np.sqrt(rng.chisquare(free, n) / free) - factor) / math.sqrt(1 - factor * factor)
    if chart == ControlChart.P:
        rows = max(round(size), 1)
        return lambda rng, n: (rng.binomial(rows, centre, n) - rows * centre) / math.sqrt(rows * centre * (1 - centre))
    if chart == ControlChart.U:
        mean = centre * size
        return lambda rng, n: (rng.poisson(mean, n) - mean) / math.sqrt(mean)
    return lambda rng, n: rng.standard_normal(n)


def sentence(rule: AlertRule) -> str:
    """For the page, beside what was measured."""
    points = run_length(rule.params)
    if math.isinf(points):
        return gettext("By theory: windows like those of the stable period are never out of control by chance.")
    said = {
        ControlChart.P: gettext(
            "By theory (independent rows, windows of their mean size) one window in %(points)s is out of control by "
            "chance: about one in %(often)s."
        ),
        ControlChart.U: gettext(
            "By theory (independent counts, windows of their mean size) one window in %(points)s is out of control by "
            "chance: about one in %(often)s."
        ),
    }.get(
        chart_of(rule.params),
        gettext(
            "By theory (independent, normal values) one point in %(points)s is out of control by chance: about one in "
            "%(often)s."
        ),
    )
    return said % {"points": f"{points:,.0f}", "often": between(points * rule.window_seconds)}
