"""Raw columns, as they come out of Arrow or NumPy, made ready to be counted."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Category = int | float | str | bool
"""What a categorical column may hold; whole floats are read as integers, so 1.0 and 1 are one category."""


@dataclass(frozen=True)
class NumericValues:
    """One numeric column: its finite values in ascending order, and what was not a finite number."""

    finite: NDArray[np.floating]
    missing: int
    infinite: int

    @property
    def rows(self) -> int:
        """Rows of the column, usable or not."""
        return len(self.finite) + self.missing + self.infinite


def numeric_values(column: ArrayLike) -> NumericValues:
    """Sort a column's finite values; count NaN, None and what is no number as missing, and infinities apart.

    float32 stays float32 (it sorts twice as fast); all else becomes float64, exact for integers up to 2**53.
    """
    array = np.asarray(column)
    if array.dtype != np.float32:
        array = _as_float64(array)
    array = np.sort(array, axis=None)
    low = int(np.searchsorted(array, -np.inf, side="right"))
    high = int(np.searchsorted(array, np.inf, side="left"))
    missing = int(np.count_nonzero(np.isnan(array[high:])))
    return NumericValues(array[low:high], missing, low + len(array) - high - missing)


def _as_float64(array: NDArray) -> NDArray[np.float64]:
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    try:
        return array.astype(object).astype(np.float64)
    except (TypeError, ValueError):
        return np.array([_number(value) for value in array.ravel()], dtype=np.float64)


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def category_counts(column: ArrayLike) -> tuple[dict[Category, int], int]:
    """Count each category of a column; None and NaN are counted as missing and returned second."""
    array = np.asarray(column)
    if array.dtype.kind == "O":
        counts = Counter(array.ravel().tolist())
        missing = sum(count for value, count in counts.items() if is_missing(value))
        return {_plain(v): n for v, n in counts.items() if not is_missing(v)}, missing
    missing = 0
    if array.dtype.kind == "f":
        absent = np.isnan(array)
        missing = int(np.count_nonzero(absent))
        array = array[~absent]
    values, numbers = np.unique(array, return_counts=True)
    return {_plain(v): n for v, n in zip(values.tolist(), numbers.tolist(), strict=True)}, missing


def is_missing(value: object) -> bool:
    """Whether a cell of a categorical column holds nothing: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> Category:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int | str) else str(value)
