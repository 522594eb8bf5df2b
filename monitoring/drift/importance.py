"""How much each input matters to a model's answers, so that drift of a column that it hardly reads wakes nobody.

Permutation importance (Breiman 2001; Fisher, Rudin and Dominici 2019): shuffle one column among rows whose truth is
known and see how much accuracy is lost. Of a model that answers with a number it is what the mean absolute error grows.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Columns = dict[str, NDArray[Any]]
Metric = Literal["accuracy", "absolute_error"]

SURE = 2.0
"""Standard errors that a loss must lie above zero to be known, and by which each may be larger than it was measured."""


@dataclass(frozen=True)
class Loss:
    """What shuffling a column costs on average over repeats and rows, and the standard error of that over the rows, in
    the metric's own unit: a share for accuracy, the answers' unit for the absolute error."""

    loss: float
    error: float


@dataclass(frozen=True)
class Shuffling:
    """Columns of labelled rows that are shuffled one at a time. `predict` gives an answer for each row of columns of
    shape (rows,), `labels` are the true answers, of that shape too."""

    predict: Callable[[Columns], ArrayLike]
    columns: Columns
    labels: NDArray[Any]
    goodness: NDArray[np.float64]
    """How good each answer is before anything is shuffled, (rows,): 1 or 0, or less than 0 by the absolute error."""
    metric: Metric
    repeats: int
    seed: int

    @property
    def baseline(self) -> float:
        """The accuracy, or the mean absolute error, of the rows as they are."""
        mean = float(self.goodness.mean())
        return mean if self.metric == "accuracy" else -mean

    def loss_of(self, name: str) -> Loss:
        """The same for the same rows and seed, whichever columns were shuffled before. Raises KeyError for a column
        that is not there, and what `predict` raises."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        lost = np.zeros(len(self.labels))
        for _ in range(self.repeats):
            shuffled = self.predict({**self.columns, name: rng.permutation(self.columns[name])})
            lost += self.goodness - _goodness(shuffled, self.labels, self.metric)
        lost /= self.repeats
        return Loss(float(lost.mean()), float(lost.std() / math.sqrt(len(lost))))


def shuffling(
    predict: Callable[[Columns], ArrayLike],
    columns: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    metric: Metric = "accuracy",
    repeats: int = 5,
    seed: int = 0,
) -> Shuffling:
    """Asks for the answers to the rows as they are. Raises ValueError without rows or repeats, and where there are not
    as many answers as labels."""
    table: Columns = {name: np.asarray(column) for name, column in columns.items()}
    truth = np.asarray(labels)
    if not len(truth) or repeats < 1:
        raise ValueError("Importance needs rows with their labels, and at least one repeat.")
    return Shuffling(predict, table, truth, _goodness(predict(table), truth, metric), metric, repeats, seed)


def _goodness(answers: ArrayLike, truth: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    given = np.asarray(answers)
    if given.shape != truth.shape:
        raise ValueError(f"There are {len(given)} answers to {len(truth)} rows.")
    if metric == "accuracy":
        return np.asarray(given == truth, dtype=np.float64)
    return -np.abs(given.astype(np.float64) - truth.astype(np.float64))


def weights_of(losses: Mapping[str, Loss]) -> dict[str, float]:
    """What losses may be at most, SURE errors above the measured ones, as shares of the largest loss, from 0 to 1: few
    rows must not make a column that matters look like one that does not. Empty where no loss is above SURE of its
    errors."""
    largest = max((one.loss for one in losses.values() if one.loss > SURE * one.error), default=0.0)
    if largest <= 0:
        return {}
    return {name: min(max(one.loss + SURE * one.error, 0.0) / largest, 1.0) for name, one in losses.items()}
