"""Can a classifier tell the window's rows from the reference's? If so, they differ (Lopez-Paz and Oquab 2017).

A ridge logistic regression is fitted on one half of the rows and asked on the other, and once more the other way
round; its ROC AUC is 1/2 when there is nothing to tell. Columns enter by their ranks, so an outlier weighs no more than
any other row; squares of ranks show a changed spread, and products of two a changed relation, which no test of single
columns can see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from monitoring.drift.values import Category, as_float64, is_missing

Floats = NDArray[np.float64]

HALF_ROWS = 25
"""Rows of each sample that each half needs."""

MOST_PAIRED = 16
"""Numeric columns up to which every two are multiplied; beyond, pairs would outnumber the rows."""

MOST_CATEGORIES = 20
RIDGE = 1.0
STEPS = 25


@dataclass(frozen=True)
class ClassifierResult:
    """Mean `auc` over the halves left out, its one-sided `p`, and the columns (or pairs of them) that told most, with
    their share of the weights of the classifier fitted to all rows."""

    auc: float
    p: float
    n_reference: int
    n_window: int
    telling: list[tuple[str, float]]


def classifier_test(
    reference: Mapping[str, ArrayLike], window: Mapping[str, ArrayLike], *, maximum_rows: int = 4000, seed: int = 0
) -> ClassifierResult:
    """Test tables of raw columns, shapes (n,) and (m,), numbers or categories by the reference's type.

    A larger table than `maximum_rows` is thinned at random by `seed`. Raises ValueError when the window lacks a column,
    or either has fewer than HALF_ROWS rows for each half.
    """
    rng = np.random.default_rng(seed)
    before, now = thinned(reference, window, maximum_rows, rng)
    names, table, is_window = _design(before, now)
    auc, p = _left_out(table, is_window, rng)
    weights = np.abs(_fitted(table, is_window)[1:])
    shares: dict[str, float] = {}
    for name, weight in zip(names, (weights / max(weights.sum(), 1e-300)).tolist(), strict=True):
        shares[name] = shares.get(name, 0.0) + weight
    telling = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return ClassifierResult(auc, p, rows_of(before), rows_of(now), telling)


def left_out(before: Mapping[str, NDArray], now: Mapping[str, NDArray], *, seed: int = 0) -> tuple[float, float]:
    """The `auc` and `p` of classifier_test of all rows, without asking which columns tell. Raises ValueError where a
    sample has too few."""
    _, table, is_window = _design(before, now)
    return _left_out(table, is_window, np.random.default_rng(seed))


def _design(before: Mapping[str, NDArray], now: Mapping[str, NDArray]) -> tuple[list[str], Floats, Floats]:
    """What the classifier reads: names of its columns, their standard scores, and which rows are the window's (1)."""
    n, m = rows_of(before), rows_of(now)
    if min(n, m) < 2 * HALF_ROWS:
        raise ValueError(f"A classifier needs at least {2 * HALF_ROWS} rows of each sample; there are {n} and {m}.")
    parts = [part for name in before for part in encoded(name, before[name], now[name])]
    parts += _paired(parts)
    table = np.column_stack([values for _, values in parts])
    spread = table.std(axis=0)
    table = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return [name for name, _ in parts], table, np.repeat([0.0, 1.0], [n, m])


def thinned(
    reference: Mapping[str, ArrayLike], window: Mapping[str, ArrayLike], most: int, rng: np.random.Generator
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """The reference's columns of both tables, with at most `most` rows of each, drawn at random and left in order.

    Raises ValueError when the window lacks a column.
    """
    if absent := sorted(set(reference) - set(window)):
        raise ValueError(f"The window lacks these columns: {', '.join(absent)}.")
    return _thinned(reference, most, rng), _thinned({name: window[name] for name in reference}, most, rng)


def _thinned(table: Mapping[str, ArrayLike], most: int, rng: np.random.Generator) -> dict[str, NDArray]:
    columns = {name: np.asarray(column) for name, column in table.items()}
    rows = rows_of(columns)
    if rows <= most:
        return columns
    chosen = np.sort(rng.choice(rows, most, replace=False))
    return {name: column[chosen] for name, column in columns.items()}


def rows_of(table: Mapping[str, NDArray]) -> int:
    """How many rows the columns have; 0 without any."""
    return len(next(iter(table.values()), ()))


def encoded(name: str, before: NDArray, now: NDArray) -> Iterator[tuple[str, Floats]]:
    """What stands for a column of both samples, as (name, finite values of shape (n + m,)): of a numeric one rank,
    squared rank and missing, of a categorical one its commonest categories."""
    if _is_numeric(before):
        both = np.concatenate([as_float64(column)[0] for column in (before, now)])
        missing = np.isnan(both)
        ranks = np.zeros(len(both))
        ranks[~missing] = stats.rankdata(both[~missing]) / max(int((~missing).sum()), 1) - 0.5
        yield name, ranks
        yield name, ranks * ranks
        if missing.any():
            yield name, missing.astype(np.float64)
        return
    values: list[Category | None] = [None if is_missing(v) else v for v in (*before.tolist(), *now.tolist())]
    counts: dict[Category | None, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    for value in sorted(counts, key=lambda v: (-counts[v], str(v)))[:MOST_CATEGORIES]:
        yield name, np.array([v == value for v in values], dtype=np.float64)


def _is_numeric(column: NDArray) -> bool:
    """Whether all that the column holds are numbers; None beside them makes NumPy keep them as objects."""
    if column.dtype.kind != "O":
        return column.dtype.kind in "biuf"
    held = [value for value in column.tolist() if not is_missing(value)]
    return bool(held) and all(isinstance(value, int | float | np.number) for value in held)


def _paired(parts: list[tuple[str, Floats]]) -> list[tuple[str, Floats]]:
    """Products of the ranks of every two numeric columns: each column's first part that takes more than two values."""
    ranks: dict[str, Floats] = {}
    for name, values in parts:
        if name not in ranks and len(np.unique(values[:1000])) > 2:
            ranks[name] = values
    if len(ranks) > MOST_PAIRED:
        return []
    return [(f"{a} with {b}", ranks[a] * ranks[b]) for a, b in combinations(ranks, 2)]


def _left_out(table: Floats, is_window: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Mean AUC of both halves, and twice the smaller p of Mann and Whitney's test of each (Bonferroni).

    More folds would learn from more rows, but their tests share rows they learnt from, and raise false alarms.
    """
    first = np.empty(len(table), dtype=bool)
    for side in (0.0, 1.0):
        rows = np.flatnonzero(is_window == side)
        first[rows] = rng.permutation(len(rows)) % 2 == 0
    aucs, p_values = [], []
    for held in (first, ~first):
        weights = _fitted(table[~held], is_window[~held])
        ranks = stats.rankdata(table[held] @ weights[1:])
        ours = is_window[held] == 1
        m, n = int(ours.sum()), int((~ours).sum())
        auc = (float(ranks[ours].sum()) - m * (m + 1) / 2) / (n * m)
        aucs.append(auc)
        p_values.append(float(special.ndtr((0.5 - auc) / math.sqrt((n + m + 1) / (12 * n * m)))))
    return float(np.mean(aucs)), min(2 * min(p_values), 1.0)


def _fitted(table: Floats, is_window: Floats) -> Floats:
    """Weights of a ridge logistic regression, the intercept (not shrunk) first, by Newton's steps."""
    design = np.column_stack((np.ones(len(table)), table))
    weights = np.zeros(design.shape[1])
    shrink = np.full(design.shape[1], RIDGE)
    shrink[0] = 0.0
    for _ in range(STEPS):
        p = special.expit(design @ weights)
        gradient = design.T @ (is_window - p) - shrink * weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(shrink + 1e-9)
        step = np.linalg.solve(curvature, gradient)
        weights += step
        if np.abs(step).max() < 1e-6:
            break
    return weights
