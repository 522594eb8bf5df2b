"""The gate that judges a metric of a registered source: before against after, or switched hosts against the others.

It looks at 8 intervals, then at 16, 32 and so on while the gate's patience lasts. A healthy version that is looked at
K times in each of W waves (the watch counts as one), by G such gates, fails any of these looks in at most 5 % of runs:
each look is judged at 5 % / (K G W), after Bonferroni. Looks are at fixed numbers of intervals, never when somebody
happens to ask.
"""

import datetime
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from audit.clock import database_now
from incidents.rollback.gating.models import Asking
from incidents.rollback.gating.told import Asked, Said
from incidents.rollback.models import CheckAnswer, StepState
from monitoring.judging.answers import ALPHA, Judged
from monitoring.judging.series import Level
from monitoring.pull.asking import Line, PullFailed, query_range
from monitoring.pull.models import Source

INCONCLUSIVE = CheckAnswer.INCONCLUSIVE
FIRST_LOOK = 8
"""Intervals, the fewest that monitoring.judging says anything about."""


class Unanswerable(Exception):
    """The query gave nothing that can be judged; the message says what."""


def looks(patience_seconds: int, step_seconds: int) -> int:
    """How many looks there are, after 8, 16, 32, ... intervals, before the patience is over; at least one."""
    return max(1, int(math.log2(max(1.0, patience_seconds / step_seconds / FIRST_LOOK))) + 1)


def ask_series(asked: Asked) -> Said:
    """What the next look says, once its intervals have passed."""
    body, look = asked.gate.body, asked.asked_before
    if body["compare"] == "canary_baseline" and len(asked.steps) == len(asked.work.document.hosts):
        return _without_others(asked)
    step = datetime.timedelta(seconds=body["step_seconds"])
    planned = looks(asked.gate.patience_seconds, body["step_seconds"])
    if look >= planned:
        return Said(INCONCLUSIVE, "too little to tell after the last look", asked=look)
    since, needed = _switched_at(asked), FIRST_LOOK * 2**look
    passed = int((database_now() - since) / step)
    if passed < needed:
        return Said(INCONCLUSIVE, f"{passed} of {needed} intervals have passed", asked=look)
    try:
        judged = _judge(asked, since, needed, step, ALPHA / (planned * max(1, asked.series) * asked.times))
    except (PullFailed, Unanswerable, ValueError) as error:
        return Said(INCONCLUSIVE, str(error), asked=look)
    interval = f"{judged.low:.4g} to {judged.high:.4g}" if judged.low is not None and judged.high is not None else ""
    return Said(CheckAnswer(judged.answer), judged.sentence, interval, asked=look + 1)


def _without_others(asked: Asked) -> Said:
    """In the last wave nothing is left to compare with; what was compared in the waves before stands."""
    mine = Asking.objects.filter(run=asked.work.run, definition__digest=asked.gate.digest, answer=CheckAnswer.PASS)
    if mine.exists():
        return Said(CheckAnswer.PASS, "no other host is left to compare with; it passed in the waves before")
    return Said(INCONCLUSIVE, "no other host is left to compare with, and it was not compared before")


def _judge(asked: Asked, since: datetime.datetime, n: int, step: datetime.timedelta, alpha: float) -> Judged:
    body = asked.gate.body
    source = Source.objects.filter(name=body["source"]).first()
    if source is None:
        raise Unanswerable(f"There is no metric source {body['source']}. Register it, or register the gate anew.")
    canary = _values(source, asked.fill(body["query"]), since, n, step)
    paired = body["compare"] == "canary_baseline"
    if paired:
        baseline = _values(source, asked.fill(body["baseline_query"]), since, n, step)
    else:
        window = datetime.timedelta(seconds=body["window_seconds"])
        begun = asked.work.run.started_at - window
        baseline = _values(source, asked.fill(body["query"]), begun, int(window / step), step)
    level = Level(asked.gate.name, baseline, canary, body["worse"], float(body["matters"]), paired)
    return level.judge(alpha)


def _values(
    source: Source, query: str, since: datetime.datetime, n: int, step: datetime.timedelta
) -> npt.NDArray[np.float64]:
    """One value for each of the `n` intervals after `since`, taken at its end; shape (n,), NaN where there is none."""
    lines: Sequence[Line] = query_range(source, query, since + step, since + n * step, step)
    if len(lines) != 1:
        raise Unanswerable(f"The query gives {len(lines)} series, and one is judged. Aggregate it, as by sum().")
    values = np.full(n, np.nan)
    for at, value in lines[0].samples:
        index = round((at - since) / step) - 1
        if 0 <= index < n and math.isfinite(value):
            values[index] = value
    return values


def _switched_at(asked: Asked) -> datetime.datetime:
    """When the last host of this wave was done."""
    marks = [step.marks[StepState.DONE] for step in asked.fresh if StepState.DONE in step.marks]
    return max(map(datetime.datetime.fromisoformat, marks), default=asked.work.run.started_at)
