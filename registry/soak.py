"""When a version becomes last-good: it has been live on every host for the endpoint's soak time, and nobody objects."""

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Count, Max

from audit.actions import service_actor
from registry.models import Alias, Deployment, Endpoint, Environment, Health, Version

Objection = Callable[[Endpoint, Version, datetime], str]
_objections: list[Objection] = []


def register_objection(objection: Objection) -> None:
    """A floor above says why a version must not become last-good: a sentence, or "" when it has nothing against it.

    It is called with the endpoint, the version, and since when the version has been live there.
    """
    if objection not in _objections:
        _objections.append(objection)


def soaked_version(endpoint: Endpoint, now: datetime) -> tuple[Version, datetime] | None:
    """The version that is live on all hosts of a production endpoint for long enough, and since when; else None."""
    if endpoint.environment != Environment.PRODUCTION:
        return None
    placements = endpoint.placements.filter(host__drained_at=None)
    live = Deployment.objects.filter(endpoint=endpoint, until=None)
    found = live.aggregate(hosts=Count("host"), versions=Count("version", distinct=True), since=Max("since"))
    if found["versions"] != 1 or found["hosts"] != placements.count():
        return None
    if now - found["since"] < timedelta(seconds=endpoint.soak_seconds):
        return None
    if placements.exclude(health=Health.SERVING).exists():
        return None
    return live.select_related("version__model").first().version, found["since"]


def objection_to(endpoint: Endpoint, version: Version, since: datetime) -> str:
    """The first sentence against it, "" when there is none."""
    if version.quarantined_at is not None:
        return f"Version {version.number} is quarantined."
    return next((said for objection in _objections if (said := objection(endpoint, version, since))), "")


def soak(*, endpoint_id: int, now: datetime) -> Version | None:
    """Name the soaked version last-good where nothing speaks against it."""
    from registry.actions import mark_soaked

    endpoint = Endpoint.objects.select_related("model").get(pk=endpoint_id)
    found = soaked_version(endpoint, now)
    if found is None:
        return None
    version, since = found
    named = Alias.objects.filter(model=endpoint.model, name=Alias.LAST_GOOD, version=version).exists()
    if (named and version.soaked_at) or objection_to(endpoint, version, since):
        return None
    mark_soaked(version=version, endpoint=endpoint, actor=service_actor("soak"))
    return version
