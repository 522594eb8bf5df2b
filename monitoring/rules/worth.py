"""How good a rule is: how long it took to see what happened, and how often nothing had. Measured from incidents, which
a floor above knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from django.utils.translation import gettext, ngettext

from monitoring.models import Alert, Rule
from monitoring.rules.models import AlertRule
from monitoring.rules.preview import length

MOST = 500
"""Alerts of a rule that are looked at: the newest."""


@dataclass(frozen=True)
class Outcome:
    """What an alert came to: the incident it opened or joined, when its harm began as people know it now (None: not
    known), and whether it was judged a false alarm (None: not judged yet)."""

    incident: str
    began: datetime | None
    false_alarm: bool | None


Provider = Callable[[Iterable[int]], Mapping[int, Outcome]]
_providers: list[Provider] = []


def register(provider: Provider) -> None:
    """Have `provider(alert ids)` asked for what became of alerts, by alert id."""
    if provider not in _providers:
        _providers.append(provider)


def outcomes(alerts: Iterable[int]) -> dict[int, Outcome]:
    """What became of each alert that any provider knows of."""
    wanted = list(alerts)
    return {key: outcome for provider in _providers for key, outcome in provider(wanted).items()}


def incident_of(alert: Alert) -> str:
    """The reference of the alert's incident; "" without one."""
    outcome = outcomes([alert.pk]).get(alert.pk)
    return outcome.incident if outcome else ""


@dataclass(frozen=True)
class Row:
    """An alert and what it came to."""

    alert: Alert
    outcome: Outcome | None

    @property
    def delay_seconds(self) -> int | None:
        """From the start of the harm to the alert."""
        if self.outcome is None or self.outcome.began is None or self.outcome.false_alarm:
            return None
        return max(int((self.alert.fired_at - self.outcome.began).total_seconds()), 0)


@dataclass(frozen=True)
class Worth:
    """A rule's alerts, newest first, and what they add up to."""

    rows: list[Row]

    @property
    def judged(self) -> list[Row]:
        return [row for row in self.rows if row.outcome is not None and row.outcome.false_alarm is not None]

    @property
    def false_alarms(self) -> int:
        return sum(bool(row.outcome and row.outcome.false_alarm) for row in self.judged)

    @property
    def delay(self) -> float | None:
        """The median of the delays, in seconds; None without any."""
        known = [row.delay_seconds for row in self.rows if row.delay_seconds is not None]
        return median(known) if known else None

    @property
    def sentence(self) -> str:
        """For the rule's page."""
        if not self.rows:
            return gettext("It has raised no alert yet.")
        count = len(self.rows)
        raised = ngettext("It has raised %(count)s alert.", "It has raised %(count)s alerts.", count)
        if count == MOST:
            raised = gettext("It has raised %(count)s alerts lately.")
        parts = [raised % {"count": f"{count:,}"}]
        if self.delay is not None:
            came = ngettext(
                "It came within %(length)s of the start of the harm.",
                "Half of them came within %(length)s of the start of the harm.",
                count,
            )
            parts.append(came % {"length": length(int(self.delay))})
        judged = len(self.judged)
        if judged:
            parts.append(
                gettext("Of %(judged)s that were judged, %(false_alarms)s were false alarms.")
                % {"judged": judged, "false_alarms": self.false_alarms}
            )
        else:
            parts.append(gettext("None has been judged in a review yet, so how many were false alarms is not known."))
        return " ".join(parts)


def of(rule: AlertRule | Rule) -> Worth:
    """The worth of a rule over metrics, or of a detector's."""
    by = {"alert_rule": rule} if isinstance(rule, AlertRule) else {"rule": rule}
    alerts = list(Alert.objects.filter(**by).select_related("host").order_by("-fired_at", "-pk")[:MOST])
    known = outcomes(alert.pk for alert in alerts)
    return Worth([Row(alert, known.get(alert.pk)) for alert in alerts])
