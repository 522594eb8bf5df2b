"""What a control chart says of each window: its points, its limits, and which points are out of control.

A chart that remembers (EWMA, CUSUM) begins anew at its target `memory` points before each one, where what came before
weighs nothing any more: so what it says of a point does not depend on when judging began.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitoring.drift.control import (
    Chart,
    Phase1,
    ewma_limit,
    individuals,
    last_cusum,
    last_ewma,
    proportions,
    rates,
    xbar_s,
)
from monitoring.drift.rules import RuleHit, nelson, western_electric
from monitoring.rules.answers import REDUCE, Condition, Judged
from monitoring.rules.bins import Bins, Floats, Integers, sums
from monitoring.rules.control.params import NELSON, WITHOUT_RUNS, ControlChart, chart_of
from monitoring.rules.models import Reduce
from monitoring.rules.spec import Spec

LONGEST_RUN = 15
"""Points that the longest run rule looks back upon, the newest with them."""

FADED = 1e-4
"""The weight below which a point does not count in a moving average any more."""

MOST_MEMORY = 500


def memory(params: Mapping[str, Any]) -> int:
    """Points that the chart looks back upon, the newest with them. A CUSUM's are ten times those in which a shift by
    twice its k reaches h, up to MOST_MEMORY."""
    chart = chart_of(params)
    if chart == ControlChart.EWMA:
        weight = params["weight"]
        return 1 if weight == 1 else math.ceil(math.log(FADED) / math.log(1 - weight))
    if chart == ControlChart.CUSUM:
        return min(math.ceil(10 * params["h"] / params["k"]), MOST_MEMORY)
    return LONGEST_RUN


def judge(spec: Spec, bins: Bins, at: Integers) -> Judged:
    """What the chart says at each of the moments, which are one window apart."""
    before = at[:1] - np.arange(memory(spec.params) - 1, 0, -1, dtype=np.int64) * spec.window
    ends = np.concatenate((before, at))
    if chart_of(spec.params) in WITHOUT_RUNS:
        value, low, high, known = _remembering(spec, singles(spec, bins, ends), len(at))
        broken = (value > high) | (value < low)
    else:
        chart = charted(spec, bins, ends)
        own = slice(len(before), None)
        value, low, high = chart.points[own], chart.lower[own], chart.upper[own]
        known, broken = ~np.isnan(value), broken_points(chart.z, spec.params)[own]
    condition = np.where(known, np.where(broken, Condition.BREACH, Condition.CLEAR), Condition.NO_DATA)
    return Judged(at, np.where(known, value, np.nan), low, high, condition.astype(np.int8))


def _remembering(spec: Spec, points: Floats, count: int) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
    """Of the last `count` points: the statistic after each, its lower and upper limit, and whether the point is known.
    A CUSUM's statistic is the larger of its sums in sigmas, the lower one below zero."""
    p = spec.params
    rows = sliding_window_view(points, len(points) - count + 1)
    if chart_of(p) == ControlChart.EWMA:
        value = last_ewma(rows, target=p["centre"], weight=p["weight"])
        centre, reach = p["centre"], ewma_limit(sigma=p["sigma"], weight=p["weight"], width=p["width"])
    else:
        up, down = last_cusum(rows, target=p["centre"], sigma=p["sigma"], k=p["k"], h=p["h"])
        value, centre, reach = np.where(up >= down, up, -down), 0.0, p["h"]
    return value, np.full(count, centre - reach), np.full(count, centre + reach), ~np.isnan(rows[:, -1])


def charted(spec: Spec, bins: Bins, ends: Integers) -> Chart:
    """The Shewhart chart of the windows that end then, against the frozen limits."""
    p, chart = spec.params, chart_of(spec.params)
    if chart == ControlChart.INDIVIDUALS:
        return individuals(singles(spec, bins, ends), centre=p["centre"], sigma=p["sigma"], rules="none")
    if chart in (ControlChart.XBAR, ControlChart.S):
        limits = Phase1(p["centre"], p["sigma"], p["size"])
        means, spreads = xbar_s(subgroups(spec, bins, ends), limits, rules="none")
        return means if chart == ControlChart.XBAR else spreads
    counted, sizes = counts(spec, bins, ends)
    if not np.nansum(sizes) > 0:
        nothing = np.full(len(ends), np.nan)
        return Chart(nothing, p["centre"], math.nan, nothing, nothing, nothing, [])
    if chart == ControlChart.P:
        # Shares come as means of rollups: rounded, they are whole rows again.
        return proportions(np.clip(np.rint(counted), 0, sizes), sizes, centre=p["centre"], rules="none")
    return rates(np.maximum(counted, 0), sizes, centre=p["centre"], rules="none")


def singles(spec: Spec, bins: Bins, ends: Integers) -> Floats:
    """What each window came to; NaN for one without a value."""
    return REDUCE[Reduce(spec.reduce)](bins, ends, spec.window)


def subgroups(spec: Spec, bins: Bins, ends: Integers) -> Floats:
    """The values of each window, one for each equal part of it: (windows, size). NaN where a part has none."""
    size = int(spec.params["size"])
    part = spec.window // size
    within = np.arange(1 - size, 1, dtype=np.int64) * part
    asked = ends[:, None] + within[None, :]
    return REDUCE[Reduce(spec.reduce)](bins, asked.ravel(), part).reshape(asked.shape)


def counts(spec: Spec, bins: Bins, ends: Integers) -> tuple[Floats, Floats]:
    """What was counted in each window, and of how many rows or units; NaN for one without a value."""
    return sums(bins, bins.weighted, ends, spec.window), sums(bins, bins.n, ends, spec.window)


def found_by(params: Mapping[str, Any], z: Floats) -> list[RuleHit]:
    """Where the run rules of the params hold on standardised points, shape (n,)."""
    return (nelson if params["runs"] == NELSON else western_electric)(z, params["numbers"])


def broken_points(z: Floats, params: Mapping[str, Any]) -> NDArray[np.bool_]:
    """At which of the standardised points, shape (n,), a run rule is completed or goes on holding."""
    broken = np.zeros(len(z), dtype=bool)
    for hit in found_by(params, z):
        broken[hit.at : hit.points[-1] + 1] = True
    return broken
