"""When something was known to be wrong at an endpoint, whoever said so: what a rule fires at then is no false alarm."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from monitoring.models import Alert
from monitoring.rules import worth
from monitoring.rules.models import AlertRule
from registry.models import Endpoint


@dataclass(frozen=True)
class Trouble:
    """An incident: from when to when (None: it lasts), the alerts in it, and whether it was judged a false alarm (None:
    not judged yet)."""

    began: datetime
    ended: datetime | None
    alerts: frozenset[int]
    false_alarm: bool | None


Provider = Callable[[Endpoint, datetime, datetime], Iterable[Trouble]]
_providers: list[Provider] = []


def register(provider: Provider) -> None:
    """Have `provider(endpoint, since, until)` asked for the incidents that touch the span."""
    if provider not in _providers:
        _providers.append(provider)


@dataclass(frozen=True)
class Troubles:
    """Spans (from, to; None: it lasts) in which something was known to be wrong; and how many incidents only the rule's
    own alerts say anything of, which nobody has judged."""

    spans: list[tuple[datetime, datetime | None]]
    unjudged: int

    def touches(self, at: datetime) -> bool:
        """Whether something was known to be wrong at that moment."""
        return any(began <= at and (ended is None or at <= ended) for began, ended in self.spans)


def troubles(endpoint: Endpoint, since: datetime, until: datetime, *, rule: AlertRule | None = None) -> Troubles:
    """What was known to be wrong at the endpoint, by others than the rule where one is given: other alerts, and
    incidents that are not its own alone or that a review found right. What was judged a false alarm does not count."""
    touching = Q(ended_at=None) | Q(ended_at__gt=since)
    alerts = list(Alert.objects.filter(touching, endpoint=endpoint, started_at__lt=until))
    own = set(Alert.objects.filter(alert_rule=rule.pk).values_list("pk", flat=True)) if rule and rule.pk else set()
    known = worth.outcomes(alert.pk for alert in alerts if alert.pk not in own)
    wrong = {key for key, outcome in known.items() if outcome.false_alarm}
    spans = [(alert.started_at, alert.ended_at) for alert in alerts if alert.pk not in own | wrong]
    unjudged = 0
    for one in (one for provider in _providers for one in provider(endpoint, since, until)):
        if one.false_alarm:
            continue
        if one.false_alarm is None and one.alerts and one.alerts <= own:
            unjudged += 1
        else:
            spans.append((one.began, one.ended))
    return Troubles(spans, unjudged)
