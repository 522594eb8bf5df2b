"""Is it right less often, and can the labels be relied on? Pure: what was answered and what was true, in and out."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from monitoring.drift.measures import wilson

ENOUGH = 100
"""Labelled rows below which nothing is said about accuracy."""
LEAST_OF_CLASS = 20
ALPHA = 0.01
DROP_FLOOR = 0.02
NO_DROP = 0.04
"""It is right as often as before only where a drop of so much is ruled out by the interval."""
MIX = 0.15
"""Change of the labels' mix that the answers must explain, or the labels came otherwise than the rows."""
LATE = 0.5
SELECTED = 0.15
"""By so much more than before the share of labelled rows must differ between answers: then labels come by answer."""
MOST_ANSWERS = 20


@dataclass(frozen=True)
class Labelled:
    """Which share of the rows that were answered so has a label, now and before."""

    answer: float
    now: float
    before: float


@dataclass(frozen=True)
class Quality:
    """Accuracy now against before: `drop` is before less now, with Newcombe's 95 % interval. `dropped` is yes, no, or
    open where the rows can't tell. `adjusted` is the drop within each class of the labels, mixed as before.
    `positive` and `answered` are the shares of positive labels and answers. `selected` is empty unless which labels are
    known has come to depend on the answer: then the answers with the highest and the lowest share of labelled rows."""

    n: int
    n_before: int
    share: float | None
    share_before: float | None
    drop: float | None
    low: float | None
    high: float | None
    dropped: str
    adjusted: float | None
    labelled: float
    labelled_before: float
    positive: float | None
    positive_before: float | None
    answered: float | None
    answered_before: float | None
    selected: tuple["Labelled", ...] = ()

    @property
    def late(self) -> bool:
        """Whether far fewer of the rows have labels than before."""
        return self.labelled_before > 0 and self.labelled < LATE * self.labelled_before

    @property
    def mixed_otherwise(self) -> bool:
        """Whether the labels' classes came in another mix than the answers explain."""
        if None in (self.positive, self.positive_before, self.answered, self.answered_before):
            return False
        return abs(self.positive - self.positive_before) - abs(self.answered - self.answered_before) >= MIX


def quality(
    output: np.ndarray, label: np.ndarray, output_before: np.ndarray, label_before: np.ndarray, promised: float | None
) -> Quality:
    """`output` and `label` are (n,), labels NaN while unknown. Without labelled rows before, `promised` stands in."""
    known, known_before = ~np.isnan(label), ~np.isnan(label_before)
    right = output[known] == label[known]
    right_before = output_before[known_before] == label_before[known_before]
    n, before = len(right), len(right_before)
    drop = low = high = None
    dropped = "open"
    reference = float(right_before.mean()) if before >= ENOUGH else promised
    if n >= ENOUGH and reference is not None:
        drop = reference - float(right.mean())
        low, high, p = _difference(right, right_before if before >= ENOUGH else None, reference)
        if p < ALPHA and drop >= DROP_FLOOR:
            dropped = "yes"
        elif high < NO_DROP:
            dropped = "no"
    return Quality(
        n=n,
        n_before=before,
        share=float(right.mean()) if n else None,
        share_before=reference,
        drop=drop,
        low=low,
        high=high,
        dropped=dropped,
        adjusted=_adjusted(output[known], label[known], output_before[known_before], label_before[known_before]),
        labelled=n / len(output) if len(output) else 0.0,
        labelled_before=before / len(output_before) if len(output_before) else 0.0,
        positive=_positive(label[known]),
        positive_before=_positive(label_before[known_before]),
        answered=_positive(output),
        answered_before=_positive(output_before),
        selected=_selected(output, known, output_before, known_before),
    )


def _selected(
    output: np.ndarray, known: np.ndarray, output_before: np.ndarray, known_before: np.ndarray
) -> tuple[Labelled, ...]:
    """Whether labels come by answer, and did not so before: the most and the least labelled answer. Fisher's exact test
    between the two, at ALPHA after correction for the pairs of answers."""
    answers = np.unique(output)
    rows = [
        (Labelled(float(answer), float(known[now].mean()), float(known_before[then].mean())), now)
        for answer in answers[:MOST_ANSWERS]
        for now, then in [(output == answer, output_before == answer)]
        if min(now.sum(), then.sum()) >= LEAST_OF_CLASS
    ]
    if len(rows) < 2:
        return ()
    (least, fewest), (most, many) = (pick(rows, key=lambda one: one[0].now) for pick in (min, max))
    if (most.now - least.now) - abs(most.before - least.before) < SELECTED:
        return ()
    table = [[known[mine].sum(), (~known[mine]).sum()] for mine in (many, fewest)]
    p = float(stats.fisher_exact(table, "greater").pvalue) * len(rows) * (len(rows) - 1)
    return (most, least) if p < ALPHA else ()


def _difference(right: np.ndarray, before: np.ndarray | None, reference: float) -> tuple[float, float, float]:
    """Newcombe's interval of before less now, and the one-sided p that it is no drop."""
    n, hits = len(right), int(right.sum())
    low, high = wilson(hits, n)
    share = hits / n
    if before is None:
        return reference - high, reference - low, float(stats.binomtest(hits, n, reference, "less").pvalue)
    m, theirs = len(before), int(before.sum())
    low_before, high_before = wilson(theirs, m)
    was = theirs / m
    down = was - share - math.hypot(was - low_before, high - share)
    up = was - share + math.hypot(high_before - was, share - low)
    return down, up, float(stats.fisher_exact([[hits, n - hits], [theirs, m - theirs]], "less").pvalue)


def _adjusted(
    output: np.ndarray, label: np.ndarray, output_before: np.ndarray, label_before: np.ndarray
) -> float | None:
    """The drop within the labels' classes that both have enough of, weighed by their shares before."""
    weights, drops = [], []
    for value in np.unique(label_before):
        now, then = label == value, label_before == value
        if min(now.sum(), then.sum()) >= LEAST_OF_CLASS:
            weights.append(then.mean())
            drops.append((output_before[then] == value).mean() - (output[now] == value).mean())
    return float(np.average(drops, weights=weights)) if weights else None


def _positive(values: np.ndarray) -> float | None:
    """The share of ones, where there is nothing but zeros and ones."""
    return float(values.mean()) if len(values) and bool(np.isin(values, (0, 1)).all()) else None
