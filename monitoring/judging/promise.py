"""Does a metric that is a share of rows, such as accuracy, keep what was promised?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from monitoring.drift.measures import wilson
from monitoring.judging.answers import ALPHA, POWER_FLOOR, Judged, decide
from monitoring.judging.dependence import effective_size

METHOD = "share of rows with Wilson's interval (at the effective sample size, where their order is known)"


@dataclass(frozen=True)
class PromisedShare:
    """`right`: True, 1 or 1.0 for each row that is right, shape (n,), in the order of time if `ordered` (a set of rows
    in no order, such as a holdout, is not), NaN where nothing is known. It is held to `promised - margin`, and that
    it lies twice the margin below the promise must not pass unseen. Judged: shares of rows."""

    right: ArrayLike
    promised: float
    margin: float
    ordered: bool = True
    power_floor: float = POWER_FLOOR

    def judge(self, alpha: float = ALPHA) -> Judged:
        """Fail when the interval (coverage 1 - alpha) lies below what it is held to; pass when the share does not and
        the fall that must not pass unseen would have shown; inconclusive else."""
        right = np.asarray(self.right, dtype=np.float64)
        right = right[~np.isnan(right)]
        n, correct = len(right), int(right.sum())
        if n == 0:
            return Judged("inconclusive", "Of no row is it known whether it is right.", METHOD)
        size = effective_size(right) if self.ordered else float(n)
        share, least = correct / n, self.promised - self.margin
        low, high = wilson(share * size, size, 1 - alpha)
        power = self._power(2 * self.margin, least, size)
        detectable = self._detectable(least, size)
        p = self._p(share, least, size)
        answer = decide(
            significant=p <= alpha,
            within=low >= least,
            power=power if share >= least else 0.0,
            floor=self.power_floor,
        )
        said = {"fail": "broken", "pass": "kept", "inconclusive": "too little to tell"}[answer]
        sentence = (
            f"{share:.1%} of {n:,} rows are right ({low:.1%} to {high:.1%}), at least {least:.1%} are held to: {said}. "
            f"A fall of {100 * detectable:.1f} points below the promise would have been seen."
        )
        return Judged(answer, sentence, METHOD, share, low, high, p, power, detectable)

    def _p(self, share: float, least: float, size: float) -> float:
        """Two-sided by the score test, whose interval Wilson's is; 1 where the share is not below."""
        error = math.sqrt(max(least * (1 - least), 0.0) / size)
        if share >= least:
            return 1.0
        return 2 * float(special.ndtr((share - least) / error)) if error else 0.0

    def _power(self, fall: float, least: float, size: float) -> float:
        """The chance that a share which fell by so much is seen below `least`."""
        share = min(max(self.promised - fall, 0.0), 1.0)
        error = math.sqrt(share * (1 - share) / size)
        return float(special.ndtr((least - share) / error)) if error else 1.0

    def _detectable(self, least: float, size: float) -> float:
        """The fall below the promise that is seen as often as the power floor asks: where the score interval of
        `least` ends."""
        low, _ = wilson(least * size, size, 2 * self.power_floor - 1)
        return self.promised - low
