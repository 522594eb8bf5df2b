"""Alerts of an outside sender, and rules over them."""

import itertools
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone

from audit.actions import service_actor
from incidents import intake
from incidents.grouping import actions
from incidents.grouping.actions import Terms
from incidents.grouping.models import GroupingRule
from incidents.models import Incident
from monitoring import alerts
from monitoring.models import Alert, AlertState

TEST = service_actor("test")
_numbers = itertools.count()


def rule(name: str = "By region", **terms: Any) -> GroupingRule:
    given = {"matchers": [["alertname", "=", "Slow*"]], "by": ["region"]} | terms
    return actions.add_rule(terms=Terms(name=name, **given), actor=TEST)


def fired(name: str = "SlowAnswers", *, ago: float = 0, mark: str = "", **labels: str) -> Alert:
    """An alert that began to fire so many seconds ago; each is another one where no mark is given."""
    number = next(_numbers)
    alert = Alert(
        fingerprint=alerts.fingerprint(mark or number),
        source="alertmanager",
        severity=3,
        summary=f"{name} {number}",
        labels={"alertname": name} | labels,
        started_at=timezone.now() - timedelta(seconds=ago) + timedelta(microseconds=number),
    )
    alerts.open_alert(alert)
    if ago:
        Alert.objects.filter(pk=alert.pk).update(fired_at=Now() - timedelta(seconds=ago))
    alert.refresh_from_db()
    return alert


def ended(alert: Alert) -> None:
    alerts.resolve_alert(alert, ended_at=timezone.now(), why="It is over.")
    alert.refresh_from_db()
    assert alert.state == AlertState.RESOLVED


def taken(alert: Alert) -> str:
    """The incident that the alert opened or joined; "" for none."""
    incident = intake.take_alert(alert_id=alert.pk)
    return incident.ref if incident is not None else ""


def refs() -> set[str]:
    return set(Incident.objects.values_list("ref", flat=True))
