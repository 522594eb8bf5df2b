"""Figures of the analytics page, in Plotly's terms without colours (static/js/charts.js gives them)."""

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from incidents.learning.figures import BINS, STAGES, Stage, in_minutes

SHOWN = ("detect", "acknowledge", "mitigate", "resolve")
TO = {
    "detect": _("to detect"),
    "acknowledge": _("to acknowledge"),
    "decide": _("to decide"),
    "mitigate": _("to mitigate"),
    "verify": _("to verify"),
    "resolve": _("to resolve"),
}
TABLE_HEAD = [_("Stage"), *BINS, _("Not reached")]


def histogram(stages: Sequence[Stage]) -> dict[str, Any]:
    """How many incidents took how long, a group of bars for each stage; with its table."""
    data = [
        {
            "type": "bar",
            "x": list(BINS),
            "y": stage.bins,
            "name": TO[stage.name],
            "meta": {"tone": at},
        }
        for at, stage in enumerate((one for one in stages if one.name in SHOWN), start=1)
    ]
    layout = {"barmode": "group", "yaxis": {"title": {"text": gettext("incidents")}, "rangemode": "tozero"}}
    rows = [[TO[stage.name], *map(str, stage.bins), str(stage.missing)] for stage in stages]
    return {"figure": {"data": data, "layout": layout}, "table": {"columns": TABLE_HEAD, "rows": rows}}


def trend(months: Sequence[tuple[str, int, dict[str, float | None]]]) -> dict[str, Any]:
    """The median of each stage over months, in minutes; with its table of all stages."""
    names = [month for month, _count, _row in months]
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": names,
            "name": TO[name],
            "meta": {"tone": at},
            "y": [in_minutes(row[name]) for _month, _count, row in months],
        }
        for at, name in enumerate(SHOWN, start=1)
    ]
    layout = {
        "yaxis": {"title": {"text": gettext("median, minutes")}, "rangemode": "tozero"},
        "xaxis": {"type": "category"},
    }
    rows = [[month, str(count), *(_cell(row[name]) for name in STAGES)] for month, count, row in months]
    columns = [
        gettext("Month"),
        gettext("Incidents"),
        *(gettext("%(stage)s, min") % {"stage": TO[name]} for name in STAGES),
    ]
    return {"figure": {"data": data, "layout": layout}, "table": {"columns": columns, "rows": rows}}


def _cell(seconds: float | None) -> str:
    value = in_minutes(seconds)
    return "" if value is None else f"{value:,.1f}"
