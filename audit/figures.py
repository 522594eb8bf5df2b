"""What a chart's figure draws, point by point, in Plotly's terms (static/js/charts.js)."""

from collections.abc import Iterator, Mapping
from typing import Any

from audit.verify import csv_cell

COLUMNS = ("line", "x", "y")


def points(figure: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Every point that is drawn: the line's name, x and y; of a heat map the row's name, x and the cell."""
    for trace in figure["data"]:
        if trace.get("type") == "heatmap":
            for row, cells in zip(trace["y"], trace["z"], strict=True):
                yield from ((row, x, cell) for x, cell in zip(trace["x"], cells, strict=True))
        else:
            name = trace.get("name") or trace.get("meta", {}).get("tone", "")
            yield from ((name, x, y) for x, y in zip(trace["x"], trace["y"], strict=True))


def as_csv(figure: Mapping[str, Any]) -> str:
    """Its points as CSV (RFC 4180) with a head: line, x, y. What has no value is an empty cell; text that a spreadsheet
    would take for a formula is made harmless."""
    rows = (COLUMNS, *points(figure))
    return "".join(f"{','.join(_cell(value) for value in row)}\r\n" for row in rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    # A negative number begins as a formula does.
    return str(value) if isinstance(value, int | float) else csv_cell(value)
