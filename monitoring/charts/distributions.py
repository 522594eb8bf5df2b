"""How values are spread: an input column in a window beside its training data."""

import numpy as np

from monitoring.charts import parts
from monitoring.charts.over import Span, newest_finding
from monitoring.charts.parts import Chart
from monitoring.drift.profile import CategoricalProfile, NumericProfile
from monitoring.drift.values import category_counts, numeric_values
from monitoring.models import RuleKind
from monitoring.profiles import profiles_of
from monitoring.references import versions_of
from monitoring.windows import load_predictions, numpy_column


def distribution(over: Span, column: str = "") -> Chart | None:
    """One input column in the newest window against the training data of the version that answered most.

    Without `column`, the one that drifted most. None when there is no window, profile or such column.
    """
    found = newest_finding(over, RuleKind.INPUT_DRIFT)
    if found is None or not found.data.get("columns"):
        return None
    column = column or found.data["columns"][0]["column"]
    version = versions_of(over.endpoint, [(found.version, "")]).get(found.version)
    profiles = profiles_of(version) if version else None
    reference = profiles[0].columns.get(column) if profiles else None
    if reference is None:
        return None
    window = found.window
    table = load_predictions(
        over.endpoint, window.start, window.end, versions=[found.version], columns=[f"feature.{column}"]
    )
    if not table.num_rows or not table.num_columns:
        return None
    values = numpy_column(table, f"feature.{column}")
    if isinstance(reference, NumericProfile):
        cells = _numeric_cells(reference, values)
    else:
        cells = _categories(reference, values)
    names, before, now = ([cell[i] for cell in cells] for i in range(3))
    judged = next((c for c in found.data["columns"] if c["column"] == column), None)
    return Chart(
        "distribution",
        judged["sentence"] if judged else f"{column} in the newest window.",
        f"Share of rows by value of {column}, as sent, {window.start:%Y-%m-%d %H:%M:%S} to {window.end:%H:%M:%S} UTC "
        f"({len(table):,} rows), beside the training data of version {found.version} ({reference.rows:,} rows).",
        {
            "data": [
                {"type": "bar", "x": names, "y": before, "name": f"training data of version {found.version}",
                 "meta": {"tone": "muted"}},
                {"type": "bar", "x": names, "y": now, "name": "window", "meta": {"tone": "accent"}},
            ],
            "layout": {
                "barmode": "group",
                "hovermode": "x",
                "xaxis": {"title": column, "type": "category"},
                "yaxis": {"title": "share of rows", "tickformat": ".0%"},
            },
        },
        parts.table([column, "training data", "window"], [
            [name, f"{a:.1%}", f"{b:.1%}"] for name, a, b in zip(names, before, now, strict=True)
        ]),
    )  # fmt: skip


def _numeric_cells(reference: NumericProfile, values: np.ndarray) -> list[tuple[str, float, float]]:
    """Shares between the reference's deciles, and beyond its ends where the window has rows."""
    if not reference.edges:
        return []
    edges = np.asarray(reference.edges)
    ends = edges[reference.deciles]
    starts = np.concatenate(([edges[0]], ends[:-1]))
    finite = numeric_values(values).finite
    held = np.asarray(reference.at_or_below)[reference.deciles]
    before = np.diff(np.concatenate(([0], held))) / max(reference.n, 1)
    at_or_below = np.searchsorted(finite, np.concatenate(([np.nextafter(edges[0], -np.inf)], ends)), "right")
    rows = max(len(finite), 1)
    cells = [
        (f"{parts.plain(a)} to {parts.plain(b)}", float(p), float(n / rows))
        for a, b, p, n in zip(starts, ends, before, np.diff(at_or_below), strict=True)
    ]
    below, above = at_or_below[0], len(finite) - at_or_below[-1]
    if below:
        cells.insert(0, (f"below {parts.plain(edges[0])}", 0.0, float(below / rows)))
    if above:
        cells.append((f"above {parts.plain(edges[-1])}", 0.0, float(above / rows)))
    return cells


def _categories(reference: CategoricalProfile, values: np.ndarray) -> list[tuple[str, float, float]]:
    counted, missing = category_counts(values)
    now = {str(value): n for value, n in counted.items()} | ({"missing": missing} if missing else {})
    before = {str(value): n for value, n in reference.counts}
    names = sorted({*before, *now}, key=parts.number_of)[:40]
    total = max(reference.n, 1)
    return [(name, before.get(name, 0) / total, now.get(name, 0) / len(values)) for name in names]
