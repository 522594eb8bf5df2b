"""Where an alert belongs: to which cause, with which severity, and whether it is enough for an incident."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection, transaction

from audit.clock import database_now
from audit.dispatch import gather_on_commit
from incidents.grouping import deciding
from incidents.grouping.models import AlertGroup, GroupingRule, GroupMember
from incidents.models import OPEN_STATES, Incident
from monitoring.models import Alert, AlertState
from monitoring.rules.suppress import labels_of

LOCK = 7_105


@dataclass(frozen=True)
class Place:
    """`key` is what its incident is known by. `held`: in a sentence, why none is opened yet; empty where it may be."""

    key: str
    severity: int
    held: str = ""


def default_key(alert: Alert) -> str:
    """What makes two alerts one cause where no rule says it: the version that answers on an endpoint, else the sender's
    grouping labels."""
    if alert.endpoint is not None and alert.version:
        return f"endpoint:{alert.endpoint.slug}:version:{alert.version}"
    if alert.endpoint is not None:
        return f"endpoint:{alert.endpoint.slug}"
    labels = alert.labels if isinstance(alert.labels, dict) else {}
    return f"labels:{labels.get('alertname', '')}:{labels.get('model', '')}:{labels.get('job', '')}"[:200]


def facts(alert: Alert) -> dict[str, str]:
    """What a rule can ask of an alert: its sender's labels, and over them our own words for what it is about."""
    own = {"sender": alert.delivery.sender if alert.delivery else ""}
    own["team"] = alert.endpoint.model.team if alert.endpoint else ""
    return labels_of(alert) | {name: value for name, value in own.items() if value}


def live_rules() -> list[GroupingRule]:
    """The rules that count, in the order in which they are asked."""
    return list(GroupingRule.objects.filter(retired_at=None))


def place(alert: Alert) -> Place:
    """The place of an alert, which it keeps: asked again, the same alert is where it was put first."""
    return places([alert])(alert)


def places(alerts: Sequence[Alert]) -> Callable[[Alert], Place]:
    """`place` for each of several alerts."""
    rules = live_rules()
    members = GroupMember.objects.select_related("group__rule").filter(alert__in=alerts)
    known = {member.alert_id: member for member in members}
    return lambda alert: _place(alert, known.get(alert.pk), rules)


def _place(alert: Alert, member: GroupMember | None, rules: Sequence[GroupingRule]) -> Place:
    labels = facts(alert)
    rule = member.group.rule if member is not None else deciding.first_match(rules, labels)
    if rule is None:
        return Place(default_key(alert), alert.severity)
    with transaction.atomic():
        key = member.group.key if member is not None else deciding.key_of(rule, labels)
        _lock(key)
        found = GroupMember.objects.select_related("group__rule").filter(alert=alert).first()
        group = found.group if found is not None else _join(rule, key, deciding.shared(rule, labels), alert)
    severity = deciding.severity_of(rule, labels, alert.severity)
    return Place(group.group_key, severity, "" if group.ready_at else _waits(rule))


def _lock(key: str) -> None:
    """Whoever places an alert of the same key at the same moment waits until this transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, zlib.crc32(key.encode()) - 2**31])


def _join(rule: GroupingRule, key: str, labels: dict[str, str], alert: Alert) -> AlertGroup:
    now = database_now()
    group = AlertGroup.objects.filter(key=key, closed_at=None).first()
    if group is not None and group.ready_at is not None and _is_over(rule, group, alert):
        AlertGroup.objects.filter(pk=group.pk).update(closed_at=now)
        group = None
    if group is None:
        group = AlertGroup.objects.create(rule=rule, key=key, labels=labels, last_at=alert.fired_at)
    GroupMember.objects.create(group=group, alert=alert)
    if alert.fired_at > group.last_at:
        AlertGroup.objects.filter(pk=group.pk).update(last_at=alert.fired_at)
    if group.ready_at is None:
        _count(rule, group, alert)
    return group


def _is_over(rule: GroupingRule, group: AlertGroup, alert: Alert) -> bool:
    if deciding.is_late(rule, group.last_at, alert.fired_at):
        return True
    states = set(Incident.objects.filter(group_key=group.group_key).values_list("state", flat=True))
    return bool(states) and not states & set(OPEN_STATES)


def _count(rule: GroupingRule, group: AlertGroup, alert: Alert) -> None:
    """Say that the group is enough for an incident, where it is; those that waited are told to join."""
    within = timedelta(seconds=rule.within_seconds)
    # Alerts are not always placed in the order in which they fired.
    lately = group.members.filter(alert__fired_at__range=(alert.fired_at - within, alert.fired_at + within))
    if not deciding.is_enough(rule, lately.values_list("alert__fired_at", flat=True)):
        return
    group.ready_at = database_now()
    AlertGroup.objects.filter(pk=group.pk).update(ready_at=group.ready_at)
    for waiting in lately.exclude(alert=alert).values_list("alert_id", flat=True):
        gather_on_commit("incidents.take_alert", [waiting], queue="intake")


def let_wait_no_more(rule: GroupingRule) -> None:
    """Close what the rule has gathered that is not enough for an incident. What of it still fires is placed anew, by
    the rules that count then; the clock finds it. Called in the transaction that changes the rule."""
    waiting = AlertGroup.objects.filter(rule=rule, closed_at=None, ready_at=None)
    for pk, key in waiting.order_by("key").values_list("pk", "key"):
        _lock(key)
        if waiting.filter(pk=pk).update(closed_at=database_now()):
            GroupMember.objects.filter(group=pk, alert__state=AlertState.FIRING).delete()


def _waits(rule: GroupingRule) -> str:
    return (
        f"The rule {rule.name} opens an incident for {rule.at_least} alerts within {rule.within_seconds:,} seconds; "
        "so many have not fired."
    )
