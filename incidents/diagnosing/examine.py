"""The examination of an incident: its rows against those before it, and its hosts against each other.

What is found is frozen as evidence of the kinds `inputs`, `quality`, `odd-hosts`, `speed` and `outlook`; the diagnosis
reads nothing else beside the replays of the ranking. Examined again later, the newer pieces are the ones that count.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from audit.actions import Actor, Target, record
from incidents.diagnosing import costs, hosts, inputs, labels
from incidents.diagnosing.labels import Quality
from incidents.evidence import BEFORE, Claim
from incidents.models import Evidence, Incident
from incidents.practice import timing
from monitoring.detect import UNFIT
from monitoring.judging.hosts import Timed
from monitoring.profiles import profiles_of
from monitoring.queries import latency_of, right_rows
from monitoring.references import promised
from monitoring.windows import load_predictions, numpy_column
from registry.models import Deployment, Endpoint, Host, Placement, Version

log = logging.getLogger(__name__)

ROWS = 20_000
"""Rows of each side that are compared, evenly spaced; more would not be judged otherwise."""
LONGEST = timedelta(hours=1)
KINDS = ("inputs", "quality", "odd-hosts", "speed", "outlook")


@dataclass(frozen=True)
class Rows:
    """The incident's rows, of its version, and those of the hour before it: of all versions, and of its version."""

    version: Version | None
    during: pa.Table
    before: pa.Table
    seconds: float
    traffic: pa.Table
    """Host and time of the rows of all versions since the incident began."""
    elsewhere: frozenset[str] = frozenset()
    """Hosts that are drained, or serve another version throughout: what they don't answer says nothing about them."""

    @property
    def own_before(self) -> pa.Table:
        number = str(self.version.number) if self.version else ""
        return self.before.filter(pc.equal(self.before.column("version"), number))

    @property
    def compared(self) -> pa.Table:
        """The rows before with which accuracy is compared: another version's where there are any."""
        own = self.own_before
        return self.before if len(own) in (0, len(self.before)) else self._others

    @property
    def _others(self) -> pa.Table:
        number = str(self.version.number) if self.version else ""
        return self.before.filter(pc.not_equal(self.before.column("version"), number))


def try_to_examine(*, incident_id: int, actor: Actor) -> list[Claim]:
    """The same; data that can't be compared are logged, and stop nothing that comes after."""
    try:
        return examine(incident_id=incident_id, actor=actor)
    except UNFIT:
        log.exception("incident %s can't be examined", incident_id)
        return []


def examine(*, incident_id: int, actor: Actor) -> list[Claim]:
    """Examine an incident that is about an endpoint of ours, and freeze what was found; [] where there is nothing to
    examine. Reads before the transaction."""
    incident = Incident.objects.select_related("endpoint__model").get(pk=incident_id)
    if incident.endpoint is None or not incident.from_version:
        return []
    start = incident.impact_started_at or incident.detected_at
    rows = read(incident.endpoint, incident.from_version, start, min(timezone.now(), start + LONGEST))
    claims = list(findings(incident.endpoint, rows))
    with transaction.atomic():
        Evidence.objects.bulk_create(
            (
                Evidence(
                    incident=incident, kind=claim.kind, claim=claim.claim[:500], data=claim.data, sha256=claim.sha256
                )
                for claim in claims
            ),
            ignore_conflicts=True,
        )
        record(
            action="incident.examine",
            target=Target("incident", incident.ref),
            actor=actor,
            incident=incident.ref,
            data={
                "rows": len(rows.during),
                "before": len(rows.before),
                "found": [{"kind": claim.kind, "claim": claim.claim, "sha256": claim.sha256} for claim in claims],
            },
        )
    return claims


def read(endpoint: Endpoint, number: str, start: datetime, end: datetime) -> Rows:
    """The rows of version `number` in [start, end), and all rows of the hour before."""
    version = Version.objects.filter(model=endpoint.model, number=number).first() if number.isdigit() else None
    during = load_predictions(endpoint, start, end, versions=[number])
    before = load_predictions(endpoint, start - BEFORE, start)
    traffic = load_predictions(endpoint, start, end, columns=["ts", "host"])
    elsewhere = _elsewhere(endpoint, number, start, end)
    return Rows(version, during, before, _seconds(during, start), traffic, elsewhere)


def _seconds(table: pa.Table, start: datetime) -> float:
    """From `start` to the last row; at least 1."""
    return max((table.column("ts")[-1].as_py() - start).total_seconds(), 1.0) if len(table) else 1.0


def _elsewhere(endpoint: Endpoint, number: str, start: datetime, end: datetime) -> frozenset[str]:
    drained = Host.objects.filter(drained_at__isnull=False).values_list("name", flat=True)
    throughout = Deployment.objects.filter(Q(until=None) | Q(until__gte=end), endpoint=endpoint, since__lte=start)
    others = throughout.exclude(version__number=int(number)) if number.isdigit() else throughout.none()
    return frozenset(drained) | frozenset(others.values_list("host__name", flat=True))


def findings(endpoint: Endpoint, rows: Rows) -> Iterator[Claim]:
    """What the rows show, a claim of each kind."""
    found = _quality(rows)
    yield _inputs_claim(rows)
    yield _quality_claim(found, rows)
    yield _hosts_claim(rows)
    yield _speed_claim(rows)
    yield _outlook_claim(endpoint, rows, found)


def _text(value: float | None, digits: int = 6) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _inputs_claim(rows: Rows) -> Claim:
    before, now = _features(rows.before), _features(rows.during)
    found = inputs.compared(before, now)
    profiles = profiles_of(rows.version) if rows.version else None
    weights = profiles[0].weights if profiles else {}
    said = {
        "unknown": f"Too few rows to compare what is sent with before: {found.rows} now, {found.rows_before} then.",
        "same": f"What is sent is as it was in the hour before, in all {len(now)} columns.",
        "upstream": "What is sent is broken",
        "shift": "Other people or cases are sent than before",
    }[found.verdict]
    if found.moved:
        said = f"{said}: {'; '.join(one.because for one in found.moved[:3])}."
    data = {
        "verdict": found.verdict,
        "rows": found.rows,
        "before": found.rows_before,
        "others": "" if found.others is None else ("moved" if found.others else "same"),
        "moved": [
            {
                "column": one.column,
                "how": one.how,
                "because": one.because,
                "weight": _text(weights.get(one.column)),
            }
            for one in found.moved[:20]
        ],
    }
    return Claim("inputs", said, data)


def _features(table: pa.Table) -> dict[str, np.ndarray]:
    if len(table) > ROWS:
        table = table.take(np.linspace(0, len(table) - 1, ROWS).astype(np.int64))
    prefix = "feature."
    return {
        name.removeprefix(prefix): numpy_column(table, name)
        for name in table.column_names
        if name.startswith(prefix) and table.column(name).null_count < max(len(table), 1)
    }


def _quality(rows: Rows) -> Quality:
    before = rows.compared
    return labels.quality(
        numpy_column(rows.during, "output").astype(float),
        numpy_column(rows.during, "label").astype(float),
        numpy_column(before, "output").astype(float),
        numpy_column(before, "label").astype(float),
        promised(rows.version)[0],
    )


def _quality_claim(found: Quality, rows: Rows) -> Claim:
    own = right_rows(rows.own_before)
    data: dict[str, Any] = {
        name: _text(getattr(found, name))
        for name in (
            "share", "share_before", "drop", "low", "high", "adjusted", "labelled", "labelled_before",
            "positive", "positive_before", "answered", "answered_before",
        )
    }  # fmt: skip
    data |= {
        "n": found.n,
        "before": found.n_before,
        "dropped": found.dropped,
        "late": found.late,
        "mixed_otherwise": found.mixed_otherwise,
        "selected": [{name: _text(value) for name, value in asdict(one).items()} for one in found.selected],
        "own": {"n": len(own), "share": _text(float(own.mean()) if len(own) else None)},
    }
    if found.share is None:
        said = "None of its answers has a label yet, so nothing says how often it is right."
    elif found.drop is None:
        said = f"{found.n} of its answers have a label; {labels.ENOUGH} are needed to say how often it is right."
    else:
        word = {
            "yes": "less often than before",
            "no": "as often as before",
            "open": "too few to tell whether less often",
        }[found.dropped]
        said = f"It is right in {found.share:.1%} of {found.n:,} labelled answers, before in {found.share_before:.1%}"
        said += f": {word}."
    return Claim("quality", said, data)


def _by_host(table: pa.Table) -> dict[str, pa.Table]:
    names = sorted({name for name in table.column("host").unique().to_pylist() if name})
    return {name: table.filter(pc.equal(table.column("host"), name)) for name in names}


def _counts(table: pa.Table, without: frozenset[str]) -> dict[str, int]:
    """Rows by host."""
    found = pc.value_counts(table.column("host")).to_pylist()
    return {one["values"]: one["counts"] for one in found if one["values"] and one["values"] not in without}


def _latencies(tables: Mapping[str, pa.Table]) -> dict[str, np.ndarray]:
    return {name: numpy_column(table, "latency_ms") for name, table in tables.items()}


def _timed(tables: Mapping[str, pa.Table]) -> dict[str, Timed]:
    times = {name: pc.cast(table.column("ts"), pa.int64()).to_numpy() / 1e6 for name, table in tables.items()}
    return {name: Timed(times[name], ms) for name, ms in _latencies(tables).items()}


def _hosts_claim(rows: Rows) -> Claim:
    now, then = _by_host(rows.during), _by_host(rows.before)
    elsewhere = rows.elsewhere - set(now)
    counts = {}
    for name, table in now.items():
        right = right_rows(table)
        counts[name] = (int(right.sum()), len(right))
    odd = [
        *hosts.silent(_counts(rows.before, elsewhere), _counts(rows.traffic, elsewhere)),
        *hosts.less_right(counts),
        *hosts.slower(_timed(now), _latencies(then)),
    ]
    said = "; ".join(one.because for one in odd) if odd else f"No host stands out of {len(now)}"
    data = {
        "hosts": {name: {"rows": len(now[name]), "right": right, "n": n} for name, (right, n) in counts.items()},
        "odd": [{"host": one.host, "by": one.by, "because": one.because, "p": f"{one.p:.2e}"} for one in odd],
    }
    return Claim("odd-hosts", f"{said}.", data)


def _speed_claim(rows: Rows) -> Claim:
    now, before, own = latency_of(rows.during), latency_of(rows.compared), latency_of(rows.own_before)
    rate, rate_before = _rate(rows.traffic), _rate(rows.before)
    data = {
        "n": now.n,
        "p50_ms": _text(now.p50, 3),
        "p95_ms": _text(now.p95, 3),
        "before_p50_ms": _text(before.p50, 3),
        "before_p95_ms": _text(before.p95, 3),
        "own_p50_ms": _text(own.p50, 3),
        "per_second": _text(rate, 2),
        "before_per_second": _text(rate_before, 2),
    }
    said = f"The endpoint answers {rate:,.1f} times a second, before {rate_before:,.1f}"
    if now.p50 is not None:
        said += f"; half of the answers take {now.p50:.2f} ms or more"
        said += f", before {before.p50:.2f} ms" if before.p50 is not None else ""
    return Claim("speed", f"{said}.", data)


def _rate(table: pa.Table) -> float:
    """Answers per second between the first and the last row; 0 where there are too few."""
    if len(table) < 2:
        return 0.0
    span = (table.column("ts")[-1].as_py() - table.column("ts")[0].as_py()).total_seconds()
    return len(table) / span if span > 0 else 0.0


def _outlook_claim(endpoint: Endpoint, rows: Rows, found: Quality) -> Claim:
    """What goes on while nothing is done, and how long a rollback would take by what earlier ones took."""
    model = endpoint.model
    rate = len(rows.during) / rows.seconds
    excess = found.drop or 0.0 if found.dropped == "yes" else 0.0
    positive, negative = _wrong_each_way(rows) if excess else (0.0, 0.0)
    prices = costs.in_force(model)
    placed = Placement.objects.filter(endpoint=endpoint, host__drained_at=None).count()
    predicted = timing.predict_for(endpoint, placed)
    data = {
        "per_second": _text(rate, 4),
        "wrong_beyond_usual": _text(excess),
        "wrongly_positive": _text(positive),
        "wrongly_negative": _text(negative),
        "cost": prices.facts() if prices else {},
        "noun": model.subject_noun_plural,
        "hosts": placed,
        "rollback_seconds": "" if predicted is None else _text(predicted.seconds, 1),
        "earlier_runs": 0 if predicted is None else predicted.runs,
    }
    said = f"About {3600 * rate:,.0f} {model.subject_noun_plural} are answered in an hour"
    if excess:
        said += f", {3600 * rate * excess:,.0f} of them wrongly beyond what is usual"
    return Claim("outlook", f"{said}.", data)


def _wrong_each_way(rows: Rows) -> tuple[float, float]:
    """Shares of all answers that are wrongly positive and wrongly negative beyond what is usual. An answer counts as
    positive where it is more than its label says."""
    now, before = _error_shares(rows.during), _error_shares(rows.compared)
    return max(0.0, now[0] - before[0]), max(0.0, now[1] - before[1])


def _error_shares(table: pa.Table) -> tuple[float, float]:
    output, label = numpy_column(table, "output").astype(float), numpy_column(table, "label").astype(float)
    known = ~np.isnan(label)
    if not known.any():
        return 0.0, 0.0
    over = output[known] - label[known]
    return float((over > 0).mean()), float((over < 0).mean())
