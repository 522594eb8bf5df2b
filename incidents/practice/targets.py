"""Where an endpoint would be rolled back to, before anything has gone wrong."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Max
from django.utils.translation import gettext

from registry.models import Alias, Deployment, Endpoint, Version


@dataclass(frozen=True)
class Aim:
    """What an endpoint serves on most hosts, and the version that a rollback would go to; `why` it, or why there is
    none, in a sentence."""

    live: Version | None
    version: Version | None
    why: str


def target_of(endpoint: Endpoint) -> Aim:
    return targets_of([endpoint])[endpoint.pk]


def targets_of(endpoints: Sequence[Endpoint]) -> dict[int, Aim]:
    """The aim of each endpoint, by its key, in four queries: its model's last-good; else what it falls back on; else
    the last version that it served before and that has soaked. Never one in quarantine."""
    keys = [endpoint.pk for endpoint in endpoints]
    live: dict[int, Counter[int]] = {key: Counter() for key in keys}
    for key, version in Deployment.objects.filter(endpoint__in=keys, until=None).values_list("endpoint", "version"):
        live[key][version] += 1
    named = Alias.objects.filter(name=Alias.LAST_GOOD, model__in=[endpoint.model_id for endpoint in endpoints])
    last_good = dict(named.values_list("model_id", "version_id"))
    served = Deployment.objects.filter(endpoint__in=keys, version__soaked_at__isnull=False)
    before: dict[int, list[int]] = {key: [] for key in keys}
    for key, version, _ in served.values_list("endpoint", "version").annotate(last=Max("since")).order_by("-last"):
        before[key].append(version)
    wanted = {*last_good.values(), *(key for counted in live.values() for key in counted)}
    wanted |= {key for keys in before.values() for key in keys} | {one.fallback_id for one in endpoints}
    versions = Version.objects.select_related("model").defer("manifest", "documentation").in_bulk(wanted - {None})
    found = {}
    for endpoint in endpoints:
        serves = versions[live[endpoint.pk].most_common(1)[0][0]] if live[endpoint.pk] else None
        others = [
            (last_good.get(endpoint.model_id), gettext("It is the last version that was good in production.")),
            (endpoint.fallback_id, gettext("It is what the endpoint falls back on.")),
            *((key, gettext("It was served here before and had soaked.")) for key in before[endpoint.pk]),
        ]
        found[endpoint.pk] = _aim(serves, [(versions[key], why) for key, why in others if key in versions])
    return found


def _aim(live: Version | None, others: Sequence[tuple[Version, str]]) -> Aim:
    if live is None:
        return Aim(None, None, gettext("Nothing is served yet."))
    for version, why in others:
        if version.pk != live.pk and version.quarantined_at is None:
            return Aim(live, version, why)
    if any(version.quarantined_at is not None for version, _ in others):
        return Aim(live, None, gettext("What it could go back to is quarantined."))
    return Aim(live, None, gettext("No other version has been good in production, so there is nothing to go back to."))
