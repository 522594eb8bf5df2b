"""What people do here: write a rule, change it, retire it; silence alerts."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import User
from audit.actions import Actor, Target, record
from audit.clock import database_now
from monitoring import alerts
from monitoring.models import Alert, AlertState, Monitor, RuleKind
from monitoring.rules import suppress
from monitoring.rules.control import params as control
from monitoring.rules.control.freezing import frozen
from monitoring.rules.fields import UnfitRule
from monitoring.rules.models import AlertRule, AlertRuleKind, NoData, Reduce, RuleStanding, Scope, Silence, Subject
from monitoring.rules.reading import microseconds, moment
from monitoring.rules.spec import checked
from registry.models import Endpoint

FIELDS = (
    "name", "subject", "metric", "column", "version", "scope", "kind", "params", "reduce", "window_seconds",
    "for_seconds", "clear_seconds", "delay_seconds", "no_data", "no_data_seconds", "severity", "means_host_down",
)  # fmt: skip
"""What a person says about a rule."""

CHOICES: dict[str, Any] = {
    "subject": Subject, "scope": Scope, "kind": AlertRuleKind, "reduce": Reduce, "no_data": NoData,
}  # fmt: skip
RANGES = {
    "window_seconds": (60, 86_400),
    "for_seconds": (0, 7 * 86_400),
    "clear_seconds": (0, 7 * 86_400),
    "delay_seconds": (0, 7 * 86_400),
    "no_data_seconds": (60, 7 * 86_400),
    "severity": (1, 4),
}
LONGEST_SILENCE = timedelta(days=30)


def draft(*, endpoint: Endpoint, **fields: Any) -> AlertRule:
    """The rule that these fields make, checked and not saved. Raises UnfitRule.

    Of a control chart, `params` names the stable period (`since`, `until`: ISO 8601) from which its limits are frozen
    here; where it gives the limits themselves (`centre`, `points`, and `sigma` or `sample`), these count.
    """
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise UnfitRule(
            gettext("A rule has no %(unknown)s; it has %(names)s.")
            % {"unknown": unknown[0], "names": ", ".join(FIELDS)}
        )
    rule = AlertRule(endpoint=endpoint, **{name: value for name, value in fields.items() if value is not None})
    for name, choices in CHOICES.items():
        if getattr(rule, name) not in choices.values:
            raise UnfitRule(
                gettext("%(name)s must be one of %(names)s.") % {"name": name, "names": ", ".join(choices.values)}
            )
    for name, (low, high) in RANGES.items():
        value = getattr(rule, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UnfitRule(
                gettext("%(name)s must be a whole number from %(low)s to %(high)s.")
                % {"name": name, "low": f"{low:,}", "high": f"{high:,}"}
            )
    if fields.get("delay_seconds") is None:
        rule.delay_seconds = _delay(rule)
    _check_whole(rule)
    given = {} if rule.params is None else rule.params
    if not isinstance(given, Mapping):
        raise UnfitRule(gettext("params must be an object."))
    if rule.kind == AlertRuleKind.CONTROL and "centre" not in given:
        given = {**given, **_limits(rule, given)}
    rule.params = checked(rule.kind, given, window_seconds=rule.window_seconds)
    if rule.kind == AlertRuleKind.CONTROL:
        _check_counted(rule)
    return rule


def _check_whole(rule: AlertRule) -> None:
    rule.name, rule.metric = str(rule.name).strip(), str(rule.metric).strip()
    if not rule.name or len(rule.name) > 100:
        raise UnfitRule(gettext("Give the rule a name of at most 100 characters, such as: p95 of latency."))
    if not rule.metric:
        raise UnfitRule(gettext("Say which metric the rule is about."))
    if rule.subject == Subject.FINDING and rule.metric not in RuleKind.values:
        raise UnfitRule(
            gettext("There is no detector %(metric)s; there are %(names)s.")
            % {"metric": rule.metric, "names": ", ".join(RuleKind.values)}
        )
    if rule.window_seconds % 60:
        raise UnfitRule(gettext("The window must be whole minutes: metrics are judged by what each minute came to."))
    if rule.kind == AlertRuleKind.CONTROL and rule.scope != Scope.ENDPOINT:
        raise UnfitRule(gettext("A control chart is of the endpoint as a whole: its limits come from one series."))
    if rule.means_host_down and rule.scope != Scope.HOSTS:
        raise UnfitRule(gettext("Only a rule that judges each host by itself can say that a host is down."))


def _delay(rule: AlertRule) -> int:
    """A minute more than what is made of windows takes to come, where the endpoint's windows are judged."""
    monitor = Monitor.objects.filter(endpoint=rule.endpoint, enabled=True).first()
    return 60 if monitor is None else 60 + max(monitor.grace_seconds, monitor.label_delay_seconds)


def _limits(rule: AlertRule, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is frozen from the stable period, once the chart's settings are known to be sound."""
    rule.params = control.settings(dict(given), rule.window_seconds)
    _check_counted(rule)
    return frozen(rule, *control.period(given))


def _check_counted(rule: AlertRule) -> None:
    if control.chart_of(rule.params) not in control.COUNTED:
        return
    if rule.reduce != Reduce.MEAN:
        raise UnfitRule(gettext("Of a p- or u-chart the values of a window come to their mean, weighed by rows."))
    if rule.params.get("per") and rule.subject != Subject.METRIC:
        raise UnfitRule(gettext("A detector's finding counts its own rows: leave the metric that counts units empty."))


def make_rule(*, endpoint: Endpoint, actor: Actor, **fields: Any) -> AlertRule:
    """Have the rule judged from now on. Raises UnfitRule."""
    rule = draft(endpoint=endpoint, **fields)
    with transaction.atomic():
        _start(rule)
        _save(rule, force_insert=True)
        record(action="alert_rule.make", target=_target(rule), actor=actor, data=_facts(rule))
    return rule


def change_rule(*, rule: AlertRule, changes: Mapping[str, Any], reason: str, actor: Actor) -> AlertRule:
    """Have the rule ask something else from now on; what fires by it ends, and it is judged anew. Raises UnfitRule."""
    if not reason.strip():
        raise UnfitRule(gettext("Say why the rule is changed; the reason goes on record."))
    drafted = draft(endpoint=rule.endpoint, **{**{name: getattr(rule, name) for name in FIELDS}, **changes})
    with transaction.atomic():
        before = AlertRule.objects.select_for_update(of=("self",)).select_related("endpoint").get(pk=rule.pk)
        if before.retired_at is not None:
            raise UnfitRule(gettext("This rule was retired. Make a new one."))
        if before.revision != rule.revision:
            raise UnfitRule(gettext("Somebody changed this rule meanwhile. Look at it again, then change it."))
        drafted.pk, drafted.created_at, drafted.revision = before.pk, before.created_at, before.revision + 1
        _end_alerts(before, "The rule was changed and is judged anew.")
        RuleStanding.objects.filter(rule=before).delete()
        _start(drafted)
        _save(drafted, update_fields=[*FIELDS, "revision", "next_at", "judged_until"])
        data = {"before": _facts(before), "after": _facts(drafted)}
        record(action="alert_rule.change", target=_target(drafted), actor=actor, data=data, reason=reason)
    return drafted


def retire_rule(*, rule: AlertRule, reason: str, actor: Actor) -> bool:
    """Ask it no more; what fires by it ends. False where it was retired before."""
    with transaction.atomic():
        if not AlertRule.objects.filter(pk=rule.pk, retired_at=None).update(retired_at=Now()):
            return False
        _end_alerts(rule, "The rule was retired.")
        RuleStanding.objects.filter(rule=rule).delete()
        record(action="alert_rule.retire", target=_target(rule), actor=actor, data=_facts(rule), reason=reason)
    return True


def _start(rule: AlertRule) -> None:
    now = database_now()
    rule.judged_until, rule.next_at = moment(_settled(rule, now)), now


def _settled(rule: AlertRule, now: datetime) -> int:
    return microseconds(now - timedelta(seconds=rule.delay_seconds))


def _save(rule: AlertRule, **how: Any) -> None:
    try:
        with transaction.atomic():
            rule.save(**how)
    except IntegrityError as error:
        raise UnfitRule(
            gettext("%(name)s has a rule called %(name_2)s. Give this one another name.")
            % {"name": rule.endpoint.name, "name_2": rule.name}
        ) from error


def _end_alerts(rule: AlertRule, why: str) -> None:
    for alert in Alert.objects.filter(alert_rule=rule, state=AlertState.FIRING).annotate(now=Now()):
        alerts.resolve_alert(alert, ended_at=alert.now, why=why)


def _target(rule: AlertRule) -> Target:
    return Target("alert_rule", str(rule.pk), str(rule.revision))


def _facts(rule: AlertRule) -> dict[str, Any]:
    """The rule without floats, as the record wants it."""
    params = {name: value if isinstance(value, str | list) else str(value) for name, value in rule.params.items()}
    facts = {name: getattr(rule, name) for name in FIELDS if name != "params"}
    return {**facts, "params": params, "endpoint": rule.endpoint.slug}


def make_silence(
    *, matchers: Mapping[str, Any], reason: str, ends_at: datetime, user: User, actor: Actor
) -> tuple[Silence, int]:
    """Tell nobody of alerts that match, until then; those that fire now with them. Returns it and how many these are.

    Raises UnfitRule.
    """
    wanted = {str(name).strip(): str(value).strip() for name, value in matchers.items() if str(value).strip()}
    now = database_now()
    if not wanted:
        raise UnfitRule(
            gettext("Say which alerts are meant: name at least one label and its value, such as endpoint or host.")
        )
    if not reason.strip():
        raise UnfitRule(
            gettext("Say why nobody should be told; the reason is shown beside each alert and goes on record.")
        )
    if ends_at <= now:
        raise UnfitRule(gettext("A silence ends in the future."))
    if ends_at > now + LONGEST_SILENCE:
        raise UnfitRule(
            gettext("A silence lasts at most %(days)s days. Make it anew when it is over.")
            % {"days": LONGEST_SILENCE.days}
        )
    with transaction.atomic():
        silence = Silence.objects.create(
            matchers=wanted, reason=reason.strip()[:500], made_by=user, starts_at=now, ends_at=ends_at
        )
        # What a sender's own labels hold may name people, so of these the log has the names alone.
        said = {name: value if name in suppress.OWN else "" for name, value in wanted.items()}
        data = {"matchers": said, "ends_at": ends_at.isoformat()}
        record(action="silence.make", target=_silenced(silence), actor=actor, data=data, reason=reason)
        count = suppress.cover(silence)
    return silence, count


def end_silence(*, silence: Silence, actor: Actor) -> bool:
    """End it now; what it held back and still fires is told within a minute. False where it is over."""
    with transaction.atomic():
        if not Silence.objects.filter(pk=silence.pk, ends_at__gt=Now()).update(ends_at=Now()):
            return False
        record(action="silence.end", target=_silenced(silence), actor=actor, data={})
    return True


def _silenced(silence: Silence) -> Target:
    return Target("silence", str(silence.pk))
