"""The reference profile of a model version ("lastgood-profile/1"), and windows counted on its edges.

A numeric column keeps K + 1 edges, which are values of the reference at evenly spaced ranks, and how many values lie
below and at each edge. Between two edges lies less than 1/K of the reference, so every distribution function read
from a profile is within 1/K of the exact one; with at most K + 1 distinct values it is exact. A window is counted on
the same edges, so windows add up, and comparing one costs a sort of the window and nothing of the reference.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.values import Category, NumericValues, category_counts, numeric_values

FORMAT = "lastgood-profile/1"
CATEGORY_LIMIT = 1000
"""Categories listed one by one; the rarest beyond it are counted together as "other"."""

Kind = Literal["numeric", "categorical"]


@dataclass(frozen=True)
class NumericProfile:
    """One numeric column of the reference. `below[i]` and `at_or_below[i]` are counts at `edges[i]`; `invalid` counts
    the cells that held something else than a number. The tails are those of NumericWindow, where a window is the
    reference.

    `deciles` are positions in `edges` of the cells' upper ends for PSI; the last is the maximum. `minimum` to `std`
    (population, ddof 0) are None when the column had no finite value. `single` says that the values were float32: what
    is equal in float32 must stay equal, so a window is then counted in float32 as well.
    """

    n: int
    missing: int
    infinite: int
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    edges: list[float]
    below: list[int]
    at_or_below: list[int]
    deciles: list[int]
    single: bool = False
    kind: Kind = "numeric"
    invalid: int = 0
    tail_below: float = 0.0
    tail_above: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of the reference, usable or not."""
        return self.n + self.missing + self.infinite + self.invalid

    @cached_property
    def edge_array(self) -> NDArray[np.float64]:
        """The edges as an array."""
        return np.asarray(self.edges, dtype=np.float64)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Reference counts in the 2E + 1 cells between and at the edges, as a window's (see NumericWindow)."""
        if not self.edges:
            return np.array([self.n], dtype=np.int64)
        return cell_counts(np.asarray(self.below, np.int64), np.asarray(self.at_or_below, np.int64), self.n)


@dataclass(frozen=True)
class CategoricalProfile:
    """One categorical column of the reference: `counts` as [category, rows] pairs, commonest first.

    `other` counts the rows of categories beyond CATEGORY_LIMIT; where it is not zero, what is new can't be told.
    """

    n: int
    missing: int
    counts: list[tuple[Category, int]]
    other: int = 0
    kind: Kind = "categorical"

    @property
    def rows(self) -> int:
        """Rows of the reference, usable or not."""
        return self.n + self.missing

    @property
    def singletons(self) -> int:
        """Categories seen exactly once: what Good (1953) estimates the share of unseen ones from."""
        return sum(1 for _, count in self.counts if count == 1)


@dataclass(frozen=True)
class NumericWindow:
    """One numeric column of a window on E edges.

    `counts` has 2E + 1 cells: below edge 0, at edge 0, between edges 0 and 1, at edge 1, ..., above the last.
    `tail_below` and `tail_above` are the summed distances of values outside of the reference's range from its ends.
    """

    counts: NDArray[np.int64]
    missing: int
    infinite: int
    tail_below: float
    tail_above: float
    invalid: int = 0


@dataclass(frozen=True)
class CategoricalWindow:
    """One categorical column of a window."""

    counts: dict[Category, int]
    missing: int


@dataclass(frozen=True)
class Window:
    """A window counted on one profile's edges; `fingerprint` says which profile's."""

    fingerprint: str
    rows: int
    columns: dict[str, NumericWindow | CategoricalWindow]


@dataclass(frozen=True)
class Profile:
    """The reference profile of one version."""

    rows: int
    columns: dict[str, NumericProfile | CategoricalProfile] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    """How much each column matters to the model, as a share of the most important one's; empty where not known."""

    def to_json(self) -> dict:
        """The profile as JSON values; finite numbers only."""
        columns = {name: asdict(c) for name, c in self.columns.items()}
        known = {"importance": {"weights": self.weights}} if self.weights else {}
        return {"format": FORMAT, "rows": self.rows, "columns": columns} | known

    @classmethod
    def from_json(cls, document: Mapping) -> Profile:
        """Read `to_json` back. Raises ValueError when the format is another one or a column's kind is unknown."""
        if document.get("format") != FORMAT:
            raise ValueError(f"This is not a drift profile of format {FORMAT}: its format is {document.get('format')}.")
        columns = {name: _read_column(name, c) for name, c in document["columns"].items()}
        return cls(int(document["rows"]), columns, dict((document.get("importance") or {}).get("weights") or {}))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the profile's JSON: windows counted on different profiles must not be added."""
        text = json.dumps(replace(self, weights={}).to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def _read_column(name: str, column: Mapping) -> NumericProfile | CategoricalProfile:
    if column["kind"] == "numeric":
        return NumericProfile(**column)
    if column["kind"] == "categorical":
        return CategoricalProfile(**{**column, "counts": [(value, n) for value, n in column["counts"]]})
    raise ValueError(f"Column {name} is of kind {column['kind']}; a profile knows numeric and categorical.")


def build_profile(columns: Mapping[str, ArrayLike], kinds: Mapping[str, Kind], *, quantiles: int = 1024) -> dict:
    """Profile the columns named in `kinds`, each of shape (rows,), as JSON values of "lastgood-profile/1".

    Raises ValueError when a column is absent, lengths differ, a kind is unknown, or `quantiles` is under 10.
    """
    if quantiles < 10:
        raise ValueError("A profile needs at least 10 quantiles, one for each decile.")
    absent = sorted(set(kinds) - set(columns))
    if absent:
        raise ValueError(f"These columns have a kind but no values: {', '.join(absent)}.")
    rows = row_count({name: columns[name] for name in kinds})
    profiled: dict[str, NumericProfile | CategoricalProfile] = {}
    for name, kind in kinds.items():
        if kind == "numeric":
            profiled[name] = profile_numeric(numeric_values(columns[name]), quantiles)
        elif kind == "categorical":
            profiled[name] = profile_categorical(columns[name])
        else:
            raise ValueError(f"Column {name} is of kind {kind}; a profile knows numeric and categorical.")
    return Profile(rows, profiled).to_json()


def row_count(columns: Mapping[str, ArrayLike]) -> int:
    """The columns' common length. Raises ValueError when they differ."""
    lengths = {name: int(np.size(values)) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise ValueError(
            f"Columns of one table must have equally many rows: {shortest} has {lengths[shortest]}, "
            f"{longest} has {lengths[longest]}."
        )
    return next(iter(lengths.values()), 0)


@dataclass(frozen=True)
class NumericSummary:
    """What a numeric column's profile is made of, wherever it was computed: `distinct` ascends, and `below`, `upto` are
    the counts at its values; `deciles` are places in it."""

    n: int
    missing: int
    infinite: int
    invalid: int
    single: bool
    mean: float
    std: float
    distinct: NDArray[np.float64]
    below: NDArray[np.int64]
    upto: NDArray[np.int64]
    deciles: NDArray[np.int64]

    @staticmethod
    def empty(n: int, missing: int, infinite: int, invalid: int, single: bool) -> NumericProfile:
        """The profile of a column without a finite value."""
        return NumericProfile(n, missing, infinite, None, None, None, None, [], [], [], [], single, invalid=invalid)

    def profile(self) -> NumericProfile:
        """The profile; a mean or deviation that is beyond a float is None."""
        return NumericProfile(
            self.n, self.missing, self.infinite, float(self.distinct[0]), float(self.distinct[-1]),
            _finite(self.mean), _finite(self.std), self.distinct.tolist(), self.below.tolist(), self.upto.tolist(),
            self.deciles.tolist(), self.single, invalid=self.invalid,
        )  # fmt: skip


def profile_numeric(values: NumericValues, quantiles: int) -> NumericProfile:
    """Profile one sorted column."""
    ordered = values.finite.astype(np.float64, copy=False)
    n, single = len(ordered), values.finite.dtype == np.float32
    kept = (n, values.missing, values.infinite, values.invalid, single)
    if n == 0:
        return NumericSummary.empty(*kept)
    distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
    if len(distinct) > quantiles + 1:
        distinct = np.unique(ordered[ranks(n, quantiles)])
    below, upto = np.searchsorted(ordered, distinct, "left"), np.searchsorted(ordered, distinct, "right")
    deciles = np.unique(np.searchsorted(distinct, ordered[ranks(n, 10)[1:]], "left"))
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(ordered.mean()), float(ordered.std())
    return NumericSummary(*kept, mean, std, distinct, below, upto, deciles).profile()


def ranks(n: int, parts: int) -> NDArray[np.int64]:
    """The `parts` + 1 evenly spaced ranks of `n` rows in order, from 0 to n - 1."""
    return np.arange(parts + 1, dtype=np.int64) * (n - 1) // parts


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None


def profile_categorical(column: ArrayLike) -> CategoricalProfile:
    """Profile one column of categories."""
    counts, missing = category_counts(column)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    other = sum(count for _, count in ranked[CATEGORY_LIMIT:])
    return CategoricalProfile(sum(counts.values()), missing, ranked[:CATEGORY_LIMIT], other)


def cell_counts(below: NDArray[np.int64], at_or_below: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Cumulative counts at E edges as counts in the 2E + 1 cells between and at them.

    Where two edges are the same number in float32, the rows are counted at the first of them.
    """
    steps = np.empty(2 * len(below) + 2, dtype=np.int64)
    steps[0], steps[1:-1:2], steps[2:-1:2], steps[-1] = 0, below, at_or_below, n
    return np.diff(np.maximum.accumulate(steps))
