"""What an incident is opened with: how much worse, since when, where, for how many, for which group most.

Everything is read before the transaction that opens the incident, and frozen with its digest in it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from django.db.models import F
from django.utils import timezone

from audit.canonical import canonical_bytes
from monitoring.drift.groups import GroupAccuracy, rank_groups
from monitoring.models import Alert, Answer, Finding, RuleKind
from monitoring.queries import Accuracy, accuracy_of, latency_of
from monitoring.windows import load_predictions, numpy_column
from registry.models import Endpoint, Model, Version

BEFORE = timedelta(hours=1)
BANDS = 10
GROUPS_SHOWN = 5
COLUMNS_SHOWN = 5
FOUND = {
    RuleKind.INPUT_DRIFT: "drift",
    RuleKind.OUTPUT_DRIFT: "output-drift",
    RuleKind.JOINT_DRIFT: "joint-drift",
    RuleKind.CONCEPT_DRIFT: "concept-drift",
    RuleKind.ACCURACY: "accuracy-finding",
    RuleKind.LATENCY: "latency-finding",
}
"""What a finding of each kind of detector is called as evidence."""
NUMBERS = "iuf"
"""Kinds of NumPy's types whose values have an order and bands."""


@dataclass(frozen=True)
class Claim:
    """One piece of evidence before it is stored. `data` is JSON whose fractions are decimal strings."""

    kind: str
    claim: str
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(canonical_bytes(self.data)).hexdigest()


def percent(share: float) -> str:
    return f"{share * 100:.1f} %"


def gather(alert: Alert) -> list[Claim]:
    """The evidence for an alert of ours on an endpoint; for one from outside, what its sender said."""
    if alert.endpoint is None or not alert.version:
        return [*_rule(alert)] or [Claim("alert", alert.summary, {"labels": alert.labels})]
    endpoint, model = alert.endpoint, alert.endpoint.model
    now = timezone.now()
    wanted = ["ts", "id", "host", "version", "output", "score", "latency_ms", "label"]
    wanted += [f"feature.{name}" for name in model.group_columns]
    during = load_predictions(endpoint, alert.started_at, now, versions=[alert.version], columns=wanted)
    before = load_predictions(endpoint, alert.started_at - BEFORE, alert.started_at, columns=wanted)
    other = before.filter(pa.compute.not_equal(before.column("version"), alert.version)) if before.num_rows else before
    before = other if other.num_rows else before
    claims = [
        *_rule(alert),
        *_quality(alert, during, before),
        *_findings(alert),
        *_latency(during, before),
        *_hosts(during),
        *_groups(model, during, before),
        *_impact(model, alert.started_at, now, during, before),
    ]
    return [claim for claim in claims if claim is not None]


def _rule(alert: Alert) -> Iterator[Claim]:
    """What a rule over a metric saw: its value against the limits, what was served, the inputs that moved most."""
    if alert.alert_rule is None:
        return
    given = alert.annotations
    numbers = {name: "" if given.get(name) is None else str(given[name]) for name in ("value", "low", "high")}
    moved = [str(one["sentence"]) for one in given.get("features", []) if one.get("drifted")]
    data = {"alert": alert.pk, "rule": given.get("rule", ""), "versions": given.get("versions", {}), "moved": moved}
    yield Claim("rule", alert.summary, data | numbers)


def _accuracy_data(found: Accuracy) -> dict[str, Any]:
    share = "" if found.share is None else f"{found.share:.6f}"
    return {
        "n": found.n,
        "correct": found.correct,
        "share": share,
        "low": f"{found.low:.6f}",
        "high": f"{found.high:.6f}",
    }


def _promised(alert: Alert) -> float | None:
    version = Version.objects.filter(model=alert.endpoint.model, number=alert.version).first()
    value = (version.metrics.get("holdout") or {}).get("accuracy") if version else None
    return None if value is None else float(value)


def _quality(alert: Alert, during: pa.Table, before: pa.Table) -> Iterator[Claim]:
    now, earlier, promised = accuracy_of(during), accuracy_of(before), _promised(alert)
    if now.share is None:
        return
    compared = []
    if earlier.share is not None:
        compared.append(f"{percent(earlier.share)} in the hour before")
    if promised is not None:
        compared.append(f"{percent(promised)} promised on its holdout")
    sentence = f"Version {alert.version} is right in {percent(now.share)} of {now.n:,} labelled answers"
    yield Claim(
        "accuracy",
        f"{sentence}, against {' and '.join(compared)}." if compared else f"{sentence}.",
        {
            "version": alert.version,
            "now": _accuracy_data(now),
            "before": _accuracy_data(earlier),
            "promised": "" if promised is None else f"{promised:.6f}",
        },
    )


def of_alerts(alerts: Sequence[Alert]) -> list[Claim]:
    """What each of these alerts fired on: a detector's finding, or a rule's value. For alerts that join an incident."""
    return [claim for alert in alerts for claim in (*_rule(alert), *_findings(alert, of_its_rule=True))]


def _findings(alert: Alert, *, of_its_rule: bool = False) -> Iterator[Claim]:
    """Of each kind of detector the newest finding in breach since the alert began, the version's as a whole before one
    host's; with `of_its_rule` only what the alert itself is about."""
    if alert.endpoint_id is None or (of_its_rule and alert.rule_id is None):
        return
    found = Finding.objects.filter(
        window__endpoint=alert.endpoint_id,
        version=alert.version,
        answer=Answer.BREACH,
        rule__kind__in=FOUND,
        window__end__gte=alert.started_at,
    ).select_related("rule", "window", "host")
    if of_its_rule:
        found = found.filter(rule=alert.rule_id, host=alert.host_id)
    seen: set[str] = set()
    for finding in found.order_by(F("host").asc(nulls_first=True), "-window__start"):
        if finding.rule.kind not in seen:
            seen.add(finding.rule.kind)
            yield Claim(FOUND[finding.rule.kind], finding.sentence, _finding_data(finding))


def _finding_data(finding: Finding) -> dict[str, Any]:
    """Value against limit, window, and what contributed most."""
    data: dict[str, Any] = {
        "finding": finding.pk,
        "rule": finding.rule.kind,
        "version": finding.version,
        "host": finding.host.name if finding.host else "",
        "window_id": finding.window_id,
        "window": finding.window.start.isoformat(),
        "until": finding.window.end.isoformat(),
        "rows": finding.rows,
        "value": _decimal(finding.value),
        "limit": _decimal(finding.limit),
    }
    drifted = set(finding.data.get("drifted", []))
    moved = [column for column in finding.data.get("columns", []) if column["column"] in drifted]
    if moved:
        data["columns"] = [
            {"column": one["column"], "psi": _decimal(one["psi"]), "importance": _decimal(one.get("importance"))}
            for one in moved[:COLUMNS_SHOWN]
        ]
    if finding.data.get("telling"):
        data["telling"] = [
            {"column": one["column"], "share": _decimal(one["share"])} for one in finding.data["telling"]
        ]
    return data


def _decimal(number: float | None) -> str:
    return "" if number is None else f"{number:.6f}"


def _latency(during: pa.Table, before: pa.Table) -> Iterator[Claim]:
    now, earlier = latency_of(during), latency_of(before)
    if now.p50 is None or now.p95 is None:
        return
    sentence = f"Half of the answers take {now.p50:.2f} ms or more, one in twenty {now.p95:.2f} ms or more"
    data = {"n": now.n, "p50_ms": f"{now.p50:.3f}", "p95_ms": f"{now.p95:.3f}"}
    if earlier.p50:
        sentence += f"; before it was {earlier.p50:.2f} ms and {earlier.p95:.2f} ms"
        data |= {"before_p50_ms": f"{earlier.p50:.3f}", "before_p95_ms": f"{earlier.p95:.3f}"}
        data |= {"per_second": f"{_rate(during):.2f}", "before_per_second": f"{_rate(before):.2f}"}
    yield Claim("latency", f"{sentence}.", data)


def _rate(table: pa.Table) -> float:
    """Answers per second between the first and the last row."""
    span = (table.column("ts")[-1].as_py() - table.column("ts")[0].as_py()).total_seconds() if table.num_rows else 0
    return table.num_rows / span if span else 0.0


def _hosts(during: pa.Table) -> Iterator[Claim]:
    hosts: dict[str, dict[str, Any]] = {}
    for name in sorted({host for host in during.column("host").to_pylist() if host}) if during.num_rows else []:
        rows = during.filter(pa.compute.equal(during.column("host"), name))
        hosts[name] = _accuracy_data(accuracy_of(rows)) | {"rows": rows.num_rows}
    if not hosts:
        return
    shares = [f"{name} {percent(float(row['share']))}" for name, row in hosts.items() if row["share"]]
    said = f": {', '.join(shares)} right" if shares else ""
    yield Claim("hosts", f"It answers on {len(hosts)} hosts{said}.", {"hosts": hosts})


def _groups(model: Model, during: pa.Table, before: pa.Table) -> Iterator[Claim]:
    edges = _edges_of(model, during, before)
    ranked = _ranked(edges, during, before) if edges else []
    worst = [group for group in ranked if group.excess_errors and group.excess_errors > 0]
    if not worst:
        return
    shown = [
        {
            "feature": group.feature,
            "group": str(group.group),
            "n": group.n,
            "accuracy": f"{group.accuracy:.6f}",
            "before": "" if group.reference_accuracy is None else f"{group.reference_accuracy:.6f}",
            "excess_errors": f"{group.excess_errors:.1f}",
        }
        | _band_of(group, edges[group.feature])
        for group in worst[:GROUPS_SHOWN]
    ]
    yield Claim("groups", f"Hit most: {worst[0].sentence}", {"groups": shown})


def _edges_of(model: Model, during: pa.Table, before: pa.Table) -> dict[str, np.ndarray | None]:
    """By group column where its bands are cut; empty where there are no rows to compare."""
    if not during.num_rows or not before.num_rows:
        return {}
    names = [name for name in model.group_columns if f"feature.{name}" in during.column_names]
    return {name: _edges(numpy_column(before, f"feature.{name}")) for name in names}


def _band_of(group: GroupAccuracy, bounds: np.ndarray | None) -> dict[str, str]:
    """From where (`low`) to below where (`high`) a band of numbers goes, "" where it is open; {} for other groups."""
    if bounds is None:
        return {}
    ends = pairwise(["", *(str(bound) for bound in bounds), ""])
    bands = dict(zip(_names(bounds), ends, strict=True))
    low, high = bands.get(str(group.group), ("", ""))
    return {"low": low, "high": high} if low or high else {}


def _ranked(edges: dict[str, np.ndarray | None], during: pa.Table, before: pa.Table) -> list[GroupAccuracy]:
    names = list(edges)
    window, reference = _labelled(during, names, edges), _labelled(before, names, edges)
    if not len(window[0]) or not len(reference[0]):
        return []
    return rank_groups(window[0], window[1], reference_correct=reference[0], reference_features=reference[1])


def _edges(values: np.ndarray) -> np.ndarray | None:
    """Decile edges for a column of numbers with many values, so that ages become bands; None for codes, for texts, and
    for a column of mixed types, whose values have no order."""
    if values.dtype.kind not in NUMBERS:
        return None
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, BANDS + 1))[1:-1]) if len(np.unique(known)) > 30 else None


def _labelled(
    table: pa.Table, names: list[str], edges: dict[str, np.ndarray | None]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    label = numpy_column(table, "label").astype(float)
    known = ~np.isnan(label)
    correct = numpy_column(table, "output")[known] == label[known]
    features = {}
    for name in names:
        column = numpy_column(table, f"feature.{name}")[known]
        bounds = edges[name]
        banded = bounds is not None and column.dtype.kind in NUMBERS
        features[name] = _band_names(column, bounds) if banded else column
    return correct, features


def _names(bounds: np.ndarray) -> list[str]:
    """Of the bands between the bounds, the lowest first."""
    lows = ["up", *(f"{bound:g}" for bound in bounds)]
    highs = [*(f"{bound:g}" for bound in bounds), "on"]
    return [f"{low} to {high}" if low != "up" else f"up to {high}" for low, high in zip(lows, highs, strict=True)]


def _band_names(column: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    found = np.asarray(_names(bounds), dtype=object)[np.searchsorted(bounds, column, side="right")]
    found[np.isnan(column)] = None
    return found


def _impact(model: Model, start: datetime, now: datetime, during: pa.Table, before: pa.Table) -> Iterator[Claim]:
    """How many subjects were answered since, and how many of them wrongly beyond what was usual."""
    answered = during.num_rows
    found, usual = accuracy_of(during), accuracy_of(before)
    noun = model.subject_noun_plural
    data: dict[str, Any] = {"answered": answered, "seconds": int((now - start).total_seconds()), "noun": noun}
    sentence = f"{answered:,} {noun} were answered since {start:%H:%M:%S} UTC"
    if found.share is not None and usual.share is not None:
        excess = max(0.0, (usual.share - found.share) * answered)
        data |= {"wrong_beyond_usual": round(excess), "accuracy_usual": f"{usual.share:.6f}"}
        sentence += f"; about {excess:,.0f} of them wrongly, beyond what is usual"
        if model.error_meaning:
            sentence += f" ({model.error_meaning.rstrip('.')})"
    yield Claim("impact", f"{sentence}."[:500], data)


def incident_title(endpoint: Endpoint, alert: Alert, claims: list[Claim]) -> str:
    """A sentence that a person could read out on a call."""
    by_kind = {claim.kind: claim for claim in claims}
    who = f"{endpoint.model.name} on {endpoint.slug}"
    quality = by_kind.get("accuracy")
    if alert.rule and alert.rule.kind == "latency" and "latency" in by_kind:
        return f"{who}: version {alert.version} answers far slower than before"
    if quality and quality.data["before"]["share"] and quality.data["now"]["share"]:
        drop = float(quality.data["before"]["share"]) - float(quality.data["now"]["share"])
        if drop >= 0.01:
            return f"{who}: version {alert.version} is right {drop * 100:.0f} points less often than before"
    if alert.rule and alert.rule.kind == "input_drift":
        return f"{who}: what version {alert.version} is sent is unlike what it learned from"
    return f"{who}: {alert.summary}"[:300]
