"""Reading rules, and what they would have made of the alerts that came."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext, ngettext

from incidents.grouping import deciding, placing
from incidents.grouping.deciding import Gathered, Seen
from incidents.grouping.models import GroupingRule
from monitoring.models import Alert

MOST_ALERTS = 1000


@dataclass(frozen=True)
class Preview:
    """What rules would have made of the last `alerts`: how many matched the rule in question, its incidents, its alerts
    that would have waited for more, and the number of incidents of all rules with it and without it."""

    alerts: int
    matched: int
    incidents: list[Gathered]
    waiting: list[Gathered]
    with_it: int
    without_it: int

    @property
    def sentence(self) -> str:
        values = {
            "alerts": alerts_in_words(self.alerts),
            "matched": self.matched,
            "made": incidents_in_words(len(self.incidents)),
            "waited": alerts_in_words(sum(len(one.alerts) for one in self.waiting)),
            "with_it": incidents_in_words(self.with_it),
            "without_it": f"{self.without_it:,}",
        }
        if self.waiting:
            return (
                gettext(
                    "Of the last %(alerts)s this rule matches %(matched)s: they would have made %(made)s, %(waited)s "
                    "would have waited. All alerts together would have made %(with_it)s with it and %(without_it)s "
                    "without it."
                )
                % values
            )
        return (
            gettext(
                "Of the last %(alerts)s this rule matches %(matched)s: they would have made %(made)s. All alerts "
                "together would have made %(with_it)s with it and %(without_it)s without it."
            )
            % values
        )


def alerts_in_words(count: int) -> str:
    return ngettext("%(n)s alert", "%(n)s alerts", count) % {"n": f"{count:,}"}


def incidents_in_words(count: int) -> str:
    return ngettext("%(n)s incident", "%(n)s incidents", count) % {"n": f"{count:,}"}


def last_alerts(count: int) -> list[Seen]:
    """The last alerts that were not held back, oldest first."""
    rows = Alert.objects.select_related("endpoint__model", "host", "rule", "alert_rule", "delivery").defer(
        "delivery__body"
    )
    newest = rows.filter(suppressed_by="").order_by("-fired_at", "-pk")[: min(count, MOST_ALERTS)]
    return [
        Seen(
            labels=placing.facts(alert),
            default=placing.default_key(alert),
            fired_at=alert.fired_at,
            ended_at=alert.ended_at,
            severity=alert.severity,
            summary=alert.summary,
        )
        for alert in reversed(newest)
    ]


def preview(rule: GroupingRule, *, count: int = 200) -> Preview:
    """What the rule, saved or not, would have made of the last alerts beside the other rules; one that is not saved is
    asked last."""
    alerts, live = last_alerts(count), placing.live_rules()
    others = [one for one in live if one.pk != rule.pk]
    at = next((place for place, one in enumerate(live) if one.pk == rule.pk), len(others))
    found = deciding.gathered(alerts, [*others[:at], rule, *others[at:]])
    own = [one for one in found if one.rule is rule]
    return Preview(
        alerts=len(alerts),
        matched=sum(len(one.alerts) for one in own),
        incidents=[one for one in own if one.opened_at is not None],
        waiting=[one for one in own if one.opened_at is None],
        with_it=_opened(found),
        without_it=_opened(deciding.gathered(alerts, others)),
    )


def _opened(found: Sequence[Gathered]) -> int:
    return sum(one.opened_at is not None for one in found)
