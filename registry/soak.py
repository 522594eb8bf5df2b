"""When a version becomes last-good: it has been live on every host for the endpoint's soak time, and nobody objects."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max

from audit.actions import service_actor
from registry.actions import mark_soaked
from registry.models import Alias, Deployment, Endpoint, Environment, Health, Placement, Version

Objection = Callable[[Endpoint, Version, datetime], str]
_objections: list[Objection] = []


def register_objection(objection: Objection) -> None:
    """A floor above says why a version must not become last-good: a sentence, or "" when it has nothing against it.

    It is called with the endpoint, the version, and since when the version has been live there.
    """
    if objection not in _objections:
        _objections.append(objection)


@dataclass(frozen=True)
class Soaked:
    """A version that has been live on all hosts of an endpoint for long enough, and since when."""

    endpoint: Endpoint
    version: Version
    since: datetime


def soaked(now: datetime) -> list[Soaked]:
    """The production endpoints whose live version has soaked and is not their model's last-good yet."""
    live = (
        Deployment.objects.filter(until=None, endpoint__environment=Environment.PRODUCTION, host__drained_at=None)
        .values("endpoint", "endpoint__model", "endpoint__soak_seconds")
        .annotate(hosts=Count("host"), versions=Count("version", distinct=True), last=Max("since"), one=Max("version"))
        .order_by("endpoint")
    )
    ripe = {
        row["endpoint"]: row
        for row in live
        if row["versions"] == 1 and row["last"] + timedelta(seconds=row["endpoint__soak_seconds"]) <= now
    }
    named = {alias.model_id: alias for alias in Alias.objects.filter(name=Alias.LAST_GOOD)} if ripe else {}
    ripe = {pk: row for pk, row in ripe.items() if not _named_since(row, named.get(row["endpoint__model"]))}
    if not ripe:
        return []
    versions = Version.objects.select_related("model").in_bulk({row["one"] for row in ripe.values()})
    return [
        Soaked(endpoint, versions[ripe[endpoint.pk]["one"]], ripe[endpoint.pk]["last"])
        for endpoint in Endpoint.objects.filter(pk__in=ripe).select_related("model")
        if _serves_everywhere(endpoint, ripe[endpoint.pk]["hosts"])
    ]


def _named_since(row: Mapping[str, Any], last_good: Alias | None) -> bool:
    """Whether this version is its model's last-good, or another was named so after this one had soaked: of two
    endpoints with different versions one has the name, which does not go to and fro."""
    if last_good is None:
        return False
    soaked_at = row["last"] + timedelta(seconds=row["endpoint__soak_seconds"])
    return bool(last_good.version_id == row["one"] or last_good.moved_at >= soaked_at)


def _serves_everywhere(endpoint: Endpoint, hosts: int) -> bool:
    health = Placement.objects.filter(endpoint=endpoint, host__drained_at=None).values_list("health", flat=True)
    return len(health) == hosts and set(health) == {Health.SERVING}


def objection_to(found: Soaked) -> str:
    """The first sentence against it, "" when there is none."""
    if found.version.quarantined_at is not None:
        return f"Version {found.version.number} is quarantined."
    said = (objection(found.endpoint, found.version, found.since) for objection in _objections)
    return next((sentence for sentence in said if sentence), "")


def soak(*, endpoint_id: int, now: datetime) -> Version | None:
    """Name the soaked version of the endpoint last-good where nothing speaks against it; None when that is not so."""
    for found in soaked(now):
        if found.endpoint.pk == endpoint_id and not objection_to(found):
            mark_soaked(version=found.version, endpoint=found.endpoint, actor=service_actor("soak"))
            return found.version
    return None
