"""Groups of people: are they treated alike, where does a fall of accuracy sit, and did a group's inputs change?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from monitoring.drift.exact import compare_exact, sort_reference
from monitoring.drift.fairness import GroupRate, group_rates
from monitoring.drift.groups import GroupAccuracy, rank_groups
from monitoring.drift.judge import ColumnVerdict, judge_windows
from monitoring.drift.measures import wilson
from monitoring.drift.profile import Kind
from monitoring.drift.slices import Slice, worst_slice
from monitoring.quality.reading import Rows

MANY_VALUES, BANDS, LEAST = 20, 5, 50
MOST_GROUPS, MOST_FEATURES = 40, 10
MOST_SLICED = 15_000
"""Labelled rows, the newest, in which slices of two features are looked for: every two features are crossed."""


@dataclass(frozen=True)
class Calibrated:
    """The mean score of a group's labelled rows beside the share of them that is 1, with Wilson's interval. It is off
    where the score lies outside of the interval; None with too few rows."""

    feature: str
    group: str
    n: int
    score: float
    share: float
    low: float
    high: float

    @property
    def off(self) -> bool | None:
        """Whether the scores promise another share than came true."""
        return None if self.n < LEAST else not self.low <= self.score <= self.high


@dataclass(frozen=True)
class SliceDrift:
    """One group's inputs in the span against the same group's before: the columns that differ, corrected over all
    groups and columns."""

    feature: str
    group: str
    rows: int
    before: int
    drifted: list[ColumnVerdict]


def banded(columns: dict[str, np.ndarray], like: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Columns as groups: numbers of many values in bands of equal numbers of rows, all else as it is. The bands are
    those of `like`, so that two samples have the same."""
    return {name: _banded(values, (like or columns).get(name, values)) for name, values in columns.items()}


def _banded(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iuf" or like.dtype.kind not in "iuf" or len(np.unique(like)) <= MANY_VALUES:
        return values
    edges = np.unique(np.nanquantile(like, np.linspace(0, 1, BANDS + 1)))
    if len(edges) < 2:
        return values
    names = np.array([f"{low:g} to {high:g}" for low, high in pairwise(edges)], dtype=object)
    missing = np.isnan(values.astype(np.float64))
    place = np.clip(np.searchsorted(edges[1:-1], values, "right"), 0, len(names) - 1)
    found = names[place]
    found[missing] = None
    return found


def rates(rows: Rows, features: list[str]) -> list[GroupRate]:
    """Selection, true and false positive rate and precision of each group; empty for other answers than 0 and 1."""
    known = rows.known
    if not rows.binary or not known.any():
        return []
    columns = banded({name: values[known] for name, values in rows.columns.items() if name in features})
    if not columns:
        return []
    output, label = (rows.numbers(name)[known].astype(int) for name in ("output", "label"))
    return group_rates(output, label, columns, minimum_rows=LEAST)


def calibrations(rows: Rows, features: list[str]) -> list[Calibrated]:
    """Each group's scores held against what came true; empty where there are no scores from 0 to 1."""
    score = rows.numbers("score")
    known = rows.known & np.logical_not(np.isnan(score))
    if not rows.binary or not known.any() or score[known].min() < 0 or score[known].max() > 1:
        return []
    label, score = rows.numbers("label")[known], score[known]
    found = []
    for feature, values in banded({k: v[known] for k, v in rows.columns.items() if k in features}).items():
        for group in sorted(set(values.tolist()), key=str)[:MOST_GROUPS]:
            mine = np.asarray([value == group for value in values.tolist()])
            n, hits = int(mine.sum()), int(label[mine].sum())
            if n:
                low, high = wilson(hits, n)
                found.append(Calibrated(feature, str(group), n, float(score[mine].mean()), hits / n, low, high))
    return found


def accuracies(rows: Rows, before: Rows, features: Sequence[str]) -> tuple[list[GroupAccuracy], Slice | None]:
    """Each group's accuracy against its own before, and the slice that explains most of a fall, over the first
    MOST_FEATURES of `features`."""
    if not rows.known.any() or not before.known.any():
        return [], None
    shared = [name for name in features if name in rows.columns and name in before.columns][:MOST_FEATURES]
    earlier = {name: before.columns[name][before.known][-MOST_SLICED:] for name in shared}
    now = {name: rows.columns[name][rows.known][-MOST_SLICED:] for name in shared}
    right, was = rows.right[-MOST_SLICED:], before.right[-MOST_SLICED:]
    groups, reference = banded(now, earlier), banded(earlier)
    ranked = rank_groups(right, groups, reference_correct=was, reference_features=reference)
    worst = worst_slice(right, groups, reference_correct=was, reference_features=reference)
    return ranked[:MOST_GROUPS], worst


def slice_drifts(rows: Rows, before: Rows, features: list[str], kinds: dict[str, Kind]) -> list[SliceDrift]:
    """The inputs of each group against the same group's before, those with most columns first."""
    inputs = {name: kind for name, kind in kinds.items() if name in rows.columns and name in before.columns}
    groups = {name: values for name, values in rows.columns.items() if name in features and name in inputs}
    earlier = banded({name: before.columns[name] for name in groups})
    now = banded(groups, {name: before.columns[name] for name in groups})
    told, drifts = [], []
    for feature, values in now.items():
        for group in sorted(set(values.tolist()), key=str)[:MOST_GROUPS]:
            mine, then = (np.asarray([v == group for v in one.tolist()]) for one in (values, earlier[feature]))
            if min(int(mine.sum()), int(then.sum())) < LEAST:
                continue
            others = {name: kind for name, kind in inputs.items() if name != feature}
            reference = sort_reference({name: before.columns[name][then] for name in others}, others)
            drifts.append(compare_exact(reference, {name: rows.columns[name][mine] for name in others}))
            told.append((feature, str(group), int(mine.sum()), int(then.sum())))
    judged = judge_windows(drifts)
    found = [
        SliceDrift(*one, [verdict for verdict in verdicts if verdict.drifted])
        for one, verdicts in zip(told, judged, strict=True)
    ]
    return sorted(found, key=lambda one: (-len(one.drifted), one.feature, one.group))
