"""Sketches of a window's columns that merge: those of hosts into the fleet's, those of windows into a day's.

A numeric sketch keeps at most POINTS + 1 values of the column at evenly spaced ranks, and between which two numbers the
rows below and up to each of them lie. For one window on one host these are counted, so less than 1 / POINTS of the rows
lies between two neighbours. Merging adds bounds up, so they stay true whatever is merged and in whatever order; this is
the summary of Greenwald and Khanna (2001) with its bounds kept, and not estimated as in KLL. A categorical sketch keeps
the commonest CATEGORIES, and how often any other may have come (Agarwal et al. 2013, mergeable summaries).

What is not known is never taken for a difference: where a sketch is held against a reference, each count is taken as
near to the reference's as its bounds allow. So every statistic is the least that the rows can have, and how far it may
lie below the true one is stated.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monitoring.drift.profile import (
    CATEGORY_LIMIT,
    CategoricalProfile,
    CategoricalWindow,
    Kind,
    NumericProfile,
    NumericWindow,
    profile_numeric,
)
from monitoring.drift.values import Category, as_float32, category_counts, numeric_values

POINTS = 256
MERGED_POINTS = 2048
"""Points that a merged sketch keeps: what is merged again costs no more, and what lies between them is stated."""
CATEGORIES = 256
MERGED_CATEGORIES = 4096
"""Categories that a merged sketch lists; how often any other may have come is stated."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class NotMergeable(ValueError):
    """The sketches count a column in different ways: one as numbers, the other as categories."""


@dataclass(frozen=True)
class NumericSketch:
    """`values` ascend and have shape (m,), the first and last being the least and greatest of all; `below` and `upto`
    have shape (2, m): the fewest and the most rows that lie below, and below or at, each. `total` and `squares` are
    sums over the finite values. `single` says that they were float32."""

    values: Floats
    below: Integers
    upto: Integers
    n: int
    missing: int
    infinite: int
    invalid: int
    total: float
    squares: float
    single: bool = False
    kind: Kind = "numeric"

    @property
    def rows(self) -> int:
        """Rows of the column, usable or not."""
        return self.n + self.missing + self.infinite + self.invalid

    @property
    def mean(self) -> float | None:
        """The mean of the finite values."""
        return self.total / self.n if self.n and np.isfinite(self.total) else None

    @property
    def std(self) -> float | None:
        """The population's standard deviation (ddof 0)."""
        mean = self.mean
        if mean is None or not np.isfinite(self.squares):
            return None
        return float(np.sqrt(max(self.squares / self.n - mean * mean, 0.0)))

    @property
    def error(self) -> float:
        """The widest that the share of rows up to any value is left open, from 0 (exact) to 1."""
        if not self.n:
            return 0.0
        ends = np.concatenate((self.below[1], [self.n]))
        starts = np.concatenate(([0], self.upto[0]))
        inside = float(np.max(ends - starts, initial=0))
        held = max(float(np.max(one[1] - one[0], initial=0)) for one in (self.below, self.upto))
        return max(inside, held) / self.n

    def at(self, levels: ArrayLike) -> Floats:
        """The values at shares `levels` of the rows, by the middle of the bounds; NaN without a value."""
        wanted = np.asarray(levels, dtype=np.float64)
        if not self.n:
            return np.full(wanted.shape, np.nan)
        middle = self.upto.sum(axis=0) / 2
        return self.values[np.minimum(np.searchsorted(middle, wanted * self.n, "left"), len(self.values) - 1)]

    def sample(self) -> Floats:
        """`n` values that are spread as the rows are, by the middle of the bounds, ascending."""
        if not self.n:
            return np.zeros(0)
        upto = np.rint(self.upto.sum(axis=0) / 2).astype(np.int64)
        return np.repeat(self.values, np.diff(np.maximum.accumulate(upto), prepend=0))


@dataclass(frozen=True)
class CategoricalSketch:
    """`counts` are the fewest rows of each category that is listed, `other` the rows of categories left out, of which
    none has more than `bound` rows; `covered` is the part of the bound that does not count for a listed one."""

    counts: dict[Category, int]
    n: int
    missing: int
    other: int = 0
    bound: int = 0
    covered: dict[Category, int] = field(default_factory=dict)
    kind: Kind = "categorical"

    @property
    def rows(self) -> int:
        """Rows of the column, usable or not."""
        return self.n + self.missing

    def slack(self, category: Category) -> int:
        """How many rows more the category may have."""
        return min(self.other, self.bound - self.covered.get(category, 0))

    @property
    def error(self) -> float:
        """The widest that the share of any category is left open."""
        return min(self.other, self.bound) / self.n if self.n else 0.0


Sketch = NumericSketch | CategoricalSketch


def sketch_column(column: ArrayLike, kind: Kind, *, points: int = POINTS, categories: int = CATEGORIES) -> Sketch:
    """The sketch of one column of shape (rows,), as numbers or as categories."""
    if kind == "categorical":
        return _categories(column, categories)
    found = numeric_values(column)
    known = profile_numeric(found, points)
    below, upto = np.asarray(known.below, np.int64), np.asarray(known.at_or_below, np.int64)
    ordered = found.finite.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        total, squares = float(ordered.sum()), float(np.square(ordered).sum())
    return NumericSketch(
        known.edge_array, np.stack((below, below)), np.stack((upto, upto)), known.n, known.missing, known.infinite,
        known.invalid, total, squares, known.single,
    )  # fmt: skip


def _categories(column: ArrayLike, most: int) -> CategoricalSketch:
    counts, missing = category_counts(column)
    ranked = _ranked(counts)
    left = [count for _, count in ranked[most:]]
    kept, n = dict(ranked[:most]), sum(counts.values())
    bound = max(left, default=0)
    return CategoricalSketch(kept, n, missing, sum(left), bound, dict.fromkeys(kept, bound) if bound else {})


def merge(sketches: Sequence[Sketch], *, points: int = MERGED_POINTS, categories: int = MERGED_CATEGORIES) -> Sketch:
    """The sketch of all rows together. Raises NotMergeable where kinds differ, ValueError for none."""
    if not sketches:
        raise ValueError("At least one sketch is merged.")
    numeric = [one for one in sketches if isinstance(one, NumericSketch)]
    if len(numeric) == len(sketches):
        return _merged_numbers(numeric, points)
    if numeric:
        raise NotMergeable("The column was counted as numbers in one window and as categories in another.")
    return _merged_categories([one for one in sketches if isinstance(one, CategoricalSketch)], categories)


def _merged_numbers(sketches: Sequence[NumericSketch], points: int) -> NumericSketch:
    if len(sketches) == 1:
        return _thinned(sketches[0], points)
    single = any(one.single for one in sketches)
    every = np.concatenate([one.values for one in sketches])
    grid, owner = np.unique(as_float32(every) if single else every, return_inverse=True)
    below, upto = _added(sketches, owner, len(grid))
    whole = NumericSketch(
        grid.astype(np.float64), below, upto, *(sum(getattr(one, name) for one in sketches) for name in (
            "n", "missing", "infinite", "invalid", "total", "squares")), single,
    )  # fmt: skip
    return _thinned(whole, points)


def _added(sketches: Sequence[NumericSketch], owner: NDArray[np.intp], size: int) -> tuple[Integers, Integers]:
    """Bounds at each of `size` merged values. Each sketch's bound is a step over the values, so all are summed by one
    cumulated sum: at a value of its own a sketch says what it counted, between two the bounds of their ends."""

    def steps(parts: Iterable[Integers]) -> Integers:
        return np.bincount(owner, np.concatenate(list(parts)), size).astype(np.int64)

    # Fewest rows up to a value: what each sketch has up to its own last point at or before it.
    rises = np.cumsum(steps(np.diff(one.upto[0], prepend=0) for one in sketches))
    before = np.concatenate(([0], rises[:-1]))
    # Most rows below a value: what each sketch has below its own first point at or after it.
    starts = sum(int(one.below[1][0]) if len(one.values) else 0 for one in sketches)
    gains = np.cumsum(steps(np.diff(one.below[1], append=one.n) for one in sketches)) + starts
    ceiling = np.concatenate(([starts], gains[:-1]))
    own_below = steps(one.below[0] - np.concatenate(([0], one.upto[0][:-1])) for one in sketches)
    own_upto = steps(one.upto[1] - one.below[1] for one in sketches)
    return np.stack((before + own_below, ceiling)), np.stack((rises, ceiling + own_upto))


def _thinned(sketch: NumericSketch, points: int) -> NumericSketch:
    if len(sketch.values) <= points + 1:
        return sketch
    middle = sketch.upto.sum(axis=0) / 2
    wanted = np.searchsorted(middle, np.linspace(0, sketch.n, points + 1), "left")
    kept = np.unique(np.concatenate(([0], np.minimum(wanted, len(middle) - 1), [len(middle) - 1])))
    return replace(sketch, values=sketch.values[kept], below=sketch.below[:, kept], upto=sketch.upto[:, kept])


def _merged_categories(sketches: Sequence[CategoricalSketch], most: int) -> CategoricalSketch:
    counts: Counter[Category] = Counter()
    covered: Counter[Category] = Counter()
    for one in sketches:
        counts.update(one.counts)
        covered.update(one.covered)
    n, missing, other, bound = (sum(getattr(one, name) for one in sketches) for name in (
        "n", "missing", "other", "bound"))  # fmt: skip
    whole = CategoricalSketch(dict(counts), n, missing, other, bound, dict(covered) if bound else {})
    return _shortened(whole, most)


def _shortened(sketch: CategoricalSketch, most: int) -> CategoricalSketch:
    """The commonest `most` categories. What is left out may have come as often as it was counted and its slack; by how
    much that raises the bound is covered for each that stays, whose own slack is as it was."""
    if len(sketch.counts) <= most:
        return sketch
    ranked = _ranked(sketch.counts)
    left, kept = ranked[most:], dict(ranked[:most])
    bound = max(sketch.bound, *(count + sketch.bound - sketch.covered.get(name, 0) for name, count in left))
    covered = {name: sketch.covered.get(name, 0) + bound - sketch.bound for name in kept}
    other = sketch.other + sum(count for _, count in left)
    return replace(sketch, counts=kept, other=other, bound=bound, covered=covered)


def _ranked(counts: Mapping[Category, int]) -> list[tuple[Category, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


Reference = NumericProfile | CategoricalProfile


@dataclass(frozen=True)
class Held:
    """A sketch made ready to be held against a reference: counts on the reference's cells, and by how much the share
    of rows on one side of any value may be larger or smaller than they say."""

    window: NumericWindow | CategoricalWindow
    error: float


@dataclass(frozen=True)
class SketchReference:
    """A sketch as a reference. `open` is by how much the share below and up to each edge (shape (2 m,), in turns), or
    of each category, may be another than the profile says."""

    profile: Reference
    open: Floats | Mapping[Category, float]

    @property
    def error(self) -> float:
        """The most of `open`."""
        values = list(self.open.values()) if isinstance(self.open, Mapping) else self.open
        return float(np.max(values, initial=0.0))


def as_reference(sketch: Sketch) -> SketchReference:
    """The sketch of an earlier span, or of another version, as what a later one is held against."""
    if isinstance(sketch, CategoricalSketch):
        ranked = _ranked(sketch.counts)
        cut = sum(count for _, count in ranked[CATEGORY_LIMIT:])
        profile = CategoricalProfile(sketch.n, sketch.missing, ranked[:CATEGORY_LIMIT], sketch.other + cut)
        share = {name: sketch.slack(name) / sketch.n for name, _ in profile.counts} if sketch.bound else {}
        return SketchReference(profile, share)
    below, upto = (np.rint(one.sum(axis=0) / 2).astype(np.int64) for one in (sketch.below, sketch.upto))
    n, values = sketch.n, sketch.values
    ends = np.zeros(0, np.int64)
    if n:
        ends = np.unique(np.append(np.searchsorted(upto, np.ceil(np.arange(1, 10) * n / 10), "left"), len(values) - 1))
    half = np.ravel(np.stack((sketch.below[1] - sketch.below[0], sketch.upto[1] - sketch.upto[0]), axis=1)) / 2
    known = NumericProfile(
        n, sketch.missing, sketch.infinite, float(values[0]) if n else None, float(values[-1]) if n else None,
        sketch.mean, sketch.std, values.tolist(), below.tolist(), upto.tolist(), ends.tolist(), sketch.single,
        invalid=sketch.invalid,
    )  # fmt: skip
    return SketchReference(known, (half + 1) / n if n and half.any() else half)


def hold(sketch: Sketch, reference: Reference | SketchReference) -> Held:
    """Count the sketch on the reference's cells, each count as near to the reference as its bounds allow.

    Raises NotMergeable where one of both counts numbers and the other categories.
    """
    known, open_ = (reference.profile, reference.open) if isinstance(reference, SketchReference) else (reference, None)
    if isinstance(known, NumericProfile) and isinstance(sketch, NumericSketch):
        return _hold_numbers(sketch, known, np.zeros(1) if open_ is None else np.asarray(open_))
    if isinstance(known, CategoricalProfile) and isinstance(sketch, CategoricalSketch):
        return _hold_categories(sketch, known, open_ if isinstance(open_, Mapping) else {})
    raise NotMergeable("The column is counted as numbers on one side and as categories on the other.")


def _hold_numbers(sketch: NumericSketch, known: NumericProfile, open_: Floats) -> Held:
    edges, values, n = known.edge_array, sketch.values, sketch.n
    if known.single or sketch.single:
        edges, values = as_float32(edges), as_float32(values)
    if not len(edges) or not n:
        counts = np.zeros(2 * len(edges) + 1, np.int64)
        counts[0] = n
        return Held(NumericWindow(counts, sketch.missing, sketch.infinite, 0.0, 0.0, sketch.invalid), 0.0)
    low, high = _bounds(sketch, values, edges)
    spread = open_ * n if len(open_) == len(low) else np.zeros(len(low))
    error = float(np.max((high - low) / 2 + spread)) / n
    wanted = np.ravel(np.stack((known.below, known.at_or_below), axis=1)) * (n / known.n) if known.n else low
    taken = np.rint(np.clip(wanted, low - spread, high + spread)).clip(0, n).astype(np.int64)
    cells = np.diff(np.maximum.accumulate(np.concatenate(([0], taken, [n]))))
    tails = _tails(sketch, float(edges[0]), float(edges[-1]))
    return Held(NumericWindow(cells, sketch.missing, sketch.infinite, *tails, sketch.invalid), error)


def _bounds(sketch: NumericSketch, values: NDArray[np.floating], edges: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The fewest and the most rows below and up to each edge, in turns: shape (2 E,) each."""
    at = np.searchsorted(values, edges, "left")
    near = np.minimum(at, len(values) - 1)
    own = (at < len(values)) & (values[near] == edges)
    fewest = np.concatenate(([0], sketch.upto[0]))[at]
    most = np.concatenate((sketch.below[1], [sketch.n]))[at]
    below = np.where(own, sketch.below[:, near], (fewest, most))
    upto = np.where(own, sketch.upto[:, near], (fewest, most))
    low = np.ravel(np.stack((below[0], upto[0]), axis=1)).astype(np.float64)
    high = np.ravel(np.stack((below[1], upto[1]), axis=1)).astype(np.float64)
    return np.maximum.accumulate(low), np.minimum.accumulate(high[::-1])[::-1]


def _tails(sketch: NumericSketch, least: float, greatest: float) -> tuple[float, float]:
    """The summed distances of values outside of the reference's range, by the middle of the bounds."""
    outside = sketch.values < least
    beyond = sketch.values > greatest
    upto = np.maximum.accumulate(sketch.upto.sum(axis=0) / 2)
    mass = np.diff(upto, prepend=0)
    with np.errstate(over="ignore"):
        lower = float(np.sum((least - sketch.values)[outside] * mass[outside]))
        return lower, float(np.sum((sketch.values - greatest)[beyond] * mass[beyond]))


def _hold_categories(sketch: CategoricalSketch, known: CategoricalProfile, open_: Mapping[Category, float]) -> Held:
    counts = dict(sketch.counts)
    error = max([sketch.error, *open_.values()])
    if not error or not known.n:
        return Held(CategoricalWindow(counts, sketch.missing), 0.0)
    left = sketch.other
    # First what is left out goes to where the reference lets it be expected, then anywhere that it may be.
    for limit in (True, False):
        for name, before in known.counts:
            held = counts.get(name, 0)
            wanted = before / known.n * sketch.n - held if limit else float(left)
            given = int(max(min(wanted, sketch.slack(name) + sketch.counts.get(name, 0) - held, left), 0))
            if given:
                counts[name], left = held + given, left - given
    if left:
        counts["others"] = counts.get("others", 0) + left
    return Held(CategoricalWindow(_nearer(counts, known, open_, sketch.n), sketch.missing), error)


def _nearer(
    counts: dict[Category, int], known: CategoricalProfile, open_: Mapping[Category, float], n: int
) -> dict[Category, int]:
    """Counts moved towards the reference by what the reference itself leaves open, the sum staying the same."""
    if not any(open_.values()):
        return counts
    moved = dict(counts)
    for name, before in known.counts:
        gap = before / known.n * n - moved.get(name, 0)
        reach = open_.get(name, 0.0) * n
        moved[name] = moved.get(name, 0) + round(max(min(gap, reach), -reach))
    surplus = sum(moved.values()) - n
    for name in sorted(moved, key=lambda one: -moved[one]):
        taken = min(max(surplus, -n), moved[name])
        moved[name], surplus = moved[name] - taken, surplus - taken
        if not surplus:
            break
    return moved
