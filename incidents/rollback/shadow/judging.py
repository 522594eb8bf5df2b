"""The gate of a shadow: three questions of what was compared, whose answers hold however often they are asked.

At its k-th look each question is judged at 5 % / (k (k + 1)), which sum to 5 % over any number of looks. Shares have
the exact bounds of Clopper and Pearson (1934). How far a score moves lies between 0 and 1; its mean has the empirical
Bernstein bounds of Maurer and Pontil (2009, theorem 4), which assume nothing of its distribution. Rows are taken as
independent: many rows of one caller say less than they count here.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

from incidents.rollback.checks import Answered
from incidents.rollback.models import CheckAnswer
from incidents.rollback.shadow.terms import Terms, percent
from monitoring.judging.answers import ALPHA
from monitoring.judging.counts import PromisedErrors
from registry.serving.mirrored import Mirrored

NEVER = 1.0
"""Of PromisedErrors: no count passes for having no error alone, only where its upper bound lies within the limit."""


@dataclass(frozen=True)
class Bounds:
    """A mean with bounds that each hold but for `delta`."""

    mean: float
    low: float
    high: float


def bernstein(total: float, squares: float, n: int, delta: float) -> Bounds:
    """Bounds of the mean of n values from 0 to 1, by their sum and their sum of squares (Maurer and Pontil 2009)."""
    mean = total / n
    if n < 2:
        return Bounds(mean, 0.0, 1.0)
    variance = max(0.0, (squares - n * mean**2) / (n - 1))
    spread = math.log(2 / delta)
    reach = math.sqrt(2 * variance * spread / n) + 7 * spread / (3 * (n - 1))
    return Bounds(mean, max(0.0, mean - reach), min(1.0, mean + reach))


def level_of(look: int) -> float:
    """One-sided, of the k-th look, from 1."""
    return ALPHA / (look * (look + 1))


def answers(figures: Mirrored, asked: Terms, number: int, look: int) -> list[Answered]:
    """What the look says of version `number`."""
    delta = level_of(look)
    found = [
        _share(
            "shadow-differing",
            f"Does version {number} answer as what it would replace?",
            (figures.differing, figures.rows, "rows differ"),
            asked.max_differing,
            delta,
        ),
        _share(
            "shadow-failures",
            f"Does version {number} answer what it is asked beside?",
            (figures.failures, figures.requests + figures.failures, "requests failed"),
            asked.max_failures,
            delta,
        ),
    ]
    if sum(figures.live_scores):
        found.append(_moved(figures, asked, number, delta))
    return found


def too_few(figures: Mirrored, asked: Terms, needed: int, number: int) -> Answered:
    """What is said while no look is due."""
    observed = (
        f"{figures.rows:,} of {needed:,} rows compared; {figures.dropped:,} of {figures.taken:,} requests dropped"
    )
    question = f"Does version {number} answer as what it would replace?"
    expected = f"at most {percent(asked.max_differing)} differ"
    return Answered("shadow-differing", question, CheckAnswer.INCONCLUSIVE, observed, expected, wait=True)


def _share(name: str, question: str, counted: tuple[int, int, str], most: Decimal, delta: float) -> Answered:
    some, of, what = counted
    judged = PromisedErrors(some, of, float(most), float(most), NEVER).judge(delta)
    between = f"{percent(judged.low or 0)} to {percent(1 if judged.high is None else judged.high)}"
    observed = f"{some:,} of {of:,} {what}"
    return _answered(name, question, CheckAnswer(judged.answer), observed, f"surely at most {percent(most)}", between)


def _moved(figures: Mirrored, asked: Terms, number: int, delta: float) -> Answered:
    found, most = bernstein(figures.moved_sum, figures.moved_squares, figures.rows, delta), float(asked.max_moved)
    answer = CheckAnswer.INCONCLUSIVE
    if found.high <= most:
        answer = CheckAnswer.PASS
    elif found.low > most:
        answer = CheckAnswer.FAIL
    return _answered(
        "shadow-moved",
        f"Do the scores of version {number} stay near those of what it would replace?",
        answer,
        f"they move by {found.mean:.4f} on average, at most {figures.moved_largest:.4f}",
        f"surely at most {asked.max_moved:f} on average",
        f"{found.low:.4f} to {found.high:.4f}",
    )


def _answered(name: str, question: str, answer: CheckAnswer, observed: str, expected: str, interval: str) -> Answered:
    waits = answer == CheckAnswer.INCONCLUSIVE
    return Answered(name, question, answer, observed, expected, interval, wait=waits)
