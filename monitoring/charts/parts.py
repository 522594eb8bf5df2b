"""What figures are made of: traces, bands, tables, in Plotly's terms (colours are the page's: static/js/charts.js)."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from monitoring.drift.measures import wilson
from monitoring.history import Reading

MOST_POINTS = 400
"""Points of one trace that are sent to a browser; a longer series is thinned to its extremes."""

TABLE_ROWS = 50

LEGEND = {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"}
"""At the foot of the picture: above the plot stand the names of the version bands and markers."""


@dataclass(frozen=True)
class Chart:
    """One chart, as templates/parts/chart.html takes it. `size` is "", small or tall."""

    id: str
    title: str
    summary: str
    figure: dict[str, Any]
    table: dict[str, list[Any]] = field(default_factory=lambda: {"columns": [], "rows": []})
    size: str = ""


def line(found: Sequence[Reading], name: str, tone: int, dash: str = "solid") -> dict[str, Any]:
    kept = thinned(found, lambda point: point.value)
    return {**trace([stamp(p.at) for p in kept], [p.value for p in kept], name, tone), "line": {"dash": dash}}


def lines(found: Sequence[Reading], name: str, tone: int) -> list[dict[str, Any]]:
    """A line, and behind it from the lowest to the highest value of each reading, where it stands for several."""
    drawn = line(found, name, tone)
    if all(point.low == point.high for point in found):
        return [drawn]
    kept = thinned(found, lambda point: point.high)
    times = [stamp(point.at) for point in kept]
    return [*band(times, [point.low for point in kept], [point.high for point in kept], tone), drawn]


def interval(shares: Sequence[Reading], tone: int) -> list[dict[str, Any]]:
    """The 95 % interval (Wilson) of shares of `n`, to stand behind their line."""
    ends = [wilson(round(point.value * point.n), point.n) for point in shares]
    return band([stamp(point.at) for point in shares], [low for low, _ in ends], [high for _, high in ends], tone)


def band(x: list[str], low: list[Any], high: list[Any], tone: int | str) -> list[dict[str, Any]]:
    """The room between two lines, which are not drawn themselves."""
    quiet = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
    return [
        {**trace(x, low, "", tone), **quiet},
        {**trace(x, high, "", tone), **quiet, "fill": "tonexty"},
    ]


def trace(x: list[str], y: list[Any], name: str, tone: int | str) -> dict[str, Any]:
    # A line through one point is nothing that can be seen.
    mode = "lines" if len(x) > 1 else "lines+markers"
    drawn: dict[str, Any] = {"type": "scatter", "mode": mode, "x": x, "y": y, "meta": {"tone": tone}}
    return {**drawn, "name": name} if name else {**drawn, "name": "", "showlegend": False}


def figure(traces: list[dict[str, Any]], yaxis: dict[str, Any], extras: dict[str, Any]) -> dict[str, Any]:
    layout: dict[str, Any] = {"xaxis": {"type": "date"}, "yaxis": yaxis}
    if not extras.get("direct"):
        layout["legend"] = LEGEND
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


def flat(grouped: dict[str, list[Reading]]) -> Iterable[Reading]:
    return [point for found in grouped.values() for point in found]


def newest_first(found: Iterable[Reading]) -> list[Reading]:
    return sorted(found, key=lambda point: (-point.at.timestamp(), point.series.pk))


def table(columns: list[str], rows: list[list[str]]) -> dict[str, list[Any]]:
    return {"columns": columns, "rows": rows[:TABLE_ROWS]}


def stamp(at: datetime) -> str:
    """UTC without an offset, as Plotly draws it."""
    return f"{at:%Y-%m-%dT%H:%M:%S}"


def clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}"


def plain(number: float) -> str:
    return f"{number:g}"


def number_of(text: str) -> tuple[float, str]:
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text
