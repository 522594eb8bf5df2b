"""A mergeable sketch of quantiles: how many values lie in each cell of a logarithmic scale.

DDSketch (Masson, Rim and Lee, VLDB 2019, section 2) without a limit to its cells: of any number of merged sketches, a
quantile is within ACCURACY of the true value, relative to it. The histograms of monitoring/drift count over the edges
of one reference; a metric has none.
"""

import math

import numpy as np
from numpy.typing import NDArray

ACCURACY = 0.01
_WIDTH = math.log((1 + ACCURACY) / (1 - ACCURACY))
# Beyond the cells of the smallest and the largest double, so that a cell of a magnitude is never zero.
_OFFSET = 40_000
CELL = np.dtype([("cell", "<i4"), ("count", "<i4")])
"""One cell as it is stored: its number, negative for negative values and 0 for zero, and how many values it holds."""

Integers = NDArray[np.int64]


def cells(values: NDArray[np.float64]) -> Integers:
    """The number of each finite value's cell; numbers rise with the values."""
    found = np.zeros(len(values), np.int64)
    some = values != 0
    magnitude = np.ceil(np.log(np.abs(values[some])) / _WIDTH).astype(np.int64) + _OFFSET
    found[some] = np.where(values[some] < 0, -magnitude, magnitude)
    return found


def packed(owners: Integers, numbers: Integers, counts: Integers, size: int) -> list[bytes]:
    """The sketches of owners 0 to `size` - 1, from counts of cells in any order; those of one cell are added up."""
    key = owners * (4 * _OFFSET) + numbers + 2 * _OFFSET
    order = np.argsort(key, kind="stable")
    key, counts = key[order], counts[order]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.zeros(0, np.int64)
    table = np.empty(len(starts), CELL)
    table["cell"] = key[starts] % (4 * _OFFSET) - 2 * _OFFSET
    table["count"] = np.add.reduceat(counts, starts) if len(starts) else 0
    ends = np.searchsorted(key[starts] // (4 * _OFFSET), np.arange(size), side="right") * CELL.itemsize
    text, begins = table.tobytes(), np.concatenate(([0], ends[:-1]))
    return [text[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def unpacked(sketches: list[bytes]) -> tuple[Integers, Integers, Integers]:
    """Owner, number and count of every cell of the sketches: what `packed` takes."""
    owners = np.repeat(np.arange(len(sketches)), [len(sketch) // CELL.itemsize for sketch in sketches])
    table = np.frombuffer(b"".join(sketches), CELL)
    return owners, table["cell"].astype(np.int64), table["count"].astype(np.int64)


def quantile(sketch: bytes, q: float) -> float:
    """The value below or at which a share `q` of the values lie. Raises ValueError for a sketch of no values."""
    table = np.frombuffer(sketch, CELL)
    if not len(table):
        raise ValueError("A sketch of no values has no quantile.")
    cumulated = np.cumsum(table["count"].astype(np.int64))
    rank = math.floor(q * (int(cumulated[-1]) - 1))
    number = int(table["cell"][np.searchsorted(cumulated, rank, side="right")])
    if number == 0:
        return 0.0
    # The middle of the cell, of which neither end is farther than ACCURACY: 2 g^i / (g + 1).
    return math.copysign(math.exp((abs(number) - _OFFSET) * _WIDTH) * (1 - ACCURACY), number)
