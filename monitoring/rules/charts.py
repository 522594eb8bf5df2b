"""The figure of a rule: the value, its limits, and where it fired."""

import math
from typing import Any

import numpy as np
from django.utils.translation import gettext

from monitoring.charts.parts import LEGEND
from monitoring.rules.answers import Condition
from monitoring.rules.bins import SECOND, Bools, Floats, Integers, stretches
from monitoring.rules.control import params as control
from monitoring.rules.machine import Firing, What
from monitoring.rules.models import AlertRule, AlertRuleKind
from monitoring.rules.preview import Preview, Told, length
from monitoring.rules.reading import microseconds, moment

MOST_POINTS = 800
"""Points of one trace that are sent to a browser: of each stretch of a longer one, the extremes."""
MOST_FIRINGS = 1_000
"""Firings of which each is drawn, however short it is."""
TABLE_ROWS = 50


def chart(found: Preview) -> dict[str, Any] | None:
    """What parts/chart.html takes, of the host that fired longest (or of the endpoint). None where nothing was judged.

    The limits move where the hour of the week moves them; what is drawn thick was told.
    """
    told = found.worst
    if told is None or not len(told.judged.at):
        return None
    where = gettext(" on %(host)s") % {"host": told.host.name} if told.host else ""
    judged = told.judged
    fired = _while_firing(told, microseconds(found.until))
    kept = drawn_places(judged.value, fired)
    times = [_stamp(at) for at in judged.at[kept].tolist()]
    traces = [_trace(times, judged.value[kept], found.rule.metric, 1, 1.5)]
    for values, name in ((judged.high, gettext("upper limit")), (judged.low, gettext("lower limit"))):
        if not np.all(np.isnan(values)):
            traces.append(_trace(times, values[kept], name, "muted", 1.25, dash="dash"))
    if found.rule.kind == AlertRuleKind.CONTROL:
        middle = np.full(len(kept), control.centre_line(found.rule.params))
        traces.append(_trace(times, middle, gettext("centre"), "muted", 1, dash="dot"))
    if fired.any():
        thick = _trace(times, np.where(fired, judged.value, np.nan)[kept], "fired", "bad", 4)
        traces.append({**thick, "mode": "lines+markers"})
    return {
        "id": "rule-chart",
        "title": found.sentence,
        "summary": gettext("%(rule)s%(where)s, and the limits it is held to; drawn thick: while it fired.")
        % {"rule": _plotted(found.rule), "where": where},
        "figure": {
            "data": traces,
            "layout": {
                "xaxis": {"type": "date"},
                "yaxis": {"title": _axis(found.rule)},
                "legend": LEGEND,
            },
            "lastgood": {},
        },
        "table": _table(found),
    }


def _axis(rule: AlertRule) -> str:
    if rule.kind == AlertRuleKind.CONTROL:
        return control.axis_title(rule.params) or rule.metric
    return gettext("burn rate of the error budget") if rule.kind == AlertRuleKind.BURN else rule.metric


def _plotted(rule: AlertRule) -> str:
    return control.plotted_in_words(rule.params, rule.metric) if rule.kind == AlertRuleKind.CONTROL else _axis(rule)


def _while_firing(told: Told, until: int) -> Bools:
    found = np.zeros(len(told.judged.at), dtype=bool)
    for firing in told.fired:
        found |= (told.judged.at >= firing.fired) & (told.judged.at < (firing.ended or until + 1))
    return found & (told.judged.condition != Condition.NO_DATA)


def drawn_places(values: Floats, fired: Bools) -> Integers:
    """The places that are drawn: at most MOST_POINTS, of each stretch its lowest and highest value, or the first where
    it has none, so that a gap stays a gap; and where each firing begins, ends and is over, of at most MOST_FIRINGS, the
    longest. Short ones lie between the extremes, and would not be seen."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    kept: set[int] = set()
    for part in np.array_split(np.arange(len(values)), MOST_POINTS // 2):
        own = values[part]
        if np.all(np.isnan(own)):
            kept.add(int(part[0]))
        else:
            kept |= {int(part[int(np.nanargmin(own))]), int(part[int(np.nanargmax(own))])}
    spans = sorted(stretches(fired), key=lambda one: one.start - one.stop)[:MOST_FIRINGS]
    kept |= {place for one in spans for place in (one.start, one.stop - 1, min(one.stop, len(values) - 1))}
    return np.array(sorted(kept))


def _trace(x: list[str], y: Floats, name: str, tone: Any, width: float, dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": [value if math.isfinite(value) else None for value in y.tolist()],
        "name": name,
        "meta": {"tone": tone},
        "line": {"width": width, "dash": dash},
    }


def _table(found: Preview) -> dict[str, list[Any]]:
    until = microseconds(found.until)
    pairs = [(told, firing) for told in found.told for firing in (*told.fired, *told.unheard)]
    pairs.sort(key=lambda pair: -pair[1].fired)
    rows = [_row(told, firing, until) for told, firing in pairs[:TABLE_ROWS]]
    return {"columns": [gettext("fired, UTC"), "where", "what", gettext("ended, UTC"), "for"], "rows": rows}


def _row(told: Told, firing: Firing, until: int) -> list[str]:
    value = told.judged.value[firing.index]
    what = (
        gettext("value %(value)s") % {"value": f"{value:.4g}"}
        if firing.what == What.FIRE and math.isfinite(value)
        else gettext("no data")
    )
    ended = f"{moment(firing.ended):%Y-%m-%d %H:%M}" if firing.ended else gettext("fires still")
    seconds = ((firing.ended or until) - firing.fired) // SECOND
    where = told.host.name if told.host else gettext("the endpoint")
    return [f"{moment(firing.fired):%Y-%m-%d %H:%M}", where, what, ended, length(seconds)]


def _stamp(at: int) -> str:
    """UTC without an offset, as Plotly draws it."""
    return f"{moment(at):%Y-%m-%dT%H:%M:%S}"
