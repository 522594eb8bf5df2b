"""Slices of rows for which a replay is told apart: by the values or bands of a model's group columns, and the one that
the incident hit most."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from monitoring.windows import numpy_column
from registry.models import Version

MIN_GROUP = 50
BANDS = 5
MANY_VALUES = 20


class Slice(NamedTuple):
    """A group column, which of its values or bands, its rows, boolean (n,), and whether the incident hit it most."""

    column: str
    value: str
    rows: np.ndarray
    hit: bool = False


@dataclass(frozen=True)
class Hit:
    """The slice that an incident hit most, as its evidence names it. A band of numbers goes from `low` to below `high`,
    None where it is open; any other slice is one value of its column, whose text is `value`."""

    column: str
    value: str
    low: float | None = None
    high: float | None = None

    def rows(self, column: np.ndarray) -> np.ndarray:
        """Which of the values of its column (n,) lie in it, boolean (n,)."""
        if self.low is None and self.high is None:
            return np.asarray([_text(value) == self.value for value in column.tolist()], dtype=bool)
        numbers = column.astype(float)
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        found: np.ndarray = (numbers >= low) & (numbers < high)
        return found


def _text(value: object) -> str:
    """As evidence names groups: a missing value is the group None, and 2.0 is 2."""
    if value != value:
        return str(None)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def slices_of(
    version: Version, rows: pa.Table, known: np.ndarray, prefix: str, hit: Hit | None = None
) -> tuple[list[Slice], int]:
    """The slices of the rows that are `known`, by the model's group columns (numbers of many values in bands), and how
    many were left out because they have fewer than MIN_GROUP rows: of so few hardly anything could be said. The slice
    that was hit most stands first."""
    slices = [
        Slice(column, name, mine)
        for column in version.model.group_columns
        if f"{prefix}{column}" in rows.column_names
        for name, mine in _cut(numpy_column(rows, f"{prefix}{column}")[known])
    ]
    if hit is not None and f"{prefix}{hit.column}" in rows.column_names:
        mine = hit.rows(numpy_column(rows, f"{prefix}{hit.column}")[known])
        others = [one for one in slices if not (one.column == hit.column and np.array_equal(one.rows, mine))]
        slices = [Slice(hit.column, hit.value, mine, hit=True), *others]
    enough = [one for one in slices if one.rows.sum() >= MIN_GROUP]
    return enough, len(slices) - len(enough)


def _cut(column: np.ndarray) -> Sequence[tuple[str, np.ndarray]]:
    """(name, rows) of each value of a column, or of bands of equal numbers of rows."""
    values = sorted(set(column.tolist()), key=str)
    if len(values) <= MANY_VALUES or column.dtype.kind not in "iuf":
        return [(str(value), np.asarray(column == value)) for value in values]
    edges = np.unique(np.nanquantile(column, np.linspace(0, 1, BANDS + 1)))
    found = []
    for low, high in pairwise(edges):
        last = high == edges[-1]
        mine = (column >= low) & ((column <= high) if last else (column < high))
        found.append((f"{low:g} to {high:g}" if last else f"{low:g} to below {high:g}", mine))
    return found
