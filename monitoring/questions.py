"""What each kind of rule asks of one version's rows in one window. Pure: numbers in, answers with their sentences out.

Every answer has two halves: a test that chance alone would rarely pass, and a floor that the effect must reach to
matter. The floors are the rule's `params`; DEFAULTS has them with what they mean, and the page states them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitoring.asked import ANSWERS, Answered, Asked, nothing_known, on_host
from monitoring.detectors.concept import CALLED, concept_drift
from monitoring.detectors.joint import joint_drift
from monitoring.drift.band import compare_sketches
from monitoring.drift.compare import ColumnDrift, compare, compare_column
from monitoring.drift.concept import STREAM_DETECTORS, accuracy_windows
from monitoring.drift.joint import MOST_ROWS
from monitoring.drift.judge import LEAST_WEIGHT, ColumnVerdict, Limits, Verdict, judge, overall
from monitoring.drift.latency import LatencyVerdict, compare_latency
from monitoring.drift.profile import Profile
from monitoring.drift.sketch import NumericSketch
from monitoring.drift.window import count_window
from monitoring.models import Answer, RuleKind
from monitoring.windows import numpy_column

EXACT = 10**9
"""Rows taken for an offline accuracy that came without its number of rows: it then counts as exactly known."""

INFINITE = ("inf", "-inf")
"""What infinite numbers are called among categories."""

DEFAULTS: dict[str, dict[str, float]] = {
    RuleKind.ACCURACY: {"drop": 0.03, "alpha": 0.001},
    RuleKind.INPUT_DRIFT: {"psi": 0.2, "share": 0.05, "alpha": 0.01, "importance": LEAST_WEIGHT},
    RuleKind.OUTPUT_DRIFT: {"psi": 0.2, "share": 0.05, "alpha": 0.01},
    RuleKind.LATENCY: {"ratio": 2.0, "rise_ms": 1.0, "tail_ratio": 4.0, "tail_rise_ms": 10.0, "alpha": 0.001},
    RuleKind.JOINT_DRIFT: {"auc": 0.6, "mmd": 0.01, "alpha": 0.01},
    RuleKind.CONCEPT_DRIFT: {"rise": 0.05, "agree": 2.0},
}

RANGES: dict[str, tuple[float, float]] = {
    "drop": (0.001, 0.5),
    "alpha": (1e-9, 0.2),
    "psi": (0.01, 10.0),
    "share": (0.001, 1.0),
    "importance": (0.0, 1.0),
    "ratio": (1.05, 1000.0),
    "rise_ms": (0.0, 600_000.0),
    "tail_ratio": (1.05, 1000.0),
    "tail_rise_ms": (0.0, 600_000.0),
    "auc": (0.5, 1.0),
    "mmd": (0.0001, 2.0),
    "rise": (0.001, 1.0),
    "agree": (1.0, float(len(STREAM_DETECTORS))),
}


def ask(kind: str, asked: Asked) -> list[Answered]:
    """The answers of a rule of this kind; the first is for the version as a whole."""
    return {
        RuleKind.ACCURACY: accuracy,
        RuleKind.INPUT_DRIFT: input_drift,
        RuleKind.OUTPUT_DRIFT: output_drift,
        RuleKind.LATENCY: latency,
        RuleKind.JOINT_DRIFT: joint_drift,
        RuleKind.CONCEPT_DRIFT: concept_drift,
    }[RuleKind(kind)](asked)


def accuracy(asked: Asked) -> list[Answered]:
    """Is the version less accurate than it promised, overall or on one host (whose tests share the alpha)?"""
    if asked.promised is None:
        return [nothing_known(asked, f"Version {asked.version} came without a holdout accuracy to hold it to.")]
    hosts = asked.hosts
    whole = _accuracy(asked, asked.table, None, asked.params["alpha"])
    if len(hosts) < 2:
        return [whole]
    shared = asked.params["alpha"] / len(hosts)
    return [whole, *(_accuracy(asked, asked.of_host(host), host, shared) for host in hosts)]


def _accuracy(asked: Asked, table: pa.Table, host: str | None, alpha: float) -> Answered:
    label = numpy_column(table, "label").astype(float)
    known = ~np.isnan(label)
    right = numpy_column(table, "output")[known] == label[known]
    promised = asked.promised or 0.0
    limit = promised - asked.params["drop"]
    if not len(right):
        return _accuracy_unknown(asked, host, 0, limit)
    [found] = accuracy_windows(
        right,
        reference_accuracy=promised,
        reference_rows=asked.promised_rows or EXACT,
        size=len(right),
        alpha=alpha,
        drop_floor=asked.params["drop"],
        minimum_rows=asked.min_rows,
    )
    if found.outcome == "not enough data":
        return _accuracy_unknown(asked, host, len(right), limit)
    points = 100 * found.drop
    compared = f"{points:.1f} points below" if points >= 0 else f"{-points:.1f} points above"
    sentence = (
        f"Version {asked.version}{on_host(host)} is right in {found.accuracy:.1%} of {len(right):,} labelled rows "
        f"({found.low:.1%} to {found.high:.1%}), {compared} the {promised:.1%} it promised "
        f"(limit {100 * asked.params['drop']:g} points)."
    )
    data = {
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "drop": found.drop,
        "promised": promised,
        "hosts": [] if host else asked.hosts,
        "false_alarms": "" if host else asked.false_alarms,
    }
    return Answered(ANSWERS[found.outcome], found.accuracy, limit, len(right), sentence, host, data)


def _accuracy_unknown(asked: Asked, host: str | None, labelled: int, limit: float) -> Answered:
    sentence = (
        f"{labelled:,} rows of version {asked.version}{on_host(host)} have a label; {asked.min_rows:,} are needed to "
        f"judge its accuracy."
    )
    return Answered(Answer.NOT_ENOUGH, None, limit, labelled, sentence, host)


def input_drift(asked: Asked) -> list[Answered]:
    """Are the inputs, as sent, unlike those that the version was trained on?"""
    columns = asked.table.column_names if asked.sketches is None else asked.sketches
    logged = [name.removeprefix("feature.") for name in columns if name.startswith("feature.")]
    told = _told_by_signature(asked, logged)
    if asked.inputs is None:
        said = f"Version {asked.version} came without a profile of its training data."
        return [replace(nothing_known(asked, said), data=told)]
    names = [name for name in asked.inputs.columns if name in logged]
    if not names:
        said = "The prediction log holds none of the columns of the version's profile."
        return [replace(nothing_known(asked, said), data=told)]
    if asked.sketches is not None:
        return [_drift_of_fleet(asked, asked.inputs, names, told)]
    given = {name: numpy_column(asked.table, f"feature.{name}") for name in names}
    return [_drift(asked, asked.inputs, compare(asked.inputs, given), "The inputs", told)]


def _told_by_signature(asked: Asked, logged: Sequence[str]) -> dict[str, Sequence[str]]:
    """Inputs that the version's signature asks for and the log lacks, that it does not know, and that came as text
    where it asks for numbers or the other way round. Without a signature, the profile says which inputs there are."""
    expected = asked.signed or dict.fromkeys(asked.inputs.columns if asked.inputs else logged, "")
    return {
        "absent": [name for name in expected if name not in logged],
        "unknown": [name for name in logged if name not in expected],
        "mistyped": [
            name for name, told in expected.items() if told and name in logged and not _holds(asked, name, told)
        ],
    }


def _holds(asked: Asked, name: str, datatype: str) -> bool:
    """Whether an input came as the datatype says, as far as what is held of it shows."""
    column = f"feature.{name}"
    if asked.sketches is None:
        return _fits(asked.table.schema.field(column).type, datatype)
    sketch, text = asked.sketches[column], datatype == "BYTES"
    if sketch is None:
        # Hosts sent it as different types, so one of them did not as the signature says.
        return False
    if isinstance(sketch, NumericSketch):
        counted_as_sent = asked.inputs is None or name not in asked.inputs.columns
        return not (sketch.n and counted_as_sent) if text else not sketch.invalid
    return all(isinstance(one, str) == text for one in sketch.counts if one not in INFINITE)


def _fits(logged: pa.DataType, datatype: str) -> bool:
    """Whether a column of the log can hold what the Open Inference Protocol's datatype says; nothing but nulls does."""
    if pa.types.is_null(logged):
        return True
    number = pa.types.is_integer(logged) or pa.types.is_floating(logged) or pa.types.is_boolean(logged)
    return number != (datatype == "BYTES")


def _drift_of_fleet(
    asked: Asked, profile: Profile, names: Sequence[str], told: Mapping[str, Sequence[str]]
) -> Answered:
    """From the hosts' sketches; the rows are read of those columns alone whose verdict hangs on them, so that it is the
    same as from all rows."""
    assert asked.sketches is not None
    assert asked.read is not None
    limits = drift_limits(asked.params, asked.min_rows)
    sketches = {name: asked.sketches[f"feature.{name}"] for name in names}
    drifts, open_, error = compare_sketches(profile, sketches, len(asked.table), limits)
    if open_:
        table = asked.read([f"feature.{name}" for name in open_])
        counted = count_window(profile, {name: numpy_column(table, f"feature.{name}") for name in open_}).columns
        drifts = [
            compare_column(one.name, profile.columns[one.name], counted[one.name]) if one.name in open_ else one
            for one in drifts
        ]
    return _drift(asked, profile, drifts, "The inputs", {**told, "sketch_error": error, "read": open_})


def output_drift(asked: Asked) -> list[Answered]:
    """Are the answers unlike those that the version gave on its training data?"""
    if asked.outputs is None or not asked.outputs.columns:
        return [nothing_known(asked, f"Version {asked.version} came without a profile of its outputs.")]
    columns = {
        name: numpy_column(asked.table, "score" if name == "score" else "output") for name in asked.outputs.columns
    }
    return [_drift(asked, asked.outputs, compare(asked.outputs, columns), "The predictions")]


def _drift(
    asked: Asked, profile: Profile, drifts: Sequence[ColumnDrift], what: str, more: Mapping[str, Any] | None = None
) -> Answered:
    verdicts = judge(drifts, limits=drift_limits(asked.params, asked.min_rows))
    verdict = overall(verdicts, profile.weights, asked.params.get("importance", 0.0))
    score = {v.column: _relative(v) * profile.weights.get(v.column, 1.0) for v in verdicts}
    ranked = sorted(verdicts, key=lambda v: (v.column not in verdict.drifted, not v.drifted, -score[v.column]))
    psi = {drift.name: drift.psi for drift in drifts}
    data = {
        "drifted": verdict.drifted,
        "columns": [
            {
                "column": v.column,
                "psi": psi[v.column],
                "effect": v.effect,
                "effect_name": v.effect_name,
                "p_adjusted": v.p_adjusted,
                "drifted": v.drifted,
                "importance": profile.weights.get(v.column),
                "score": score[v.column],
                "sentence": v.sentence,
            }
            for v in ranked
        ],
        "unimportant": verdict.unimportant,
        "weighed": bool(profile.weights),
        "false_alarms": asked.false_alarms,
        "hosts": asked.hosts,
        **(more or {}),
    }
    largest = max((v.effect or 0.0 for v in verdicts if v.effect_name == "PSI"), default=None)
    sentence = _drift_sentence(asked, verdict, ranked, what)
    return Answered(
        ANSWERS[verdict.outcome], largest, asked.params["psi"], len(asked.table), sentence[:500], None, data
    )


def _relative(verdict: ColumnVerdict) -> float:
    return (verdict.effect or 0.0) / verdict.floor if verdict.floor else 0.0


def drift_limits(params: Mapping[str, float], min_rows: int) -> Limits:
    """A drift rule's params as the engine takes them."""
    return Limits(params["alpha"], params["psi"], params["share"], min_rows)


def _drift_sentence(asked: Asked, verdict: Verdict, ranked: list[ColumnVerdict], what: str) -> str:
    drifted = verdict.drifted
    if verdict.outcome == "not enough data":
        return f"{len(asked.table):,} rows of version {asked.version}; {asked.min_rows:,} are needed to judge drift."
    if not drifted and verdict.unimportant:
        return (
            f"{what} of version {asked.version} are unlike its training data only in {listed(verdict.unimportant)}, "
            f"which it hardly reads: less than {asked.params['importance']:.0%} as important as its most important one."
        )
    if not drifted:
        return (
            f"{what} of version {asked.version} are like its training data: none of {len(ranked)} columns reached "
            f"PSI {asked.params['psi']:g} or a change of {100 * asked.params['share']:g} points in a share."
        )
    return (
        f"{what} of version {asked.version} are unlike its training data in {listed(drifted)}, "
        f"{len(drifted)} of {len(ranked)} columns. {ranked[0].sentence}"
    )


def listed(names: list[str]) -> str:
    """Names as a sentence has them, at most four; of more, the first three and how many follow."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def latency(asked: Asked) -> list[Answered]:
    """Is the version slower than the endpoint's reference, overall or on one host (held to its own reference)?"""
    if asked.latencies is None:
        return [nothing_known(asked, "There is no reference for latency yet: the endpoint's first windows make it.")]
    hosts = asked.hosts
    answers = [_latency(asked, asked.table, asked.latencies, None, asked.params["alpha"])]
    if len(hosts) > 1:
        shared = asked.params["alpha"] / len(hosts)
        for host in hosts:
            own = asked.latencies.filter(pc.equal(asked.latencies.column("host"), host))
            reference = own if len(own) >= asked.min_rows else asked.latencies
            answers.append(_latency(asked, asked.of_host(host), reference, host, shared))
    return answers


def _latency(asked: Asked, table: pa.Table, reference: pa.Table, host: str | None, alpha: float) -> Answered:
    before, now = numpy_column(reference, "latency_ms"), numpy_column(table, "latency_ms")
    p = asked.params
    found = [
        compare_latency(
            before,
            now,
            quantiles=(quantile,),
            ratio_floor=ratio,
            rise_floor_ms=rise,
            alpha=alpha,
            minimum_rows=asked.min_rows,
        )
        for quantile, ratio, rise in latency_tests(p)
    ]
    if not found[0].quantiles:
        sentence = f"{len(table):,} rows of version {asked.version}{on_host(host)}; {asked.min_rows:,} are needed."
        return Answered(Answer.NOT_ENOUGH, None, p["ratio"], len(table), sentence, host)
    return _latency_answer(asked, found, host, len(table))


def latency_tests(params: Mapping[str, float]) -> tuple[tuple[float, float, float], ...]:
    """A latency rule's params as (quantile, ratio, rise in ms) of the two quantiles that it looks at."""
    return (0.5, params["ratio"], params["rise_ms"]), (0.95, params["tail_ratio"], params["tail_rise_ms"])


def _latency_answer(asked: Asked, found: list[LatencyVerdict], host: str | None, rows: int) -> Answered:
    median, tail = found[0].quantiles[0], found[1].quantiles[0]
    slower = median.slower or tail.slower
    p = asked.params
    sentence = (
        f"Version {asked.version}{on_host(host)} is {'slower' if slower else 'not slower'} than {asked.latencies_of}: "
        f"median {median.window:.2f} ms against {median.reference:.2f} ms ({median.ratio:.1f} times, limit "
        f"{p['ratio']:g}), p95 {tail.window:.2f} ms against {tail.reference:.2f} ms ({tail.ratio:.1f} times, limit "
        f"{p['tail_ratio']:g})."
    )
    data = {
        "median": _ratio_data(median),
        "p95": _ratio_data(tail),
        "reference": asked.latencies_of,
        "hosts": [] if host else asked.hosts,
        "false_alarms": "" if host else asked.false_alarms,
    }
    worse = tail if tail.slower and not median.slower else median
    limit = p["tail_ratio"] if worse is tail else p["ratio"]
    answer = Answer.BREACH if slower else Answer.OK
    return Answered(answer, worse.ratio, limit, rows, sentence, host, data)


def _ratio_data(ratio: Any) -> dict[str, float]:
    return {name: float(getattr(ratio, name)) for name in ("reference", "window", "ratio", "low", "high")}


def limits_in_words(kind: str, params: Mapping[str, float]) -> str:
    """The rule's floors as a sentence, for the page beside its result."""
    p = {**DEFAULTS[kind], **params}
    if kind == RuleKind.ACCURACY:
        return (
            f"Breach when accuracy on labelled rows lies {100 * p['drop']:g} points or more below the accuracy on the "
            f"version's holdout, and a one-sided two-proportion test puts chance below {p['alpha']:g}."
        )
    if kind == RuleKind.LATENCY:
        return (
            f"Breach when the median is {p['ratio']:g} times the reference's and {p['rise_ms']:g} ms above it, or p95 "
            f"{p['tail_ratio']:g} times and {p['tail_rise_ms']:g} ms, with the ratio's interval (alpha {p['alpha']:g}) "
            f"above 1."
        )
    if kind == RuleKind.JOINT_DRIFT:
        return (
            f"Breach when a classifier tells the window's rows from those of the version's holdout set with an AUC of "
            f"{p['auc']:g} or more, or MMD² with a kernel of median width reaches {p['mmd']:g}, and chance explains "
            f"that in fewer than {p['alpha'] / 2:g} of cases; {MOST_ROWS} rows of each are compared, drawn at random, "
            f"without columns known to be less than {LEAST_WEIGHT:.0%} as important as the most important one."
        )
    if kind == RuleKind.CONCEPT_DRIFT:
        return (
            f"Breach when the share of wrong answers lies {100 * p['rise']:g} points or more above that of the "
            f"version's good windows before, and {p['agree']:g} or more of {', '.join(CALLED.values())} say that it "
            f"rose."
        )
    hardly_read = (
        f" A column known to be less than {p['importance']:.0%} as important to the version as its most important one "
        f"is told and is no breach."
        if p.get("importance")
        else ""
    )
    return (
        f"Breach when a column's PSI, less its sampling noise, reaches {p['psi']:g}, or its share of missing, "
        f"infinite, mistyped or never-seen values changes by {100 * p['share']:g} points, at a false discovery rate of "
        f"{p['alpha']:g} over all columns (Benjamini-Hochberg).{hardly_read}"
    )


def checked_params(kind: str, params: Mapping[str, object]) -> dict[str, float]:
    """The rule's params with defaults filled in. Raises ValueError, naming the one that is unknown or out of range."""
    unknown = sorted(set(params) - set(DEFAULTS[kind]))
    if unknown:
        raise ValueError(f"A rule of kind {kind} has no parameter {unknown[0]}; it has {_names(DEFAULTS[kind])}.")
    for name, value in params.items():
        low, high = RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"{name} must be a number from {low:g} to {high:g}.")
    return {**DEFAULTS[kind], **{name: float(value) for name, value in params.items()}}  # type: ignore[arg-type]


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
