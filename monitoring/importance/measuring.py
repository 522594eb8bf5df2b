"""One turn at a version's importance: some of its columns, shuffled among labelled rows of its holdout set."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext

from monitoring.drift.importance import Columns, Loss, Metric, Shuffling, shuffling
from monitoring.holdouts import LABEL, labelled_rows
from monitoring.importance.answering import Respondent, metric_of, respondent
from monitoring.importance.models import Importance
from monitoring.windows import numpy_column
from registry.models import Version

LEAST_ROWS = 50
SAMPLE = 100
"""Rows that are answered first, to see how long the others will take."""
SLOWEST = 30.0
"""Seconds that one column may take with LEAST_ROWS rows."""


class NotMeasured(ValueError):
    """It can't be measured. The message says why, and what to do."""


@dataclass(frozen=True)
class Turn:
    """What came of one: `losses` of all columns done so far, whose they are, and for how long to leave it alone."""

    by: str
    metric: Metric
    baseline: float
    rows: int
    repeats: int
    columns: int
    losses: dict[str, Loss]
    seconds: float
    rest: float

    @property
    def is_done(self) -> bool:
        return len(self.losses) == self.columns


def take_turn(one: Importance) -> Turn:
    """At least one more column, and more while the respondent's time lasts. Columns are done anew where another than
    before answers now.

    Raises NotMeasured, answering.NobodyAnswers, what answering raises, and what registry.store raises.
    """
    began = time.monotonic()
    version = one.version
    names = version.input_names
    sample = _columns(version, names, SAMPLE)
    who = respondent(version, sample[0])
    done = {name: Loss(**known) for name, known in one.losses.items()} if one.rows and who.by == one.answered_by else {}
    limit, repeats = (one.rows, one.repeats) if done else _affordable(who, who.read(sample[0]))
    columns, labels = _columns(version, names, limit)
    shuffled = shuffling(who.predict, who.read(columns), labels, metric=metric_of(version), repeats=repeats)
    done |= _more(shuffled, [name for name in names if name not in done], began + who.seconds)
    took = time.monotonic() - began
    return Turn(
        who.by, shuffled.metric, shuffled.baseline, len(labels), repeats, len(names), done, took, rest=who.rest * took
    )


def _columns(version: Version, names: list[str], limit: int) -> tuple[Columns, Any]:
    table = labelled_rows(version, names, limit)
    if len(table) < min(LEAST_ROWS, limit):
        raise NotMeasured(
            gettext(
                "Its holdout set has %(rows)s rows with a label and every input; %(least)s are needed. Register the "
                "next version with more, or with a profile that has an importance."
            )
            % {"rows": len(table), "least": LEAST_ROWS}
        )
    labels = numpy_column(table, LABEL)
    if labels.dtype.kind not in "biuf":
        raise NotMeasured(
            gettext(
                "The labels of its holdout set are not numbers, so no answer can be held against them. Register the "
                "next version with labels as it answers them, or with a profile that has an importance."
            )
        )
    return {name: numpy_column(table, name) for name in names}, labels


def _affordable(who: Respondent, sample: Columns) -> tuple[int, int]:
    """Rows and repeats with which a column takes no longer than a turn; fewer repeats before fewer rows."""
    began = time.monotonic()
    who.predict(sample)
    rows = len(next(iter(sample.values())))
    seconds = (time.monotonic() - began) / rows
    if seconds * LEAST_ROWS > SLOWEST:
        raise NotMeasured(
            gettext(
                "It takes %(seconds)s s to answer %(rows)s rows, too long to shuffle each column. Measure it where the "
                "version was trained, and register the next one with a profile that has an importance."
            )
            % {"seconds": f"{seconds * rows:.0f}", "rows": rows}
        )
    repeats = int(min(who.repeats, max(1.0, who.seconds / (seconds * who.rows))))
    return int(max(LEAST_ROWS, min(who.rows, who.seconds / seconds))), repeats


def _more(shuffled: Shuffling, names: list[str], until: float) -> Mapping[str, Loss]:
    found: dict[str, Loss] = {}
    for name in names:
        found[name] = shuffled.loss_of(name)
        if time.monotonic() >= until:
            break
    return found
