"""Has the version begun to answer wrong more often than it did? Detectors of change on the stream of its errors."""

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db.models import Q

from monitoring.asked import ANSWERS, Answered, Asked, nothing_known
from monitoring.drift.concept import Rise, RiseLimits, judge_rise
from monitoring.holdouts import evenly
from monitoring.models import Answer, Finding, Rule, Window
from monitoring.windows import batches_within, load_predictions, numpy_column

REFERENCE_ROWS = 1_000
"""Labelled answers of good windows that a window is held against; twice the rule's least rows where these are more."""
MOST_WINDOWS = 20
MOST_STREAM = 2_000
"""Labelled answers of a window that are read, evenly spaced: what this costs does not grow with the window."""


def rise_limits(params: Mapping[str, float], min_rows: int) -> RiseLimits:
    """The rule's params as the engine takes them."""
    return RiseLimits(params["rise"], int(params["agree"]), min_rows)


def errors_of(table: pa.Table) -> np.ndarray:
    """1 for each labelled answer that was wrong, 0 for one that was right, oldest first, shape (labelled,)."""
    labelled = labelled_rows(table)
    return np.asarray(numpy_column(labelled, "output") != numpy_column(labelled, "label"), dtype=np.float64)


def labelled_rows(table: pa.Table) -> pa.Table:
    """The rows whose label is known."""
    return table.filter(table.column("label").is_valid())


def errors_before(rule: Rule, window: Window, version: str) -> np.ndarray:
    """The errors of the version's newest windows before this one in which the rule found none too many, oldest first.

    Raises monitoring.store.StoreDamaged.
    """
    wanted = max(REFERENCE_ROWS, 2 * rule.min_rows)
    good = Finding.objects.filter(rule=rule, version=version, host=None, window__end__lte=window.start, rows__gt=0)
    picked, labelled, answered = [], 0, 0
    for found in good.exclude(answer=Answer.BREACH).select_related("window").order_by("-window__start")[:MOST_WINDOWS]:
        picked.append(found.window)
        labelled, answered = labelled + found.rows, answered + found.window.rows
        if labelled >= wanted:
            break
    if not picked:
        return np.zeros(0)
    return _errors_in(window, version, picked, max(wanted * answered // labelled, wanted))[-wanted:]


def _errors_in(window: Window, version: str, picked: list[Window], rows: int) -> np.ndarray:
    """From the newest deliveries of these windows that hold `rows` answers together."""
    within = reduce(or_, (Q(first_at__lt=one.end, last_at__gte=one.start) for one in picked))
    start, end = picked[-1].start, picked[0].end
    batches = batches_within(window.endpoint, start, end).filter(within, version=version)
    keys, held = [], 0
    for key, count in batches.order_by("-last_at").values_list("pk", "rows"):
        keys.append(key)
        held += count
        if held >= rows:
            break
    columns = ["ts", "output", "label"]
    table = load_predictions(window.endpoint, start, end, [version], columns=columns, batches=keys)
    at = table.column("ts")
    inside = (
        pc.and_(pc.greater_equal(at, pa.scalar(one.start, at.type)), pc.less(at, pa.scalar(one.end, at.type)))
        for one in picked
    )
    return errors_of(table.filter(reduce(pc.or_, inside)))


def concept_drift(asked: Asked) -> list[Answered]:
    """The answer for the version as a whole; its value is the share of errors, its limit the most that is no breach."""
    if not pa.types.is_integer(asked.table.schema.field("output").type):
        return [nothing_known(asked, f"Version {asked.version} answers with other than classes, none right or wrong.")]
    labelled = labelled_rows(asked.table)
    read = evenly(labelled, MOST_STREAM)
    found = judge_rise(asked.errors_before, errors_of(read), limits=rise_limits(asked.params, asked.min_rows))
    if found.outcome == "not enough data":
        sentence = (
            f"{len(labelled):,} labelled answers of version {asked.version} and {found.n_before:,} of its windows "
            f"before; {asked.min_rows:,} of each are needed to say whether errors became more."
        )
        return [Answered(Answer.NOT_ENOUGH, None, None, len(labelled), sentence)]
    return [_answer(asked, found, labelled, read)]


def _answer(asked: Asked, found: Rise, labelled: pa.Table, read: pa.Table) -> Answered:
    limit = found.before + asked.params["rise"]
    when = {name: read.column("ts")[at].as_py() for name, at in found.signals.items() if at is not None}
    signalled = found.signalled
    said = (
        f"{len(signalled)} of {len(found.signals)} detectors say that they became more, {CALLED[signalled[0]]} first, "
        f"at {when[signalled[0]]:%H:%M:%S} UTC"
        if signalled
        else f"none of {len(found.signals)} detectors says that they became more"
    )
    sentence = (
        f"{found.now:.1%} of {found.n:,} labelled answers of version {asked.version} are wrong ({found.low:.1%} to "
        f"{found.high:.1%}), in its good windows before {found.before:.1%} of {found.n_before:,} (limit {limit:.1%}); "
        f"{said}."
    )
    return Answered(ANSWERS[found.outcome], found.now, limit, len(labelled), sentence, None, _data(asked, found, when))


def _data(asked: Asked, found: Rise, when: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        "before": found.before, "rows_before": found.n_before, "low": found.low, "high": found.high,
        "signals": {
            name: {"row": at, "at": when[name].isoformat() if name in when else None}
            for name, at in found.signals.items()
        },
        "rows_read": found.n, "hosts": asked.hosts, "false_alarms": asked.false_alarms,
    }  # fmt: skip


CALLED = {"adwin": "ADWIN", "ddm": "DDM", "hddm-a": "HDDM-A", "hddm-w": "HDDM-W", "page-hinkley": "Page-Hinkley"}
"""The detectors as their papers call them."""
