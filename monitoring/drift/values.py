"""Raw columns, as they come out of Arrow or NumPy, made ready to be counted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

NARROW = 2**16
"""Range of integer codes up to which they are counted in cells of their own."""

Category = int | float | str | bool
"""What a categorical column may hold; whole floats are read as integers, so 1.0 and 1 are one category."""


@dataclass(frozen=True)
class NumericValues:
    """One numeric column: its finite values in ascending order, and what was not a finite number."""

    finite: NDArray[np.floating]
    missing: int
    infinite: int
    invalid: int = 0

    @property
    def rows(self) -> int:
        """Rows of the column, usable or not."""
        return len(self.finite) + self.missing + self.infinite + self.invalid


def numeric_values(column: ArrayLike) -> NumericValues:
    """Sort a column's finite values; count NaN and None as missing, and apart from them infinities and what is no
    number (text in a column of numbers).

    float32 stays float32 (it sorts twice as fast); all else becomes float64, exact for integers up to 2**53.
    """
    array, invalid = np.asarray(column), 0
    if array.dtype != np.float32:
        array, invalid = as_float64(array)
    array = np.sort(array, axis=None)
    low = int(np.searchsorted(array, -np.inf, side="right"))
    high = int(np.searchsorted(array, np.inf, side="left"))
    absent = int(np.count_nonzero(np.isnan(array[high:])))
    return NumericValues(array[low:high], absent - invalid, low + len(array) - high - absent, invalid)


def as_float32(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Finite values in single precision: what lies beyond its range is taken for its end, and stays finite."""
    if values.dtype == np.float32:
        return values
    ends = np.finfo(np.float32)
    return np.clip(values, ends.min, ends.max).astype(np.float32)


def as_float64(array: NDArray) -> tuple[NDArray[np.float64], int]:
    """The column as numbers, and how many of its cells are none: these are NaN."""
    if array.dtype.kind in "biuf":
        return array.astype(np.float64), 0
    try:
        return array.astype(object).astype(np.float64), 0
    except (TypeError, ValueError):
        numbers = [_number(value) for value in array.ravel()]
        invalid = sum(1 for number in numbers if number is None)
        return np.array([np.nan if number is None else number for number in numbers], dtype=np.float64), invalid


def _number(value: object) -> float | None:
    if is_missing(value):
        return float("nan")
    if isinstance(value, np.ndarray):
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def category_counts(column: ArrayLike) -> tuple[dict[Category, int], int]:
    """Count each category of a column; None and NaN are counted as missing and returned second."""
    array = np.asarray(column)
    if array.dtype.kind == "O":
        return _count_objects(array.ravel())
    missing = 0
    if array.dtype.kind == "f":
        absent = np.isnan(array)
        missing = int(np.count_nonzero(absent))
        array = array[~absent]
    values, numbers = _count_small(array) if array.dtype.kind in "iu" else np.unique(array, return_counts=True)
    counts: Counter[Category] = Counter()
    for value, count in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[_plain(value)] += count
    return dict(counts), missing


def _count_objects(array: NDArray[np.object_]) -> tuple[dict[Category, int], int]:
    counted: Iterable[tuple[object, int]]
    try:
        # Ten times as fast as a Counter, for columns of one type.
        found = pa.array(array, from_pandas=True).value_counts()
        counted = zip(found.field(0).to_pylist(), found.field(1).to_pylist(), strict=True)
    except (pa.ArrowException, TypeError, OverflowError):
        counted = ((value, 1) for value in array)
    counts: Counter[Category] = Counter()
    missing = 0
    for value, count in counted:
        if is_missing(value):
            missing += count
        else:
            counts[_plain(value)] += count
    return dict(counts), missing


def _count_small(codes: NDArray[np.integer]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Integers and their counts, ascending. Codes in a narrow range are counted without a sort."""
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if high - low >= NARROW or max(abs(low), abs(high)) >= 2**62:
        return np.unique(codes, return_counts=True)
    numbers = np.bincount(codes.ravel().astype(np.int64) - low)
    found = np.flatnonzero(numbers)
    return found + low, numbers[found]


def is_missing(value: object) -> bool:
    """Whether a cell of a categorical column holds nothing: None or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(value: object) -> Category:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int | str) else str(value)
