"""What may not be removed: versions, models and files that something still needs, each with the reason in words."""

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext

from audit import holds
from registry.models import (
    Alias,
    ComparisonState,
    Composition,
    CompositionState,
    Deployment,
    Endpoint,
    Model,
    Placement,
    TensorComparison,
    Version,
    VersionFile,
)
from registry.snapshots.content import needed_files
from registry.snapshots.models import Snapshot


@dataclass
class Needs:
    """Key of a version, key of a model (then all of its versions and snapshots), or SHA-256 -> why it is needed."""

    versions: dict[int, str] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def version(self, key: int | None, why: str) -> None:
        if key is not None:
            self.versions.setdefault(key, why)

    def model(self, key: int, why: str) -> None:
        self.models.setdefault(key, why)


Needing = Callable[[Needs], None]
_needing: list[Needing] = []


def register(needing: Needing) -> None:
    """Tell what a floor above needs; for ``AppConfig.ready``. It adds to the needs that it is given."""
    if needing not in _needing:
        _needing.append(needing)


def needs(now: datetime.datetime, days: int | None = None) -> Needs:
    """Everything that is needed at `now`, the database's clock; `days` instead of LASTGOOD_ARTIFACTS_DAYS."""
    found = Needs()
    young = datetime.timedelta(days=settings.LASTGOOD_ARTIFACTS_DAYS if days is None else days)
    _named(found)
    _served(found, now, young)
    _at_work(found)
    _young(found, now, young)
    for hold in holds.active().filter(kind="model"):
        for key in Model.objects.filter(slug=hold.ref).values_list("pk", flat=True):
            found.model(key, gettext("a legal hold on the model %(ref)s") % {"ref": hold.ref})
    for needing in _needing:
        needing(found)
    for snapshot in Snapshot.objects.select_related("endpoint").iterator():
        for sha256 in needed_files(snapshot.content):
            found.files.setdefault(
                sha256,
                gettext("the snapshot of %(endpoint)s of %(taken_at)s")
                % {"endpoint": snapshot.endpoint.slug, "taken_at": f"{snapshot.taken_at:%Y-%m-%d}"},
            )
    return found


def needed_artifacts(found: Needs) -> dict[str, str]:
    """SHA-256 -> why, of every file that the needs come to."""
    files = dict(found.files)
    wanted = Q(pk__in=list(found.versions)) | Q(model__in=list(found.models))
    versions = {version.pk: version for version in Version.objects.filter(wanted).defer("manifest")}
    why = {
        key: found.versions.get(key) or found.models[version.model_id] for key, version in versions.items()
    }  # fmt: skip
    for key, version in versions.items():
        for extra in (version.profile_id, version.golden_id, version.holdout_id):
            if extra is not None:
                files.setdefault(extra, why[key])
    for key, sha256 in VersionFile.objects.filter(version__in=list(versions)).values_list("version", "artifact"):
        files.setdefault(sha256, why[key])
    return files


def _named(found: Needs) -> None:
    for alias in Alias.objects.select_related("model"):
        found.version(
            alias.version_id, gettext("it is %(alias)s of %(model)s") % {"alias": alias.name, "model": alias.model.slug}
        )
    for endpoint in Endpoint.objects.filter(fallback__isnull=False):
        found.version(endpoint.fallback_id, gettext("%(endpoint)s falls back on it") % {"endpoint": endpoint.slug})


def _served(found: Needs, now: datetime.datetime, young: datetime.timedelta) -> None:
    """What is live, wanted or seen on a host, and what was live there within the undo window or the rule's days."""
    for row in Placement.objects.select_related("endpoint", "host"):
        found.version(
            row.desired_id,
            gettext("it should serve %(endpoint)s on %(host)s")
            % {"endpoint": row.endpoint.slug, "host": row.host.name},
        )
    seen = Placement.objects.exclude(observed_digest="").values_list("observed_digest", flat=True)
    for key in Version.objects.filter(digest__in=list(seen)).values_list("pk", flat=True):
        found.version(key, gettext("a host was seen with it in memory"))
    for deployed in Deployment.objects.filter(Q(until=None) | Q(until__gt=now - _longest(young))).select_related(
        "endpoint"
    ):
        lately = now - max(young, datetime.timedelta(seconds=deployed.endpoint.undo_seconds))
        if deployed.until is None or deployed.until > lately:
            found.version(
                deployed.version_id,
                gettext("it is or was lately live on %(endpoint)s") % {"endpoint": deployed.endpoint.slug},
            )


def _at_work(found: Needs) -> None:
    for made in Composition.objects.filter(state=CompositionState.WAITING):
        for key in (made.base_id, made.other_id):
            found.version(key, gettext("a version is being composed of it"))
    for compared in TensorComparison.objects.filter(state=ComparisonState.WAITING):
        for key in (compared.left_id, compared.right_id):
            found.version(key, gettext("it is being compared"))


def _young(found: Needs, now: datetime.datetime, young: datetime.timedelta) -> None:
    """The newest of each model by count, and all that were registered within the rule's days."""
    counted: dict[int, int] = {}
    for key, model, made in Version.objects.order_by("model", "-number").values_list("pk", "model", "created_at"):
        counted[model] = counted.get(model, 0) + 1
        if counted[model] <= settings.LASTGOOD_ARTIFACTS_VERSIONS:
            found.version(
                key,
                gettext("it is one of the newest %(most)s of its model")
                % {"most": settings.LASTGOOD_ARTIFACTS_VERSIONS},
            )
        elif made > now - young:
            found.version(key, gettext("it is younger than %(days)s days") % {"days": young.days})


def _longest(young: datetime.timedelta) -> datetime.timedelta:
    """Beyond it no deployment is looked at: the longest undo window of all, or the rule's days."""
    longest = max([0, *Endpoint.objects.values_list("undo_seconds", flat=True)])
    return max(young, datetime.timedelta(seconds=longest))
