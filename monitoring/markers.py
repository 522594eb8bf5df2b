"""What happened to an endpoint, to be marked on its charts. Floors above bring theirs by registering a provider."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext, ngettext

from monitoring.models import Alert
from registry.models import Deployment, Endpoint

MOST_ALERTS = 20
ROLLBACK_CAUSES = ("rollback", "compensate")


@dataclass(frozen=True)
class Marker:
    """Something that happened at `at`; `kind` is deployment, rollback, incident or alert, `label` a few words."""

    at: datetime
    label: str
    kind: str


Provider = Callable[[Endpoint, datetime, datetime], Iterable[Marker]]
_providers: list[Provider] = []


def register(provider: Provider) -> None:
    """Have `provider(endpoint, since, until)` asked for its markers whenever a chart is drawn."""
    if provider not in _providers:
        _providers.append(provider)


def markers(endpoint: Endpoint, since: datetime, until: datetime) -> list[Marker]:
    """Everything to be marked between the two times, oldest first: deployments, alerts, what the providers bring."""
    found = [*_deployments(endpoint, since, until), *_alerts(endpoint, since, until)]
    for provider in _providers:
        found += provider(endpoint, since, until)
    return sorted(found, key=lambda marker: (marker.at, marker.label))


def _deployments(endpoint: Endpoint, since: datetime, until: datetime) -> Iterable[Marker]:
    """One marker for all hosts of a run, at the first host's switch."""
    rows = Deployment.objects.filter(endpoint=endpoint, since__gte=since, since__lte=until)
    first: dict[tuple[object, str], Deployment] = {}
    for row in rows.select_related("version").order_by("since", "id"):
        first.setdefault((row.version_id, row.run_ref or f"{row.since:%Y-%m-%d %H:%M}"), row)
    for row in first.values():
        back = row.cause in ROLLBACK_CAUSES
        label = (
            gettext("rollback to v%(row)s") % {"row": row.version.number}
            if back
            else gettext("v%(row)s deployed") % {"row": row.version.number}
        )
        yield Marker(row.since, label, "rollback" if back else "deployment")


def _alerts(endpoint: Endpoint, since: datetime, until: datetime) -> Iterable[Marker]:
    """When alerts about the endpoint began to fire, the newest few of many; those of one minute as one marker."""
    rows = Alert.objects.filter(endpoint=endpoint, fired_at__gte=since, fired_at__lte=until).select_related("rule")
    named: dict[datetime, set[str]] = defaultdict(set)
    first: dict[datetime, datetime] = {}
    for row in rows.order_by("-fired_at")[:MOST_ALERTS]:
        minute = row.fired_at.replace(second=0, microsecond=0)
        named[minute].add(row.rule.kind.replace("_", " ") if row.rule else row.source)
        first[minute] = row.fired_at
    for minute, names in named.items():
        label = ngettext("alert: %(names)s", "alerts: %(names)s", len(names)) % {"names": ", ".join(sorted(names))}
        yield Marker(first[minute], label, "alert")
