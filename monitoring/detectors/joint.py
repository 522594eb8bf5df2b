"""Are a window's inputs, taken together, unlike the rows that the version came with?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from monitoring.asked import ANSWERS, Answered, Asked, nothing_known
from monitoring.drift.joint import Joint, JointLimits, are_unlike, judge_together
from monitoring.drift.judge import LEAST_WEIGHT
from monitoring.models import Answer
from monitoring.windows import numpy_column

MOST_COLUMNS = 50
"""Columns that are compared: the ones that matter most to the version, of more."""
FEATURE = "feature."


def joint_limits(params: Mapping[str, float], min_rows: int) -> JointLimits:
    """The rule's params as the engine takes them."""
    return JointLimits(params["alpha"], params["auc"], params["mmd"], min_rows)


def joint_drift(asked: Asked) -> list[Answered]:
    """The answer for the version as a whole; not enough data where it came without a holdout set."""
    if not asked.holdout:
        return [nothing_known(asked, f"Version {asked.version} came without a holdout set to hold its inputs to.")]
    names = compared_columns(asked)
    if not names:
        return [nothing_known(asked, "The prediction log holds none of the inputs of the version's holdout set.")]
    table = asked.table if asked.sample is None else asked.sample([f"{FEATURE}{name}" for name in names])
    given = {name: numpy_column(table, f"{FEATURE}{name}") for name in names}
    reference = {name: asked.holdout[name] for name in names}
    found = judge_together(reference, given, limits=joint_limits(asked.params, asked.min_rows))
    return [_answer(asked, found, names)]


def compared_columns(asked: Asked) -> list[str]:
    """The inputs that both the holdout set and the prediction log have, the most important first. One that the version
    is known to hardly read is left out: what moves there wakes nobody by itself, and would carry the rest along."""
    columns = asked.table.column_names if asked.sketches is None else asked.sketches
    read = [name for name in asked.holdout if asked.weights.get(name, LEAST_WEIGHT) >= LEAST_WEIGHT]
    shared = [name for name in read if f"{FEATURE}{name}" in columns]
    return sorted(shared, key=lambda name: (-asked.weights.get(name, 0.0), name))[:MOST_COLUMNS]


def _answer(asked: Asked, found: Joint, names: list[str]) -> Answered:
    limit, rows = asked.params["auc"], len(asked.table)
    if found.outcome == "not enough data":
        sentence = (
            f"{found.n_window:,} rows of version {asked.version} and {found.n_reference:,} of its holdout set; "
            f"{asked.min_rows:,} of each are needed to compare inputs taken together."
        )
        return Answered(Answer.NOT_ENOUGH, None, limit, rows, sentence)
    told = (
        f"a classifier tells {found.n_window:,} rows of the window from {found.n_reference:,} of the holdout set with "
        f"AUC {found.auc:.2f} (limit {limit:g})"
    )
    apart = f"MMD² is {found.mmd:.4f} (limit {asked.params['mmd']:g}, p {found.mmd_p:.3f})"
    if found.by:
        most = " and ".join(name for name, _ in found.telling[:2])
        sentence = (
            f"The inputs of version {asked.version}, taken together, are unlike its holdout set: {told}, most by "
            f"{most}; {apart}."
        )
    else:
        sentence = f"The inputs of version {asked.version}, taken together, are like its holdout set: {told}; {apart}."
    return Answered(ANSWERS[found.outcome], found.auc, limit, rows, sentence[:500], None, _data(asked, found, names))


def _data(asked: Asked, found: Joint, names: list[str]) -> dict[str, Any]:
    return {
        "auc": found.auc, "auc_p": found.auc_p, "mmd": found.mmd, "mmd_p": found.mmd_p, "by": found.by,
        "rows_compared": found.n_window, "rows_of_holdout": found.n_reference, "columns_compared": len(names),
        "telling": [{"column": name, "share": share} for name, share in found.telling[:5]],
        "hosts": asked.hosts, "false_alarms": asked.false_alarms, "tried": dict(asked.tried),
    }  # fmt: skip


def splits(asked: Asked, *, rows: int, first: int, number: int) -> int:
    """How many of `number` splits of `rows` rows of the holdout set against its rest raise an alarm; `first` tells one
    series of splits from the next."""
    limits = joint_limits(asked.params, asked.min_rows)
    names = compared_columns(asked)
    reference = {name: asked.holdout[name] for name in names}
    held, alarms = len(next(iter(reference.values()))), 0
    for seed in range(first, first + number):
        drawn = np.zeros(held, dtype=bool)
        drawn[np.random.default_rng(seed).choice(held, rows, replace=False)] = True
        window = {name: column[drawn] for name, column in reference.items()}
        rest = {name: column[~drawn] for name, column in reference.items()}
        alarms += are_unlike(rest, window, limits=limits, seed=seed)
    return alarms
