"""Accuracy and loss over a span with their intervals, and what to expect of the answers whose labels have not come."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from django.utils.translation import gettext

from monitoring.charts import parts
from monitoring.charts.parts import Chart
from monitoring.drift.estimate import Calibration, Estimate, calibrate, estimate
from monitoring.drift.measures import wilson
from monitoring.quality.reading import Rows, answered_at

STEPS = 24
LEAST_CALIBRATION, LEAST_STEP = 200, 30
SMALLEST = 1e-6
"""How near to 0 or 1 a score counts for the loss: a certain answer that is wrong would cost without end."""


@dataclass(frozen=True)
class Step:
    """One stretch of the span: labelled rows with accuracy and log loss as known, all rows with what is estimated.
    Shares with low and high of 95 %; None where there are too few."""

    end: datetime
    rows: int
    labelled: int
    accuracy: tuple[float, float, float] | None
    loss: tuple[float, float, float] | None
    estimated: Estimate | None


@dataclass
class Performance:
    """The whole span and its steps. `calibrated` says how many earlier labelled rows the estimate was fitted on."""

    whole: Step
    steps: list[Step] = field(default_factory=list)
    calibrated: int = 0
    why_not: str = ""

    @property
    def sentence(self) -> str:
        """What is known, then what is estimated."""
        whole, told = self.whole, []
        if whole.accuracy:
            share, low, high = whole.accuracy
            told.append(
                gettext("%(share)s of %(labelled)s labelled answers were right (%(low)s to %(high)s)")
                % {
                    "share": f"{share:.1%}",
                    "labelled": f"{whole.labelled:,}",
                    "low": f"{low:.1%}",
                    "high": f"{high:.1%}",
                }
            )
        else:
            told.append(gettext("No answer of this span has a label yet"))
        if whole.estimated:
            one = whole.estimated
            told.append(
                gettext("estimated from the scores of all %(n)s, %(accuracy)s are (%(low)s to %(high)s)")
                % {
                    "n": f"{one.n:,}",
                    "accuracy": f"{one.accuracy:.1%}",
                    "low": f"{one.low:.1%}",
                    "high": f"{one.high:.1%}",
                }
            )
        return "; ".join(told) + "."

    @property
    def basis(self) -> str:
        """What the estimate rests on, as a sentence."""
        if self.why_not:
            return self.why_not
        how = (
            (
                gettext("calibrated on %(calibrated)s labelled answers of the time before")
                % {"calibrated": f"{self.calibrated:,}"}
            )
            if self.calibrated
            else (gettext("taken for probabilities as they came, for too few labels are known of the time before"))
        )
        return gettext(
            "The estimate (CBPE) rests on the scores, %(how)s. It can't see that inputs mean something else "
            "than before."
        ) % {"how": how}


def performance(rows: Rows, before: Rows) -> Performance:
    """Of `rows`, with scores calibrated on the labelled ones of `before`."""
    calibration, fitted, why_not = _calibration(rows, before)
    allowed = not why_not
    found = Performance(_step(rows, np.ones(len(rows), bool), rows.until, calibration, allowed), [], fitted, why_not)
    at = answered_at(rows)
    edges = np.linspace(rows.since.timestamp(), rows.until.timestamp(), STEPS + 1)
    for start, end in pairwise(edges.tolist()):
        mine = (at >= start) & (at < end)
        if mine.any():
            found.steps.append(_step(rows, mine, datetime.fromtimestamp(end, UTC), calibration, allowed))
    return found


def _calibration(rows: Rows, before: Rows) -> tuple[Calibration | None, int, str]:
    scores = rows.numbers("score")
    if not len(rows) or np.isnan(scores).all():
        return (
            None,
            0,
            gettext("Answers come without scores, so that nothing can be estimated before labels have come."),
        )
    if not rows.binary:
        return (
            None,
            0,
            gettext("Answers are other than 0 and 1: what to expect of them can't be estimated from a score."),
        )
    known = before.known & np.logical_not(np.isnan(before.numbers("score")))
    labels = before.numbers("label")[known]
    if len(labels) >= LEAST_CALIBRATION and before.binary and 0 < labels.mean() < 1:
        return calibrate(before.numbers("score")[known], labels), len(labels), ""
    if np.nanmin(scores) < 0 or np.nanmax(scores) > 1:
        return (
            None,
            0,
            gettext("Scores are no probabilities, and too few labels are known of the time before to calibrate them."),
        )
    return None, 0, ""


def _step(rows: Rows, mine: np.ndarray, end: datetime, calibration: Calibration | None, allowed: bool) -> Step:
    output, label, score = (rows.numbers(name)[mine] for name in ("output", "label", "score"))
    known = np.logical_not(np.isnan(label))
    n, hits = int(known.sum()), int((output[known] == label[known]).sum())
    accuracy = (hits / n, *wilson(hits, n)) if n else None
    scored = np.logical_not(np.isnan(score))
    found = None
    if allowed and scored.sum() >= LEAST_STEP:
        found = estimate(score[scored], output[scored], calibration)
    return Step(end, int(mine.sum()), n, accuracy, _loss(score, label, rows.binary), found)


def _loss(score: np.ndarray, label: np.ndarray, binary: bool) -> tuple[float, float, float] | None:
    """Mean log loss in nats with its normal interval; None where scores are no probabilities of 1."""
    known = np.logical_not(np.isnan(label) | np.isnan(score))
    score, label = score[known], label[known]
    if not binary or len(score) < LEAST_STEP or score.min() < 0 or score.max() > 1:
        return None
    p = np.clip(score, SMALLEST, 1 - SMALLEST)
    losses = -(label * np.log(p) + (1 - label) * np.log(1 - p))
    half = 1.959964 * float(losses.std()) / math.sqrt(len(losses))
    return float(losses.mean()), max(float(losses.mean()) - half, 0.0), float(losses.mean()) + half


def accuracy_chart(found: Performance) -> Chart | None:
    """Accuracy as known with its interval, and as estimated, dashed. None without either."""
    known = [step for step in found.steps if step.accuracy]
    told = [step for step in found.steps if step.estimated]
    if not known and not told:
        return None
    traces: list[dict[str, Any]] = []
    for steps, values, name, tone, dash in (
        (known, [step.accuracy or () for step in known], "known", "accent", "solid"),
        (told, [(e.accuracy, e.low, e.high) for step in told if (e := step.estimated)], "estimated", 2, "dash"),
    ):
        traces += _banded([step.end for step in steps], values, name, tone, dash)
    rows = [
        [
            parts.clock(step.end),
            f"{step.rows:,}",
            f"{step.labelled:,}",
            _shown(step.accuracy),
            _shown((step.estimated.accuracy, step.estimated.low, step.estimated.high) if step.estimated else None),
        ]
        for step in reversed(found.steps)
    ]
    return Chart(
        "quality-accuracy",
        found.sentence,
        gettext(
            "Share of answers that were right, where labels are known, and dashed as estimated from the "
            "scores; shaded: 95 % intervals."
        ),
        parts.figure(traces, {"title": "accuracy", "tickformat": ".0%"}, {}),
        parts.table([gettext("up to, UTC"), "answers", "labelled", "known", "estimated"], rows),
    )


def loss_chart(found: Performance) -> Chart | None:
    """Log loss over time. None where it can't be told."""
    steps = [step for step in found.steps if step.loss]
    if not steps or not found.whole.loss:
        return None
    mean, low, high = found.whole.loss
    traces = _banded(
        [step.end for step in steps], [step.loss or () for step in steps], gettext("log loss"), "accent", "solid"
    )
    return Chart(
        "quality-loss",
        gettext("Log loss is %(mean)s (%(low)s to %(high)s) over the span.")
        % {"mean": f"{mean:.3f}", "low": f"{low:.3f}", "high": f"{high:.3f}"},
        gettext("Mean log loss of labelled answers, in nats, of the score as it came; shaded: 95 % interval."),
        parts.figure(traces, {"title": gettext("log loss, nats"), "rangemode": "tozero"}, {}),
        parts.table(
            [gettext("up to, UTC"), "labelled", gettext("log loss")],
            [
                [
                    parts.clock(step.end),
                    f"{step.labelled:,}",
                    gettext("%(one)s (%(low)s to %(high)s)")
                    % {"one": f"{one[0]:.3f}", "low": f"{one[1]:.3f}", "high": f"{one[2]:.3f}"},
                ]
                for step in reversed(steps)
                if (one := step.loss)
            ],
        ),
        "small",
    )


def _banded(ends: list[datetime], values: list[Any], name: str, tone: int | str, dash: str) -> list[dict[str, Any]]:
    if not ends:
        return []
    x = [parts.stamp(end) for end in ends]
    middle, low, high = ([one[place] for one in values] for place in range(3))
    drawn = {**parts.trace(x, middle, name, tone), "mode": "lines+markers", "line": {"dash": dash}}
    return [*parts.band(x, low, high, tone), drawn]


def _shown(value: tuple[float, float, float] | None) -> str:
    return (
        gettext("%(value)s (%(low)s to %(high)s)")
        % {"value": f"{value[0]:.1%}", "low": f"{value[1]:.1%}", "high": f"{value[2]:.1%}"}
        if value
        else ""
    )
