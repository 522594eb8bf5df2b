"""How good is a classifier before its labels have come? Estimated from its own scores (CBPE).

Confidence-based performance estimation (Guo et al. 2021; NannyML): a score that is calibrated says how likely the
answer 1 is, so how many answers of a window are right can be expected from the scores alone. It is blind to what the
scores do not know: where the relation between inputs and truth itself has changed, only labels tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """A rising step of probability over score, straight between `scores`, and flat beyond its ends; shapes (k,)."""

    scores: Floats
    probabilities: Floats

    def __call__(self, scores: ArrayLike) -> Floats:
        """The probabilities of scores, of the same shape."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.probabilities)


@dataclass(frozen=True)
class Estimate:
    """What to expect of `n` answers: shares from 0 to 1, None where nothing is divided by. `low` and `high` are the
    accuracy's 95 % interval, if the scores are calibrated; `roc_auc` is over the scores as they came."""

    n: int
    accuracy: float
    low: float
    high: float
    precision: float | None
    recall: float | None
    f1: float | None
    roc_auc: float | None


def calibrate(scores: ArrayLike, labels: ArrayLike) -> Calibration:
    """Isotonic regression of labels (0 and 1) on scores, shape (n,) each; equal scores are taken together.

    Raises ValueError for other labels, missing values, or nothing to learn from.
    """
    score, label = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if len(score) == 0 or len(score) != len(label):
        raise ValueError("A calibration needs as many labels as scores, and at least one.")
    if np.isnan(score).any() or not np.isin(label, (0.0, 1.0)).all():
        raise ValueError("A calibration needs scores without gaps and labels that are 0 or 1.")
    values, which, rows = np.unique(score, return_inverse=True, return_counts=True)
    shares = np.bincount(which, weights=label) / rows
    return Calibration(values, optimize.isotonic_regression(shares, weights=rows).x)


def estimate(scores: ArrayLike, answers: ArrayLike, calibration: Calibration | None = None) -> Estimate:
    """Expected performance of `answers` (0 and 1) that came with `scores`, shape (n,) each, without labels.

    Without `calibration` the scores are taken for probabilities of 1. Raises ValueError for other answers, for scores
    that are no probabilities then, missing values, or no rows.
    """
    score, answer = np.asarray(scores, dtype=np.float64), np.asarray(answers, dtype=np.float64)
    if len(score) == 0 or len(score) != len(answer):
        raise ValueError("An estimate needs as many answers as scores, and at least one.")
    if np.isnan(score).any() or not np.isin(answer, (0.0, 1.0)).all():
        raise ValueError("An estimate needs scores without gaps and answers that are 0 or 1.")
    p = score if calibration is None else calibration(score)
    if p.min() < 0 or p.max() > 1:
        raise ValueError("Scores outside of 0 to 1 are no probabilities; give a calibration.")
    said = answer == 1
    hits, false, missed = float(p[said].sum()), float((1 - p[said]).sum()), float(p[~said].sum())
    accuracy = float(np.where(said, p, 1 - p).mean())
    half = 1.959964 * math.sqrt(float(np.sum(p * (1 - p)))) / len(p)
    return Estimate(
        len(p),
        accuracy,
        max(accuracy - half, 0.0),
        min(accuracy + half, 1.0),
        _share(hits, hits + false),
        _share(hits, hits + missed),
        _share(2 * hits, 2 * hits + false + missed),
        _roc_auc(score, p),
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _roc_auc(scores: Floats, p: Floats) -> float | None:
    """The chance that a row that is 1 scores above one that is 0, each row being 1 with its p; ties count half."""
    _, which = np.unique(scores, return_inverse=True)
    ones, zeros = np.bincount(which, weights=p), np.bincount(which, weights=1 - p)
    below = np.cumsum(zeros) - zeros / 2
    return _share(float(ones @ below), float(ones.sum() * zeros.sum()))
