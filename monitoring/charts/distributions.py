"""How values are spread: an input column in a window beside its training data."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.over import Span, newest_finding
from monitoring.charts.parts import Chart
from monitoring.drift.compare import psi_starts
from monitoring.drift.profile import CategoricalProfile, CategoricalWindow, NumericProfile, NumericWindow
from monitoring.drift.values import category_counts, numeric_values
from monitoring.drift.window import count_sorted
from monitoring.models import RuleKind
from monitoring.profiles import profiles_of
from monitoring.references import versions_of
from monitoring.windows import load_predictions, numpy_column

MOST_CATEGORIES = 40


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
        counted: NumericWindow | CategoricalWindow = count_sorted(reference, numeric_values(values))
    else:
        counted = CategoricalWindow(*category_counts(values))
    judged = next((c for c in found.data["columns"] if c["column"] == column), None)
    return bars(
        judged["sentence"] if judged else gettext("%(column)s in the newest window.") % {"column": column},
        gettext(
            "Share of rows by value of %(column)s, as sent, %(start)s to %(end)s UTC (%(count)s rows), "
            "beside the training data of version %(found)s (%(rows)s rows)."
        )
        % {
            "column": column,
            "start": f"{window.start:%Y-%m-%d %H:%M:%S}",
            "end": f"{window.end:%H:%M:%S}",
            "count": f"{len(table):,}",
            "found": found.version,
            "rows": f"{reference.rows:,}",
        },
        column,
        cells_of(reference, counted),
        [gettext("training data of version %(found)s") % {"found": found.version}, "window"],
    )


def cells_of(
    reference: NumericProfile | CategoricalProfile, window: NumericWindow | CategoricalWindow
) -> list[tuple[str, float, float]]:
    """Name of each cell with its share of the reference and of the window: the reference's deciles, and beyond its
    ends where the window has rows; or categories, at most MOST_CATEGORIES."""
    if isinstance(reference, NumericProfile) and isinstance(window, NumericWindow):
        return _numeric_cells(reference, window)
    assert isinstance(reference, CategoricalProfile)
    assert isinstance(window, CategoricalWindow)
    return _categories(reference, window)


def _numeric_cells(reference: NumericProfile, window: NumericWindow) -> list[tuple[str, float, float]]:
    if not reference.edges:
        return []
    starts = psi_starts(reference)
    before = np.add.reduceat(reference.counts, starts) / max(reference.n, 1)
    now = np.add.reduceat(window.counts, starts) / max(int(window.counts.sum()), 1)
    ends = [reference.edges[0], *(reference.edges[place] for place in reference.deciles)]
    names = [gettext("below %(ends)s") % {"ends": parts.plain(ends[0])}]
    names += [gettext("%(a)s to %(b)s") % {"a": parts.plain(a), "b": parts.plain(b)} for a, b in pairwise(ends)]
    names += [gettext("above %(ends)s") % {"ends": parts.plain(ends[-1])}]
    cells = list(zip(names, before.tolist(), now.tolist(), strict=True))
    return [cell for cell in cells if cell[1] or cell[2] or cell[0] in names[1:-1]]


def _categories(reference: CategoricalProfile, window: CategoricalWindow) -> list[tuple[str, float, float]]:
    rows = sum(window.counts.values()) + window.missing
    now = {str(value): n for value, n in window.counts.items()} | (
        {"missing": window.missing} if window.missing else {}
    )
    before = {str(value): n for value, n in reference.counts}
    # Of many, those that most rows have, in their own order.
    most = sorted({*before, *now}, key=lambda name: -(before.get(name, 0) + now.get(name, 0)))[:MOST_CATEGORIES]
    total = max(reference.n, 1)
    return [
        (name, before.get(name, 0) / total, now.get(name, 0) / max(rows, 1))
        for name in sorted(most, key=parts.number_of)
    ]


def bars(
    title: str, summary: str, column: str, cells: Sequence[tuple[str, float, float]], sides: Sequence[str]
) -> Chart:
    """Shares of rows by cell as bars side by side; `sides` are the names of reference and window."""
    names, before, now = ([cell[i] for cell in cells] for i in range(3))
    return Chart(
        "distribution",
        title,
        summary,
        {
            "data": [
                {"type": "bar", "x": names, "y": before, "name": sides[0], "meta": {"tone": "muted"}},
                {"type": "bar", "x": names, "y": now, "name": sides[1], "meta": {"tone": "accent"}},
            ],
            "layout": {
                "barmode": "group",
                "hovermode": "x",
                "xaxis": {"title": column, "type": "category"},
                "yaxis": {"title": gettext("share of rows"), "tickformat": ".0%"},
            },
        },
        parts.table(
            [column, *sides], [[name, f"{a:.1%}", f"{b:.1%}"] for name, a, b in zip(names, before, now, strict=True)]
        ),
    )
