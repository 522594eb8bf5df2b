"""Alerts: opened and closed by the findings of rules, and by webhooks. One fires per fingerprint."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from audit.actions import Target, record_each, service_actor
from audit.dispatch import gather_on_commit
from monitoring.models import LABELLED_KINDS, Alert, AlertState, Answer, Finding, Rule, Window, WindowState
from monitoring.rules import suppress
from monitoring.rules.carried import carried
from registry.models import Endpoint, Environment

MONITORING = service_actor("monitoring")

LOOK_BACK = 60
"""Judged windows that a decision looks at; a streak of breaches is followed no further back."""

SEVERITIES = {
    "critical": 1, "page": 1, "p1": 1, "sev1": 1,
    "error": 2, "major": 2, "high": 2, "p2": 2, "sev2": 2,
    "warning": 3, "warn": 3, "minor": 3, "p3": 3, "sev3": 3,
    "info": 4, "low": 4, "none": 4, "p4": 4, "sev4": 4,
}  # fmt: skip

ABSENT = "absent"
"""What is said of a window with traffic in which a version answered nothing."""

OBSERVED = "observed"
"""The source of alerts about a host that was seen to serve something else than it was left with."""
OBSERVED_SEVERITY = 3


@dataclass(frozen=True)
class Streak:
    """What the newest windows say: so many breaches (or clear windows) in a row, and the findings of the breaches."""

    breaches: int
    clear: int
    findings: list[Finding]


def fingerprint(*parts: object) -> str:
    """SHA-256 (hex) of the parts as a JSON list: what makes two alerts the same one."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def rule_fingerprint(rule: Rule, version: str) -> str:
    """The fingerprint of what a rule finds wrong with a version at its endpoint."""
    return fingerprint("rule", rule.endpoint_id, rule.kind, version)


def follow(rule: Rule, versions: Iterable[str]) -> list[Alert]:
    """Fire, keep up or resolve the rule's alerts for these versions and for those that fire; returns what changed.

    Looks at the endpoint's newest judged windows, so it may be called after any window, in any order, twice.
    """
    firing = {a.version: a for a in Alert.objects.filter(rule=rule, state=AlertState.FIRING)}
    judged = Window.objects.filter(endpoint=rule.endpoint_id, state=WindowState.JUDGED, rows__gt=0)
    if rule.kind in LABELLED_KINDS:
        judged = judged.filter(labels_due_at=None)
    windows = list(judged[:LOOK_BACK])
    findings = _by_window(rule, windows)
    changed = []
    for version in sorted(set(versions) | set(firing)):
        streak = _streak(windows, findings, version)
        alert = firing.get(version)
        if alert is None and streak.breaches >= rule.for_windows:
            changed += _fire(rule, version, streak)
        elif alert is not None and streak.breaches:
            Alert.objects.filter(pk=alert.pk, state=AlertState.FIRING).update(last_seen_at=Now(), clear_windows=0)
        elif alert is not None and streak.clear >= rule.clear_windows:
            why = _why_resolved(streak, windows, findings, version)
            changed += resolve_alert(alert, ended_at=windows[0].end, why=why)
        elif alert is not None:
            Alert.objects.filter(pk=alert.pk, state=AlertState.FIRING).update(clear_windows=streak.clear)
    return changed


def _by_window(rule: Rule, windows: list[Window]) -> dict[tuple[int, str], list[Finding]]:
    grouped: dict[tuple[int, str], list[Finding]] = {}
    for finding in Finding.objects.filter(rule=rule, window__in=windows).select_related("window", "host"):
        grouped.setdefault((finding.window_id, finding.version), []).append(finding)
    return grouped


def _answer(findings: list[Finding] | None) -> str:
    if findings is None:
        return ABSENT
    answers = {finding.answer for finding in findings}
    if Answer.BREACH in answers:
        return Answer.BREACH
    return Answer.OK if Answer.OK in answers else Answer.NOT_ENOUGH


def _streak(windows: list[Window], findings: dict[tuple[int, str], list[Finding]], version: str) -> Streak:
    """Windows without enough data neither add to a streak nor end it."""
    breaches = clear = 0
    behind: list[Finding] = []
    for window in windows:
        answer = _answer(findings.get((window.pk, version)))
        if answer == Answer.NOT_ENOUGH:
            continue
        if answer == Answer.BREACH and not clear:
            breaches += 1
            behind += [f for f in findings[window.pk, version] if f.answer == Answer.BREACH]
        elif answer != Answer.BREACH and not breaches:
            clear += 1
        else:
            break
    return Streak(breaches, clear, behind)


def _why_resolved(
    streak: Streak, windows: list[Window], findings: dict[tuple[int, str], list[Finding]], version: str
) -> str:
    newest = [_answer(findings.get((window.pk, version))) for window in windows[: streak.clear]]
    if set(newest) == {ABSENT}:
        return f"Version {version} answered nothing in the last {streak.clear} windows."
    return f"Within the limit in the last {streak.clear} windows with enough data."


def _fire(rule: Rule, version: str, streak: Streak) -> list[Alert]:
    newest, oldest = streak.findings[0], streak.findings[-1]
    hosts = sorted({name for finding in streak.findings for name in _hosts(finding)})
    rows = sum({f.window_id: f.rows for f in sorted(streak.findings, key=lambda f: f.rows)}.values())
    overall = next((f for f in streak.findings if f.host_id is None), newest)
    mark = rule_fingerprint(rule, version)
    started = oldest.window.start
    if Alert.objects.filter(fingerprint=mark, started_at=started).exists():
        # It was ended in the middle of this streak, by a rule that was switched off and is asked again.
        started = newest.window.start
    where = f" on {', '.join(hosts)}" if hosts else ""
    summary = f"{overall.sentence} Since {started:%Y-%m-%d %H:%M:%S} UTC{where}, {rows:,} rows."
    alert = Alert(
        fingerprint=mark,
        source="rule",
        rule=rule,
        endpoint_id=rule.endpoint_id,
        version=version,
        severity=rule.severity,
        summary=summary[:500],
        labels={"rule": rule.kind, "hosts": hosts},
        annotations={
            "value": overall.value,
            "limit": overall.limit,
            "rows": rows,
            "windows": streak.breaches,
            "data": overall.data,
            **carried(rule.endpoint, version, None),
        },
        started_at=started,
    )
    return open_alert(alert)


def _hosts(finding: Finding) -> list[str]:
    return [finding.host.name] if finding.host else list(finding.data.get("hosts", []))


def open_alert(alert: Alert) -> list[Alert]:
    """Insert a firing alert, its event and the word to the floor above; nothing where the same one fires.

    The word is held back where something suppresses the alert (monitoring/rules/suppress.py). One that says that its
    host is down, and of which people are told, takes what fires for that host below it.
    """
    try:
        with transaction.atomic():
            alert.suppressed_by = suppress.why(alert)
            alert.save(force_insert=True)
            alert.refresh_from_db()
            _record("alert.fire", alert, **_held(alert))
            if not alert.suppressed_by:
                if alert.alert_rule is not None and alert.alert_rule.means_host_down:
                    suppress.take_below(alert)
                gather_on_commit("incidents.take_alert", [alert.pk], queue="intake")
    except IntegrityError:
        return []
    return [alert]


def open_alerts(new: list[Alert]) -> None:
    """`open_alert` for alerts of different fingerprints, none of which is about a host that is down, in a few
    statements for all of them. What does not fire then, because the same one fires, has no key."""
    try:
        with transaction.atomic():
            for alert, held in zip(new, suppress.why_each(new), strict=True):
                alert.suppressed_by = held
            Alert.objects.bulk_create(new)
            record_each(action="alert.fire", actor=MONITORING, each=[_told(alert, **_held(alert)) for alert in new])
            if told := [alert.pk for alert in new if not alert.suppressed_by]:
                gather_on_commit("incidents.take_alert", told, queue="intake")
    except IntegrityError:
        for alert in new:
            alert.pk = None
            open_alert(alert)


def _held(alert: Alert) -> dict[str, str]:
    return {"suppressed_by": alert.suppressed_by} if alert.suppressed_by else {}


def resolve_alert(alert: Alert, *, ended_at: datetime, why: str, seen_at: datetime | None = None) -> list[Alert]:
    """End a firing alert, with its event and the word to the floor above; nothing where it fires no more. `seen_at` is
    when its sender was heard, where that was not now."""
    with transaction.atomic():
        done = Alert.objects.filter(pk=alert.pk, state=AlertState.FIRING).update(
            state=AlertState.RESOLVED, ended_at=ended_at, last_seen_at=seen_at or Now()
        )
        if not done:
            return []
        alert.refresh_from_db()
        _record("alert.resolve", alert, why=why)
        gather_on_commit("incidents.alert_resolved", [alert.pk], queue="intake")
    return [alert]


def end_all(rules: Iterable[Rule], why: str) -> list[Alert]:
    """Resolve what fires by these rules, because nobody asks them any more; `why` is a sentence for the record."""
    firing = Alert.objects.filter(rule__in=rules, state=AlertState.FIRING).annotate(now=Now())
    return [ended for alert in firing for ended in resolve_alert(alert, ended_at=alert.now, why=why)]


def _record(action: str, alert: Alert, **more: str) -> None:
    record_each(action=action, actor=MONITORING, each=[_told(alert, **more)])


def _told(alert: Alert, **more: str) -> tuple[Target, dict[str, Any], str]:
    """What the record says of an alert: of which, what, and in which words."""
    endpoint = alert.endpoint
    data: dict[str, Any] = {
        "fingerprint": alert.fingerprint,
        "source": alert.source,
        "endpoint": endpoint.slug if endpoint else "",
        "version": alert.version,
        "severity": alert.severity,
        "started_at": alert.started_at.isoformat(),
        **more,
    }
    words = alert.summary
    if alert.rule or alert.source == OBSERVED:
        data |= {"rule": alert.rule.kind if alert.rule else OBSERVED, "summary": alert.summary}
        words = ""
    # What an outside sender wrote may name people, so it stands beside the log, where it can be erased.
    return Target("alert", str(alert.pk)), data, words


def observed() -> QuerySet[Alert]:
    """The firing alerts about hosts that are not as they were left; `annotations` names the placement."""
    return Alert.objects.filter(source=OBSERVED, state=AlertState.FIRING)


def fire_observed(*, endpoint: Endpoint, placement: int, host: str, summary: str, started_at: datetime) -> Alert | None:
    """Fire the alert that a host is not as it was left, unless it fires. It names no version: it is about the host."""
    alert = Alert(
        fingerprint=fingerprint(OBSERVED, placement),
        source=OBSERVED,
        endpoint=endpoint,
        severity=OBSERVED_SEVERITY,
        summary=summary[:500],
        labels={"rule": OBSERVED, "hosts": [host]},
        annotations={"placement": placement},
        started_at=started_at,
    )
    return next(iter(open_alert(alert)), None)


def end_observed(*, placement: int, why: str) -> Alert | None:
    """End that alert, if it fires."""
    firing = observed().filter(fingerprint=fingerprint(OBSERVED, placement)).annotate(now=Now()).first()
    return next(iter(resolve_alert(firing, ended_at=firing.now, why=why)), None) if firing is not None else None


def endpoint_of(labels: dict[str, str]) -> Endpoint | None:
    """The endpoint that an outside alert is about: its label `endpoint`, else the model's only production endpoint."""
    slug = labels.get("endpoint", "")
    if slug:
        return Endpoint.objects.filter(slug=slug).first()
    if not labels.get("model"):
        return None
    found = Endpoint.objects.filter(model__slug=labels["model"], environment=Environment.PRODUCTION)[:2]
    return found[0] if len(found) == 1 else None
