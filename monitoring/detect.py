"""A window is complete: what it shows is measured, each rule is asked, and the answers become findings and alerts."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from monitoring import alerts, fleet, partials, sketches
from monitoring.asked import Answered, Asked
from monitoring.detectors.concept import errors_before
from monitoring.detectors.false_alarms import false_alarms
from monitoring.holdouts import holdout_columns
from monitoring.measure import LABELLED, Measured, measure
from monitoring.models import LABELLED_KINDS, Answer, Finding, Monitor, Rule, RuleKind, Window, WindowState
from monitoring.points import keep, moments
from monitoring.profiles import profiles_of, weights_of
from monitoring.questions import ask, checked_params
from monitoring.references import latency_reference, promised, versions_of
from monitoring.rollups import Points
from monitoring.series import series_for
from monitoring.store import StoreDamaged
from registry.models import Endpoint, Host, Version
from registry.store import ArtifactMissing

MAX_CATCH_UP = 96
"""Windows opened at once after a time in which nothing ran; older ones are skipped, on record."""

LEASE = timedelta(seconds=60)

UNFIT = (
    pa.ArrowException, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError,
    ArtifactMissing, StoreDamaged,
)  # fmt: skip
"""What data, a profile or what a window is held against raise that a rule can't deal with, today or on the next
attempt. The window's own rows are read before any rule is asked."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What came of asking one rule about one version."""

    rule: Rule
    version: str
    answers: list[Answered]


def open_windows(monitor_id: int) -> int:
    """Open every window of the monitor that has ended; returns how many. Called twice, it opens them once."""
    with transaction.atomic():
        monitor = (
            Monitor.objects.select_for_update(of=("self",))
            .select_related("endpoint")
            .annotate(now=Now())
            .filter(pk=monitor_id, enabled=True, next_window_at__isnull=False)
            .first()
        )
        if monitor is None or monitor.next_window_at is None:
            return 0
        first, length = monitor.next_window_at, timedelta(seconds=monitor.window_seconds)
        ended = (monitor.now - first) // length
        skipped = max(ended - MAX_CATCH_UP, 0)
        opened = [_opened(monitor, first + i * length, length) for i in range(skipped, ended)]
        if not opened:
            return 0
        Window.objects.bulk_create(opened, ignore_conflicts=True)
        Monitor.objects.filter(pk=monitor.pk).update(next_window_at=first + ended * length)
        if skipped:
            _record_skip(monitor, skipped, first, opened[0].start)
    return len(opened)


def _opened(monitor: Monitor, start: datetime, length: timedelta) -> Window:
    """A window is judged when its labels have come; where that takes longer than a window, accuracy is judged later."""
    end, grace = start + length, timedelta(seconds=monitor.grace_seconds)
    labels = timedelta(seconds=monitor.label_delay_seconds)
    apart = labels > grace + length
    return Window(
        endpoint=monitor.endpoint,
        start=start,
        end=end,
        due_at=end + (grace if apart else max(grace, labels)),
        labels_due_at=end + labels if apart else None,
    )


def _record_skip(monitor: Monitor, skipped: int, first: datetime, resumed: datetime) -> None:
    record(
        action="monitor.skip",
        target=Target("endpoint", monitor.endpoint.slug),
        actor=service_actor("monitoring"),
        data={"windows": skipped, "from": first.isoformat(), "until": resumed.isoformat()},
    )


def judge(window_id: int) -> bool:
    """Judge a window that is due. False when another is at it, or did it.

    The window is claimed for LEASE; what is measured is written only while the claim still stands, in one transaction
    with the findings and the alerts that follow from them. Accuracy waits where the window's labels do.
    """
    claimed = Window.objects.filter(pk=window_id, state=WindowState.OPEN, due_at__lte=Now()).update(
        attempts=F("attempts") + 1, due_at=Now() + LEASE
    )
    if not claimed:
        return False
    window = Window.objects.select_related("endpoint").get(pk=window_id)
    kinds = set(RuleKind) if window.labels_due_at is None else set(RuleKind) - LABELLED_KINDS
    return _judge(window, kinds, state=WindowState.JUDGED, judged_at=Now())


def judge_labels(window_id: int) -> bool:
    """Judge what needs labels, of a window whose labels came long after its predictions. Claimed and written as by
    judge."""
    claimed = Window.objects.filter(pk=window_id, state=WindowState.JUDGED, labels_due_at__lte=Now()).update(
        attempts=F("attempts") + 1, labels_due_at=Now() + LEASE
    )
    if not claimed:
        return False
    window = Window.objects.select_related("endpoint").get(pk=window_id)
    return _judge(window, set(LABELLED_KINDS), labels_due_at=None)


def _judge(window: Window, kinds: set[RuleKind], **judged_as: Any) -> bool:
    seen = fleet.read(window, features=kinds != LABELLED_KINDS)
    table = seen.table
    rules = list(Rule.objects.filter(endpoint=window.endpoint, enabled=True, kind__in=kinds))
    measured = [m for m in measure(table) if m.name in LABELLED or kinds != LABELLED_KINDS]
    if not kinds >= LABELLED_KINDS:
        measured = [m for m in measured if m.name not in LABELLED]
    judged = list(_ask_all(window, seen, rules))
    labelled = len(table) - table.column("label").null_count
    with transaction.atomic():
        Monitor.objects.select_for_update().filter(endpoint=window.endpoint).first()
        claim = Window.objects.filter(pk=window.pk, state=window.state, attempts=window.attempts)
        if not claim.update(rows=len(table), labelled=labelled, **judged_as):
            return False
        _write(window, measured, judged)
        if window.state == WindowState.OPEN:
            sketches.keep(window, seen.made)
            partials.forget(window)
        _record_breaches(window, judged, len(table), labelled)
        for rule in rules:
            alerts.follow(rule, {found.version for found in judged})
    sketches.roll_up(window)
    return True


def _ask_all(window: Window, seen: fleet.Seen, rules: list[Rule]) -> Iterator[Judged]:
    table = seen.table
    pairs = table.group_by(["version", "digest"]).aggregate([]).to_pylist() if len(table) else []
    known = versions_of(window.endpoint, [(pair["version"], pair["digest"] or "") for pair in pairs])
    monitor = Monitor.objects.filter(endpoint=window.endpoint_id).first()
    for number in sorted({pair["version"] for pair in pairs}):
        own = table.filter(pc.equal(table.column("version"), number))
        for rule in rules:
            try:
                answers = ask(rule.kind, _asked(rule, window, monitor, number, known.get(number), own, seen))
            except UNFIT as error:
                log.exception("%s of version %s of %s can't be judged", rule.kind, number, window.endpoint_id)
                answers = [_unfit(rule, number, len(own), error)]
            yield Judged(rule, number, answers)


def _asked(
    rule: Rule,
    window: Window,
    monitor: Monitor | None,
    number: str,
    version: Version | None,
    own: pa.Table,
    seen: fleet.Seen,
) -> Asked:
    accuracy, rows = promised(version)
    drift = rule.kind in (RuleKind.INPUT_DRIFT, RuleKind.OUTPUT_DRIFT)
    profiles = profiles_of(version) if version and drift else None
    latencies = (
        latency_reference(window.endpoint, window.start, rule.min_rows) if rule.kind == RuleKind.LATENCY else None
    )
    joint = version if rule.kind == RuleKind.JOINT_DRIFT else None
    asked = Asked(
        version=number,
        table=own,
        min_rows=rule.min_rows,
        params=checked_params(rule.kind, rule.params),
        promised=accuracy,
        promised_rows=rows,
        inputs=profiles[0] if profiles else None,
        outputs=profiles[1] if profiles else None,
        latencies=latencies.table if latencies else None,
        latencies_of=latencies.words if latencies else "",
        holdout=holdout_columns(joint) if joint else {},
        holdout_id=(joint.holdout_id or "") if joint else "",
        weights=weights_of(joint) if joint else {},
        signed=_signed(version),
        errors_before=errors_before(rule, window, number) if rule.kind == RuleKind.CONCEPT_DRIFT else np.zeros(0),
        sketches=seen.columns.get(number),
        read=partial(seen.rows, number),
        sample=partial(seen.sample, number) if number in seen.columns else None,
    )
    return _with_false_alarms(rule, monitor, asked)


def _signed(version: Version | None) -> dict[str, str]:
    inputs = version.signature.get("inputs", []) if version else []
    return {str(one["name"]): str(one["datatype"]) for one in inputs}


def _with_false_alarms(rule: Rule, monitor: Monitor | None, asked: Asked) -> Asked:
    if monitor is None:
        return asked
    try:
        if rule.kind == RuleKind.JOINT_DRIFT:
            before = (
                Finding.objects.filter(rule=rule, version=asked.version, host=None).order_by("-window__start").first()
            )
            asked = replace(asked, tried=before.data.get("tried", {}) if before else {})
        sentence, tried = false_alarms(rule, monitor, asked)
    except UNFIT:
        log.exception("the false alarms of %s of %s can't be told", rule.kind, monitor.endpoint_id)
        return asked
    return replace(asked, false_alarms=sentence, tried=tried)


def _unfit(rule: Rule, number: str, rows: int, error: Exception) -> Answered:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    sentence = f"Version {number} can't be judged for {rule.kind.replace('_', ' ')}: {said}"
    return Answered(Answer.NOT_ENOUGH, None, None, rows, sentence)


def _write(window: Window, measured: list[Measured], judged: list[Judged]) -> None:
    hosts = {host.name: host for host in _hosts_of(window.endpoint)}
    points = {(m.name, hosts.get(m.host or ""), m.version, m.column): m for m in [*measured, *_found(judged)]}
    series = series_for(window.endpoint, {key: m.unit for key, m in points.items()})
    found = list(points.values())
    keep(
        window.endpoint_id,
        Points(
            series=np.array([series[key] for key in points], np.int64),
            at=np.repeat(moments([window.end]), len(found)),
            value=np.array([m.value for m in found], np.float64),
            n=np.array([m.n for m in found], np.int64),
        ),
    )
    Finding.objects.bulk_create(
        [
            Finding(
                rule=found.rule,
                window=window,
                version=found.version,
                host=hosts.get(answered.host) if answered.host else None,
                answer=answered.answer,
                value=answered.value,
                limit=answered.limit,
                rows=answered.rows,
                sentence=answered.sentence[:500],
                data=answered.data,
            )
            for found in judged
            for answered in found.answers
        ]
    )


def _hosts_of(endpoint: Endpoint) -> QuerySet[Host]:
    return Host.objects.filter(prediction_batches__endpoint=endpoint).distinct()


def _found(judged: list[Judged]) -> Iterator[Measured]:
    """What the rules themselves measured: the PSI of each input, and how far inputs taken together are apart."""
    for found in judged:
        answered = found.answers[0]
        if found.rule.kind == RuleKind.INPUT_DRIFT:
            for column in answered.data.get("columns", []):
                if column["psi"] is not None:
                    yield Measured("psi", found.version, None, column["psi"], answered.rows, column["column"][:60], "")
        if found.rule.kind == RuleKind.JOINT_DRIFT and answered.value is not None:
            yield Measured("joint_auc", found.version, None, answered.value, answered.rows)


def _record_breaches(window: Window, judged: list[Judged], rows: int, labelled: int) -> None:
    """One event for a window with a breach; a quiet one changes nothing that anybody must answer for."""
    breaches = [
        {
            "rule": found.rule.kind,
            "version": found.version,
            "host": answered.host or "",
            "value": str(answered.value),
            "limit": str(answered.limit),
            "sentence": answered.sentence,
        }
        for found in judged
        for answered in found.answers
        if answered.answer == Answer.BREACH
    ]
    if breaches:
        record(
            action="window.judge",
            target=Target("endpoint", window.endpoint.slug),
            actor=service_actor("monitoring"),
            data={
                "window": window.pk,
                "start": window.start.isoformat(),
                "end": window.end.isoformat(),
                "rows": rows,
                "labelled": labelled,
                "breaches": breaches,
            },
        )
