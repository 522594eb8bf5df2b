"""Questions about a switched fleet under live traffic, each with its three answers."""

import datetime
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from incidents.rollback.checks import Answered, between, percent
from incidents.rollback.fleet import Remote
from incidents.rollback.models import CheckAnswer
from monitoring.drift.compare import compare
from monitoring.drift.measures import wilson
from monitoring.holdouts import holdout_rows
from monitoring.judging.answers import POWER_FLOOR
from monitoring.judging.latency import LatencyQuantile
from monitoring.judging.promise import PromisedShare
from monitoring.profiles import profiles_of
from monitoring.queries import latency_of, right_rows
from monitoring.references import latency_reference
from monitoring.windows import load_predictions, numpy_column
from registry.models import Endpoint, Version

PASS, FAIL, INCONCLUSIVE = CheckAnswer.PASS, CheckAnswer.FAIL, CheckAnswer.INCONCLUSIVE
BATCH_ROWS = 500
IN_FLIGHT = 2
LABEL = "label"


def accuracy_answer(
    name: str, question: str, right: np.ndarray, *, promised: Decimal, margin: Decimal, holdout: bool = False
) -> Answered:
    """Pass when the share of rows that are right (shape (n,), of 0 and 1) is at or above `promised - margin` and twice
    the margin would have shown; fail when its 95 % interval lies wholly below; inconclusive in between. Live rows may
    be wrong together, and then say less. A holdout set never grows, and the promise was made on its rows: it passes
    however few they are."""
    floor = 0.0 if holdout else POWER_FLOOR
    judged = PromisedShare(right, float(promised), float(margin), not holdout, floor).judge()
    expected = f"at least {percent(promised - margin)} (promised {percent(promised)})"
    answer, n = CheckAnswer(judged.answer), len(right)
    observed = f"{percent(right.mean())} of {n} rows" if n else "no labelled rows"
    return Answered(name, question, answer, observed, expected, between(judged), wait=answer == INCONCLUSIVE)


def live_accuracy(
    endpoint: Endpoint, version: Version, since: datetime.datetime, now: datetime.datetime, check: dict[str, str]
) -> Answered:
    """Of what the version has answered since the switch and has a label by now."""
    table = load_predictions(endpoint, since, now, versions=[str(version.number)], columns=["output", "label"])
    right = right_rows(table)
    question = f"Is version {version.number} as accurate on live traffic as it promised?"
    promised, margin = Decimal(check["promised"]), Decimal(check["margin"])
    if len(right) < int(check["min_rows"]):
        observed = f"{len(right)} of {check['min_rows']} labelled rows needed for an answer"
        return Answered("accuracy", question, INCONCLUSIVE, observed, f"promised {percent(promised)}", wait=True)
    return accuracy_answer("accuracy", question, right, promised=promised, margin=margin)


def live_latency(
    endpoint: Endpoint,
    version: Version,
    started: datetime.datetime,
    since: datetime.datetime,
    now: datetime.datetime,
    check: dict[str, str],
) -> Answered | None:
    """The median against the endpoint's good windows before the run; None where there are none to compare with."""
    min_rows = int(check["min_rows"])
    reference = latency_reference(endpoint, started, min_rows)
    before = latency_of(reference.table) if reference is not None else None
    if reference is None or before is None or before.p50 is None:
        return None
    table = load_predictions(endpoint, since, now, versions=[str(version.number)], columns=["latency_ms"])
    found = latency_of(table)
    question = "Is it as fast as the endpoint was when it was good?"
    expected = f"at most {float(check['max_ratio']):g} times {before.p50:.2f} ms ({reference.words})"
    if found.n < min_rows or found.p50 is None:
        observed = f"{found.n} of {min_rows} requests needed for an answer"
        return Answered("latency", question, INCONCLUSIVE, observed, expected, wait=True)
    judged = LatencyQuantile(
        numpy_column(reference.table, "latency_ms"),
        numpy_column(table, "latency_ms"),
        ratio=float(check["max_ratio"]),
        rise_ms=float(check["floor_ms"]),
        least=min_rows,
    ).judge()
    answer = CheckAnswer(judged.answer)
    observed = f"{found.p50:.2f} ms (median of {found.n}; 95 % within {found.p95:.2f} ms)"
    interval = f"{judged.low:.2f} to {judged.high:.2f} times" if judged.low is not None else ""
    return Answered("latency", question, answer, observed, expected, interval, wait=answer == INCONCLUSIVE)


def live_outputs(
    endpoint: Endpoint, version: Version, since: datetime.datetime, now: datetime.datetime, check: dict[str, str]
) -> Answered | None:
    """Population stability index of the answers against the version's own reference profile; None without a profile."""
    profiles = profiles_of(version)
    if profiles is None or not profiles[1].columns:
        return None
    table = load_predictions(endpoint, since, now, versions=[str(version.number)], columns=["output", "score"])
    question = "Are the answers spread as in the version's reference?"
    limit = float(check["max_psi"])
    expected = f"PSI at most {limit:g}"
    if len(table) < int(check["min_rows"]):
        observed = f"{len(table)} of {check['min_rows']} rows needed for an answer"
        return Answered("outputs", question, INCONCLUSIVE, observed, expected, wait=True)
    columns = {name: numpy_column(table, "score" if name == "score" else "output") for name in profiles[1].columns}
    drifts = compare(profiles[1], columns)
    values = [(drift.psi - drift.psi_noise, drift.name) for drift in drifts if drift.psi is not None]
    if not values:
        return None
    worst, name = max(values)
    observed = f"PSI {max(worst, 0):.3f} ({name}, {len(table)} rows)"
    return Answered("outputs", question, PASS if worst <= limit else FAIL, observed, expected)


def holdout_answer(remotes: Sequence[Remote], version: Version, check: dict[str, str]) -> Answered:
    """The version's holdout set answered by the hosts themselves (each a share of the rows), by version."""
    question = f"Does version {version.number} keep its holdout accuracy on these hosts?"
    table = holdout_rows(version, int(check["rows"]))
    if table is None or not remotes:
        return Answered("holdout", question, INCONCLUSIVE, "no holdout set or no host", f"promised {check['promised']}")
    right = []
    share = -(-len(table) // len(remotes))
    for index, remote in enumerate(remotes):
        part = table.slice(index * share, share)
        answers = predict(remote, version, columns_of(part, version), len(part))
        right.append(answers == numpy_column(part, LABEL).astype(float))
    return accuracy_answer(
        "holdout",
        question,
        np.concatenate(right),
        promised=Decimal(check["promised"]),
        margin=Decimal(check["margin"]),
        holdout=True,
    )


def columns_of(table: pa.Table, version: Version, prefix: str = "") -> dict[str, list[Any]]:
    """The version's inputs by name, from columns `<prefix><name>`. Raises KeyError for one that the table lacks."""
    return {name: table.column(f"{prefix}{name}").to_pylist() for name in version.input_names}


def predict(remote: Remote, version: Version, columns: dict[str, list[Any]], rows: int) -> np.ndarray:
    """The version's answers for `rows` rows, as float64 of shape (rows,). Raises registry.serving.base.ServingError.

    IN_FLIGHT batches are asked at once: while the host answers one, the next is written and the last is read.
    """
    name = version.output_name

    def ask(start: int) -> Sequence[Any]:
        batch = {column: values[start : start + BATCH_ROWS] for column, values in columns.items()}
        return remote.infer(batch, version).outputs[name]

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        answers = [answer for batch in pool.map(ask, range(0, rows, BATCH_ROWS)) for answer in batch]
    return np.asarray(answers, dtype=np.float64)


def share(right: np.ndarray) -> dict[str, Any]:
    """Accuracy of a boolean array with its 95 % Wilson interval."""
    n, correct = len(right), int(right.sum())
    low, high = wilson(correct, n)
    return {"n": n, "correct": correct, "accuracy": round(correct / n, 6), "low": round(low, 6), "high": round(high, 6)}
