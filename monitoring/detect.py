"""A window is complete: what it shows is measured, each rule is asked, and the answers become findings and alerts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from monitoring import alerts
from monitoring.measure import Measured, measure
from monitoring.models import Answer, Finding, MetricPoint, Monitor, Rule, RuleKind, Window, WindowState
from monitoring.profiles import profiles_of
from monitoring.questions import Answered, Asked, ask, checked_params
from monitoring.references import latency_reference, promised, versions_of
from monitoring.series import save_points, series_for
from monitoring.windows import load_predictions
from registry.models import Endpoint, Host

MAX_CATCH_UP = 96
"""Windows opened at once after a time in which nothing ran; older ones are skipped, on record."""

LEASE = timedelta(seconds=60)


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
        if monitor is None:
            return 0
        length = timedelta(seconds=monitor.window_seconds)
        ended = max((monitor.now - monitor.next_window_at) // length, 0)
        skipped = max(ended - MAX_CATCH_UP, 0)
        starts = [monitor.next_window_at + length * i for i in range(skipped, ended)]
        wait = timedelta(seconds=max(monitor.grace_seconds, monitor.label_delay_seconds))
        Window.objects.bulk_create(
            [
                Window(endpoint=monitor.endpoint, start=start, end=start + length, due_at=start + length + wait)
                for start in starts
            ],
            ignore_conflicts=True,
        )
        Monitor.objects.filter(pk=monitor.pk).update(next_window_at=monitor.next_window_at + length * ended)
        if skipped:
            _record_skip(monitor, skipped, starts[0])
    return len(starts)


def _record_skip(monitor: Monitor, skipped: int, resumed: datetime) -> None:
    assert monitor.next_window_at is not None
    record(
        action="monitor.skip",
        target=Target("endpoint", monitor.endpoint.slug),
        actor=service_actor("monitoring"),
        data={"windows": skipped, "from": monitor.next_window_at.isoformat(), "until": resumed.isoformat()},
    )


def judge(window_id: int) -> bool:
    """Judge a window that is due. False when another is at it, or did it.

    The window is claimed for LEASE; what is measured is written only while the claim still stands, in one transaction
    with the findings and the alerts that follow from them.
    """
    window = _claim(window_id)
    if window is None:
        return False
    table = load_predictions(window.endpoint, window.start, window.end)
    rules = list(Rule.objects.filter(endpoint=window.endpoint, enabled=True))
    measured = list(measure(table))
    judged = list(_ask_all(window, table, rules))
    with transaction.atomic():
        Monitor.objects.select_for_update().filter(endpoint=window.endpoint).first()
        labelled = len(table) - table.column("label").null_count
        done = Window.objects.filter(pk=window.pk, state=WindowState.OPEN, attempts=window.attempts).update(
            state=WindowState.JUDGED, judged_at=Now(), rows=len(table), labelled=labelled
        )
        if not done:
            return False
        _write(window, measured, judged)
        _record_breaches(window, judged, len(table), labelled)
        versions = {m.version for m in measured}
        for rule in rules:
            alerts.follow(rule, versions)
    return True


def _claim(window_id: int) -> Window | None:
    claimed = Window.objects.filter(pk=window_id, state=WindowState.OPEN, due_at__lte=Now()).update(
        attempts=F("attempts") + 1, due_at=Now() + LEASE
    )
    return Window.objects.select_related("endpoint").get(pk=window_id) if claimed else None


def _ask_all(window: Window, table: pa.Table, rules: list[Rule]) -> Iterator[Judged]:
    pairs = table.group_by(["version", "digest"]).aggregate([]).to_pylist() if len(table) else []
    known = versions_of(window.endpoint, [(pair["version"], pair["digest"] or "") for pair in pairs])
    for number in sorted({pair["version"] for pair in pairs}):
        version = known.get(number)
        accuracy, rows = promised(version)
        profiles = profiles_of(version) if version else None
        own = table.filter(pc.equal(table.column("version"), number))
        for rule in rules:
            reference = (
                latency_reference(window.endpoint, window.start, rule.min_rows)
                if rule.kind == RuleKind.LATENCY
                else None
            )
            asked = Asked(
                version=number,
                table=own,
                min_rows=rule.min_rows,
                params=checked_params(rule.kind, rule.params),
                promised=accuracy,
                promised_rows=rows,
                inputs=profiles[0] if profiles else None,
                outputs=profiles[1] if profiles else None,
                latencies=reference.table if reference else None,
                latencies_of=reference.words if reference else "",
            )
            yield Judged(rule, number, ask(rule.kind, asked))


def _write(window: Window, measured: list[Measured], judged: list[Judged]) -> None:
    hosts = {host.name: host for host in _hosts_of(window.endpoint)}
    points = {(m.name, hosts.get(m.host), m.version, m.column): m for m in [*measured, *_psi(judged)]}
    series = series_for(window.endpoint, {key: m.unit for key, m in points.items()})
    save_points([MetricPoint(series=series[key], at=window.end, value=m.value, n=m.n) for key, m in points.items()])
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


def _psi(judged: list[Judged]) -> Iterator[Measured]:
    for found in judged:
        if found.rule.kind != RuleKind.INPUT_DRIFT:
            continue
        for column in found.answers[0].data.get("columns", []):
            if column["psi"] is not None:
                yield Measured(
                    "psi", found.version, None, column["psi"], found.answers[0].rows, column["column"][:60], ""
                )


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
