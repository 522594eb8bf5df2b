"""Alerts of which nobody is told: silenced ones, those of a host that is down, and what floors above know of.

A suppressed alert fires, is recorded and shown; only the word to the floor above is held back. The clock asks again
while it fires, and lets the word go when nothing holds it back any more.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet

from audit.actions import Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import gather_on_commit
from audit.due import in_turns
from monitoring.models import Alert, AlertState
from monitoring.rules.models import Silence

log = logging.getLogger(__name__)

Provider = Callable[[Alert], str]
_providers: list[Provider] = []

SETTLE = timedelta(minutes=5)
"""How long the alerts of a host that is back are still held: they end by themselves when it is well."""

AT_ONCE = 200

OWN = ("endpoint", "model", "host", "version", "rule", "source")
"""Our own words for what an alert is about; whatever else a silence names is a label that a sender gave."""


def register(provider: Provider) -> None:
    """Have `provider(alert)` asked why nobody should be told of an alert: a short text such as "maintenance:7", at most
    100 characters, or "" where it knows of nothing."""
    if provider not in _providers:
        _providers.append(provider)


def why(alert: Alert) -> str:
    """What holds the word of the alert back; "" for nothing. A question that fails holds nothing back."""
    return why_each([alert])[0]


def why_each(alerts: Sequence[Alert]) -> list[str]:
    """The same of several alerts, in their order."""
    try:
        # All questions in one savepoint, since hardly ever one fails.
        with transaction.atomic():
            standing = _standing()
            return [_first(alert, lambda alert: _by_silence(standing, alert)) for alert in alerts]
    except Exception:
        questions = (_silence, _host_down, *_providers)
        return [next((found[:100] for ask in questions if (found := _alone(ask, a))), "") for a in alerts]


def _first(alert: Alert, silence: Provider) -> str:
    return next((found[:100] for ask in (silence, _host_down, *_providers) if (found := ask(alert))), "")


def _alone(ask: Provider, alert: Alert) -> str:
    try:
        with transaction.atomic():
            return ask(alert)
    except Exception:
        log.exception("whether alert %s is suppressed could not be asked of %s", alert.pk, ask)
        return ""


def labels_of(alert: Alert) -> dict[str, str]:
    """What a silence can name of an alert: its sender's labels, and over them our own words for what it is about."""
    given = alert.labels if isinstance(alert.labels, dict) else {}
    found = {str(name): str(value) for name, value in given.items() if isinstance(value, str | int | float)}
    own = {
        "endpoint": alert.endpoint.slug if alert.endpoint else "",
        "model": alert.endpoint.model.slug if alert.endpoint else "",
        "host": host_of(alert),
        "version": alert.version,
        "rule": alert.rule.kind if alert.rule else alert.alert_rule.name if alert.alert_rule else "",
        "source": alert.source,
    }
    return found | {name: value for name, value in own.items() if value}


def host_of(alert: Alert) -> str:
    """The name of the one host that the alert is about; "" where it is about several, or none."""
    if alert.host is not None:
        return alert.host.name
    labels = alert.labels if isinstance(alert.labels, dict) else {}
    hosts = labels.get("hosts")
    if isinstance(hosts, list):
        return str(hosts[0]) if len(hosts) == 1 else ""
    return str(labels.get("host", ""))


def matches(silence: Silence, alert: Alert) -> bool:
    """Whether the alert has every label that the silence names."""
    labels = labels_of(alert)
    return all(labels.get(name) == value for name, value in silence.matchers.items())


def _silence(alert: Alert) -> str:
    return _by_silence(_standing(), alert)


def _standing() -> list[Silence]:
    now = database_now()
    return list(Silence.objects.filter(starts_at__lte=now, ends_at__gt=now).order_by("pk"))


def _by_silence(standing: Sequence[Silence], alert: Alert) -> str:
    return next((f"silence:{one.pk}" for one in standing if matches(one, alert)), "")


def _host_down(alert: Alert) -> str:
    """The firing alert that says that the host is down, and of which people are told: one that is held back itself
    would leave the host's others untold with it. For one held back by it, for a while after it ended."""
    name = host_of(alert)
    if not name:
        return ""
    down = Alert.objects.filter(alert_rule__means_host_down=True, host__name=name, suppressed_by="")
    down = down.exclude(pk=alert.pk)
    found = down.filter(state=AlertState.FIRING).order_by("pk").first()
    if found is None and alert.suppressed_by.startswith("alert:"):
        found = down.filter(pk=alert.suppressed_by.removeprefix("alert:"), ended_at__gt=database_now() - SETTLE).first()
    return f"alert:{found.pk}" if found is not None else ""


def cover(silence: Silence) -> int:
    """Mark what fires and matches a silence that was just made; returns how many. An incident that one has stays."""
    firing = _firing(Alert.objects.filter(suppressed_by=""))
    return sum(_mark(alert, f"silence:{silence.pk}") for alert in firing if matches(silence, alert))


def take_below(parent: Alert) -> int:
    """Hang what fires for the host of an alert that says it is down below that alert; returns how many."""
    if parent.host is None:
        return 0
    others = _firing(Alert.objects.filter(suppressed_by="").exclude(pk=parent.pk))
    own = [alert for alert in others if host_of(alert) == parent.host.name]
    return sum(_mark(alert, f"alert:{parent.pk}") for alert in own)


def _firing(found: QuerySet[Alert]) -> QuerySet[Alert]:
    return found.filter(state=AlertState.FIRING).select_related("endpoint__model", "host", "rule", "alert_rule")


def _mark(alert: Alert, by: str) -> bool:
    with transaction.atomic():
        if not Alert.objects.filter(pk=alert.pk, state=AlertState.FIRING, suppressed_by="").update(suppressed_by=by):
            return False
        _record("alert.suppress", alert, by)
    return True


def _record(action: str, alert: Alert, by: str) -> None:
    record(
        action=action,
        target=Target("alert", str(alert.pk)),
        actor=service_actor("monitoring"),
        data={"suppressed_by": by},
    )


def children(alert: Alert) -> list[Alert]:
    """The alerts that hang below this one, newest first."""
    return list(Alert.objects.filter(suppressed_by=f"alert:{alert.pk}").order_by("-fired_at"))


def due(now: datetime) -> list[int]:
    """Firing alerts that are suppressed, oldest first. Where they are more than about AT_ONCE they take turns by the
    minute: those that stay held for a month keep no other waiting."""
    found = Alert.objects.filter(state=AlertState.FIRING).exclude(suppressed_by="")
    return in_turns(found.order_by("fired_at").values_list("pk", flat=True), now, most=AT_ONCE, seconds=60)


def ask_again(alert_id: int) -> None:
    """Let the word of a suppressed alert go, where nothing holds it back any more."""
    with transaction.atomic():
        alert = Alert.objects.select_for_update().filter(pk=alert_id, state=AlertState.FIRING).first()
        if alert is None or not alert.suppressed_by:
            return
        now = why(alert)
        if now == alert.suppressed_by:
            return
        before, alert.suppressed_by = alert.suppressed_by, now
        alert.save(update_fields=["suppressed_by"])
        _record("alert.suppress" if now else "alert.release", alert, now or before)
        if not now:
            gather_on_commit("incidents.take_alert", [alert.pk], queue="intake")
