"""What the clock must wake on this floor: observations, golden probes, soaks."""

from datetime import datetime

from audit.due import Due
from registry.models import Alias, Endpoint, Placement
from registry.soak import objection_to, soaked_version


def observations(now: datetime) -> list[int]:
    return list(Placement.objects.filter(observe_due_at__lte=now).values_list("pk", flat=True)[:500])


def golden_probes(now: datetime) -> list[int]:
    found = Placement.objects.filter(golden_due_at__lte=now, desired__isnull=False)
    return list(found.values_list("pk", flat=True)[:500])


def soaked(now: datetime) -> list[int]:
    """Endpoints whose live version has soaked and is not named last-good yet."""
    due = []
    for endpoint in Endpoint.objects.filter(environment="production", deployments__until=None).distinct():
        found = soaked_version(endpoint, now)
        if found is None:
            continue
        version, since = found
        named = Alias.objects.filter(model=endpoint.model_id, name=Alias.LAST_GOOD, version=version).exists()
        if (not named or version.soaked_at is None) and not objection_to(endpoint, version, since):
            due.append(endpoint.pk)
    return due


SOURCES = [
    Due(task="registry.observe", queue="intake", ids=observations),
    Due(task="registry.golden_probe", queue="intake", ids=golden_probes),
    Due(task="registry.soak", queue="intake", ids=soaked),
]
