"""What the page of one alert shows, whoever raised it."""

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from django.urls import reverse
from django.utils.translation import gettext

from audit.clock import database_now
from monitoring.charts.detected import detected
from monitoring.models import Alert, AlertState
from monitoring.rules import suppress, worth
from monitoring.rules.charts import chart
from monitoring.rules.models import Silence
from monitoring.rules.preview import preview
from monitoring.rules.queries import shown

BEFORE = timedelta(hours=6)
LONGEST = timedelta(days=7)
LEAST_WINDOWS = 30
"""Windows that the chart shows before the alert, however long they are."""


def alert_context(alert: Alert) -> dict[str, Any]:
    """The alert in words and figures: see templates/monitoring/rules/alert.html."""
    given = alert.annotations if isinstance(alert.annotations, dict) else {}
    fires = alert.state == AlertState.FIRING
    trail = [(reverse("alert-rules"), gettext("Rules and alerts"))]
    if alert.endpoint:
        trail.append((reverse("endpoint-detail", args=[alert.endpoint.slug]), alert.endpoint.name))
    return {
        "alert": alert,
        "sentence": alert.summary,
        "tone": "quiet" if not fires else "warn" if alert.suppressed_by else "bad",
        "trail": trail,
        "limit": _limit(given),
        "value": shown(given.get("value")),
        "asks": given.get("rule", ""),
        "features": given.get("features", []),
        "versions": given.get("versions", {}),
        "labels": {} if alert.alert_rule or alert.rule else _labels(alert),
        "held": held_by(alert),
        "children": suppress.children(alert),
        "incident": worth.incident_of(alert),
        "chart": around(alert),
    }


def _labels(alert: Alert) -> dict[str, str]:
    """What its sender called it by."""
    return {name: value for name, value in sorted(alert.labels.items()) if isinstance(value, str)}


def _limit(given: dict[str, Any]) -> str:
    """What the value was held to, in words; "" where the alert does not say."""
    low, high, limit = (given.get(name) for name in ("low", "high", "limit"))
    if low is not None and high is not None:
        return gettext("%(low)s to %(high)s") % {"low": shown(low), "high": shown(high)}
    if high is not None:
        return gettext("at most %(high)s") % {"high": shown(high)}
    if low is not None:
        return gettext("at least %(low)s") % {"low": shown(low)}
    return shown(limit)


def held_by(alert: Alert) -> str:
    """Why nobody is told of it, as a sentence; "" where it is told."""
    kind, _, ref = alert.suppressed_by.partition(":")
    if kind == "silence":
        silence = Silence.objects.filter(pk=ref).first() if ref.isdecimal() else None
        until = (
            gettext(" until %(ends_at)s UTC: %(reason)s")
            % {"ends_at": f"{silence.ends_at:%Y-%m-%d %H:%M}", "reason": silence.reason}
            if silence
            else "."
        )
        return gettext("Nobody is told of it: it is silenced%(until)s") % {"until": until}
    if kind == "alert":
        return gettext("Nobody is told of it by itself: its host is down, and it hangs below that alert.")
    return gettext("Nobody is told of it: %(kind)s %(ref)s is under way.") % {"kind": kind, "ref": ref} if kind else ""


def around(alert: Alert) -> dict[str, Any] | None:
    """The rule's own figure around the alert, by what the rule asks now; of a detector, what it found each time."""
    if found_by_detector := detected(alert):
        return asdict(found_by_detector)
    rule = alert.alert_rule
    if rule is None or rule.retired_at is not None:
        return None
    until = min(database_now(), (alert.ended_at or database_now()) + BEFORE / 6)
    window = timedelta(seconds=rule.window_seconds)
    since = max(
        alert.started_at - max(BEFORE, LEAST_WINDOWS * window), until - max(LONGEST, 2 * LEAST_WINDOWS * window)
    )
    found = chart(preview(rule, until=until, days=(until - since) / timedelta(days=1)))
    return (
        {**found, "title": gettext("%(metric)s as it was when the alert fired") % {"metric": rule.metric}}
        if found
        else None
    )
