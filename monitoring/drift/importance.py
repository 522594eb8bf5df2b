"""How much each input matters to a model's answers, so that drift of a column that it hardly reads wakes nobody.

Permutation importance (Breiman 2001; Fisher, Rudin and Dominici 2019): shuffle one column among rows whose truth is
known and see how much accuracy is lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Columns = dict[str, NDArray[Any]]

SURE = 2.0
"""Standard errors that a loss must lie above zero to be known, and by which each may be larger than it was measured."""


def permutation_importance(
    predict: Callable[[Columns], ArrayLike],
    columns: Mapping[str, ArrayLike],
    labels: ArrayLike,
    *,
    repeats: int = 5,
    seed: int = 0,
) -> dict[str, Any]:
    """The loss of accuracy when each column is shuffled, as JSON values for a profile's "importance".

    `predict` gives an answer for each row of columns of shape (rows,); `labels` are the true answers. "loss" is the
    mean of `repeats` shuffles, "error" the standard error of that loss over the rows, and "weights" are what losses may
    be at most, SURE errors above the measured ones, as shares of the largest loss, up to 1: few rows must not make a
    column that matters look like one that does not. No weight is known where no loss is above SURE of its errors.
    Raises ValueError without rows or repeats.
    """
    table: Columns = {name: np.asarray(column) for name, column in columns.items()}
    truth = np.asarray(labels)
    if not len(truth) or repeats < 1:
        raise ValueError("Importance needs rows with their labels, and at least one repeat.")
    rng = np.random.default_rng(seed)
    right = np.asarray(predict(table)) == truth
    loss, error = {}, {}
    for name, column in table.items():
        lost = np.zeros(len(truth))
        for _ in range(repeats):
            shuffled = np.asarray(predict({**table, name: rng.permutation(column)})) == truth
            lost += right.astype(float) - shuffled
        lost /= repeats
        loss[name], error[name] = float(lost.mean()), float(lost.std() / math.sqrt(len(truth)))
    return {
        "metric": "accuracy",
        "baseline": float(right.mean()),
        "rows": len(truth),
        "repeats": repeats,
        "loss": loss,
        "error": error,
        "weights": _weights(loss, error),
    }


def _weights(loss: dict[str, float], error: dict[str, float]) -> dict[str, float]:
    largest = max((value for name, value in loss.items() if value > SURE * error[name]), default=0.0)
    if largest <= 0:
        return {}
    return {name: min(max(value + SURE * error[name], 0.0) / largest, 1.0) for name, value in loss.items()}
