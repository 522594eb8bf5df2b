"""The clock asks: rules are judged for the moments that have passed, and their alerts opened and closed."""

import logging
import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models.functions import Now

from audit.actions import Target, record, service_actor
from monitoring import alerts
from monitoring.models import Alert, AlertState
from monitoring.rules.answers import Judged
from monitoring.rules.carried import carried
from monitoring.rules.conditions import judge, moments, needed
from monitoring.rules.control import params as control
from monitoring.rules.machine import Change, Standing, What, follow
from monitoring.rules.models import AlertRule, AlertRuleKind, Phase, RuleStanding
from monitoring.rules.preview import length
from monitoring.rules.reading import hosts_of, microseconds, moment, read, versions_in
from monitoring.rules.spec import Spec, in_words, spec_of
from registry.models import Host

AT_ONCE = 200
MOST_BEHIND = timedelta(days=7)
"""After a time in which nothing ran, so much is judged at once; what is older is skipped, on record."""
RETRY = timedelta(minutes=1)

log = logging.getLogger(__name__)


def due(now: datetime) -> list[int]:
    """Rules whose next moment has passed, the longest waiting first."""
    waiting = AlertRule.objects.filter(retired_at=None, next_at__lte=now)
    return list(waiting.order_by("next_at").values_list("pk", flat=True)[:AT_ONCE])


def ask(rule_id: int) -> bool:
    """Judge a rule for every moment since it was last judged. False when it is not due, or another is at it.

    What it stands at, its alerts and how far it was judged are one transaction: killed anywhere, it is done anew.
    """
    try:
        with transaction.atomic():
            return _ask(rule_id)
    except (ArithmeticError, LookupError, ValueError):
        log.exception("monitoring.rule.unfit rule=%s", rule_id)
        AlertRule.objects.filter(pk=rule_id).update(next_at=Now() + RETRY)
        return False


def _ask(rule_id: int) -> bool:
    found = AlertRule.objects.select_for_update(of=("self",), skip_locked=True).select_related("endpoint__model")
    rule = found.annotate(now=Now()).filter(pk=rule_id, retired_at=None, next_at__lte=Now()).first()
    if rule is None:
        return False
    spec = spec_of(rule)
    delay = timedelta(seconds=rule.delay_seconds)
    settled = microseconds(rule.now - delay)
    at = moments(spec, _after(rule, settled), settled)
    if len(at):
        hosts = hosts_of(rule)
        bins = read(rule, hosts, needed(spec, int(at[0]), int(at[-1])))
        standings = {one.host_id: one for one in RuleStanding.objects.filter(rule=rule).select_related("host")}
        for host in hosts:
            standing = standings.pop(host.pk if host else None, None) or RuleStanding(rule=rule, host=host)
            _judge(rule, spec, standing, judge(spec, bins[host], at))
        _forget(rule, standings.values())
    judged_until = int(at[-1]) if len(at) else microseconds(rule.judged_until or rule.now - delay)
    upcoming = moment((settled // spec.step + 1) * spec.step) + delay
    AlertRule.objects.filter(pk=rule.pk).update(judged_until=moment(judged_until), next_at=upcoming)
    return True


def _after(rule: AlertRule, settled: int) -> int:
    after = microseconds(rule.judged_until) if rule.judged_until else settled
    oldest = settled - int(MOST_BEHIND.total_seconds()) * 1_000_000
    if after < oldest:
        record(
            action="alert_rule.skip",
            target=Target("alert_rule", str(rule.pk)),
            actor=service_actor("monitoring"),
            data={"from": moment(after).isoformat(), "until": moment(oldest).isoformat()},
        )
    return max(after, oldest)


def _judge(rule: AlertRule, spec: Spec, row: RuleStanding, judged: Judged) -> None:
    standing, changes = follow(spec, _standing(row), judged)
    for change in changes:
        _tell(rule, spec, row.host, judged, change)
    row.phase = standing.phase
    row.since = moment(standing.since) if standing.phase != Phase.NEW else None
    row.clear_since = None if standing.clear_since is None else moment(standing.clear_since)
    row.value, row.low, row.high = (_number(column[-1]) for column in (judged.value, judged.low, judged.high))
    row.judged_until = moment(int(judged.at[-1]))
    row.save()
    if standing.phase in (Phase.FIRING, Phase.UNHEARD):
        mark = _fingerprint(rule, row.host, silent=standing.phase == Phase.UNHEARD)
        Alert.objects.filter(fingerprint=mark, state=AlertState.FIRING).update(last_seen_at=Now())


def _standing(row: RuleStanding) -> Standing:
    return Standing(
        Phase(row.phase),
        microseconds(row.since) if row.since else 0,
        microseconds(row.clear_since) if row.clear_since else None,
    )


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _fingerprint(rule: AlertRule, host: Host | None, *, silent: bool) -> str:
    return alerts.fingerprint("alert_rule", rule.pk, host.pk if host else "", "unheard" if silent else "")


def _tell(rule: AlertRule, spec: Spec, host: Host | None, judged: Judged, change: Change) -> None:
    silent = change.what in (What.UNHEARD, What.HEARD)
    if change.what in (What.FIRE, What.UNHEARD):
        alerts.open_alert(_alert(rule, spec, host, judged, change))
        return
    mark = _fingerprint(rule, host, silent=silent)
    alert = Alert.objects.filter(fingerprint=mark, state=AlertState.FIRING).first()
    if alert is not None:
        why = "Data comes again." if silent else f"Within the limit for {length(rule.clear_seconds)}."
        alerts.resolve_alert(alert, ended_at=moment(change.at), why=why)


def _alert(rule: AlertRule, spec: Spec, host: Host | None, judged: Judged, change: Change) -> Alert:
    silent = change.what == What.UNHEARD
    began = change.since - spec.window
    versions = [] if silent else versions_in(rule, host, began, change.at)
    version = rule.version or (versions[0] if len(versions) == 1 else "")
    value, low, high = (_number(column[change.index]) for column in (judged.value, judged.low, judged.high))
    said = _silence_said(rule, change) if silent else _said(rule, value, low, high)
    where = f" on {host.name}" if host else ""
    labels = {"rule": rule.name, "metric": rule.metric, "hosts": [host.name] if host else []}
    mark, started = _fingerprint(rule, host, silent=silent), moment(began)
    if Alert.objects.filter(fingerprint=mark, started_at=started).exists():
        # It was ended in the middle of this breach, when the rule was changed.
        started = moment(change.at)
    return Alert(
        fingerprint=mark,
        source="rule",
        alert_rule=rule,
        endpoint=rule.endpoint,
        version=version,
        host=host,
        severity=rule.severity,
        summary=f"{rule.name}{where}: {said}"[:500],
        labels=labels | ({"no_data": True} if silent else {}),
        annotations={
            "value": value,
            "low": low,
            "high": high,
            "window_seconds": rule.window_seconds,
            "rule": in_words(rule),
            "answered": versions,
            "link": f"/monitoring/rules/{rule.pk}/",
            **carried(rule.endpoint, version, host),
        },
        started_at=started,
    )


def _silence_said(rule: AlertRule, change: Change) -> str:
    since = f"{moment(change.since):%Y-%m-%d %H:%M:%S}"
    return f"no data for {rule.metric} since {since} UTC. Whether it is well is not known."


def _said(rule: AlertRule, value: float | None, low: float | None, high: float | None) -> str:
    """The value against its limit, as a sentence."""
    shown = "not a number" if value is None else f"{value:.4g}"
    p = rule.params
    if rule.kind == AlertRuleKind.BURN:
        return f"the error budget of {rule.metric} is spent {shown} times as fast as it may be, limit {p['factor']:g}."
    if rule.kind == AlertRuleKind.CONTROL:
        return control.said(p, rule.metric, shown, low, high)
    if low is not None and high is not None:
        return f"{rule.metric} is {shown}, outside {low:.4g} to {high:.4g}, which this hour is known for."
    if high is not None:
        return f"{rule.metric} is {shown}, above {high:.4g}."
    return f"{rule.metric} is {shown}, below {low:.4g}." if low is not None else f"{rule.metric} is {shown}."


def _forget(rule: AlertRule, gone: Iterable[RuleStanding]) -> None:
    """Hosts that serve the endpoint no more: what fires for them is over, and says nothing of anybody."""
    for row in list(gone):
        for alert in Alert.objects.filter(alert_rule=rule, host=row.host, state=AlertState.FIRING).annotate(now=Now()):
            alerts.resolve_alert(alert, ended_at=alert.now, why="The host does not serve the endpoint any more.")
        row.delete()
