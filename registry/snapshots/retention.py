"""Removing what the rule of age and count lets go, and nothing that is needed: old snapshots, and files of models.

Of a version whose files went, the row, its manifest and the record stay: it can't be deployed until they are uploaded
again, under the same digests.
"""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from audit import holds
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from registry import store
from registry.models import Artifact, Version, VersionFile
from registry.snapshots.actions import target_of
from registry.snapshots.models import Snapshot, Sweep
from registry.snapshots.needs import Needs, needed_artifacts, needs

AT_WORK = datetime.timedelta(minutes=30)
"""After it a sweep that has not ended is taken up by another worker."""
DEAD = datetime.timedelta(days=2)
"""After it a half-written file, to which nobody has added meanwhile, is one of a process that has died."""
WORKER = service_actor("retention")


@dataclass(frozen=True)
class Going:
    """A file that the rule lets go: SHA-256, bytes, and of which versions it is, in words."""

    sha256: str
    size: int
    what: str


def old_snapshots(found: Needs, now: datetime.datetime) -> list[Snapshot]:
    """Snapshots beyond LASTGOOD_SNAPSHOTS_DAYS that are not among the newest LASTGOOD_SNAPSHOTS_COUNT of their
    endpoint, that nobody keeps, and of whose model nothing is held or worked on. Oldest first."""
    if not settings.LASTGOOD_SNAPSHOTS_DAYS:
        return []
    since = now - datetime.timedelta(days=settings.LASTGOOD_SNAPSHOTS_DAYS)
    going, counted = [], dict[int, int]()
    for snapshot in Snapshot.objects.select_related("endpoint").order_by("-taken_at", "-pk").defer("files"):
        counted[snapshot.endpoint_id] = counted.get(snapshot.endpoint_id, 0) + 1
        beyond = counted[snapshot.endpoint_id] > settings.LASTGOOD_SNAPSHOTS_COUNT and snapshot.taken_at < since
        if beyond and not snapshot.kept_reason and snapshot.endpoint.model_id not in found.models:
            going.append(snapshot)
    return going[::-1]


def going_files(found: Needs, now: datetime.datetime) -> Iterator[Going]:
    """Files in the store that nothing needs, and that have lain there longer than LASTGOOD_ARTIFACTS_DAYS. Raises
    ArtifactUnavailable."""
    if not settings.LASTGOOD_ARTIFACTS_DAYS:
        return
    needed, named = needed_artifacts(found), owners()
    for sha256, size, old in files_by_age(settings.LASTGOOD_ARTIFACTS_DAYS, now):
        if old and sha256 not in needed:
            yield Going(sha256, size, named(sha256))


def files_by_age(days: int, now: datetime.datetime) -> Iterator[tuple[str, int, bool]]:
    """SHA-256 and bytes of each file in the store, and whether it has lain there for longer than `days`; for 0, which
    is no rule, never. Raises ArtifactUnavailable."""
    oldest = (now - datetime.timedelta(days=days)).timestamp() if days else 0.0
    for sha256, size, changed in store.place().names():
        yield sha256, size, changed < oldest


def sweep(*, actor: Actor = WORKER) -> tuple[int, int, int]:
    """Remove what the rule lets go now: (snapshots, files, bytes) that went. Each is looked at again, and is on record,
    before it goes. Raises ArtifactUnavailable where the store does not answer."""
    now = database_now()
    snapshots = sum(_drop(snapshot.pk, actor) for snapshot in old_snapshots(needs(now), now))
    files = size = 0
    for going in list(going_files(needs(now), now)):
        if _let_go(going, actor):
            store.remove(going.sha256)
            files, size = files + 1, size + going.size
    return snapshots, files, size


def sweep_of(day: str) -> None:
    """The day's sweep, once: where another worker is at it, or it is done, nothing happens."""
    try:
        with transaction.atomic():
            Sweep.objects.create(day=datetime.date.fromisoformat(day), due_at=Now() + AT_WORK)
    except IntegrityError:
        again = Sweep.objects.filter(day=day, ended_at=None, due_at__lte=Now())
        if not again.update(due_at=Now() + AT_WORK):
            return
    store.drop_drafts((database_now() - DEAD).timestamp())
    snapshots, files, size = sweep()
    Sweep.objects.filter(day=day, ended_at=None).update(
        ended_at=Now(), snapshots=F("snapshots") + snapshots, files=F("files") + files, bytes=F("bytes") + size
    )


def due_sweeps(now: datetime.datetime) -> list[str]:
    """Today, where its sweep has not been begun or has been left."""
    if not settings.LASTGOOD_ARTIFACTS_DAYS and not settings.LASTGOOD_SNAPSHOTS_DAYS:
        return []
    at_rest = Sweep.objects.filter(Q(ended_at__isnull=False) | Q(due_at__gt=now), day=now.date())
    return [] if at_rest.exists() else [now.date().isoformat()]


@transaction.atomic
def _drop(key: int, actor: Actor) -> bool:
    holds.settle()
    snapshot = Snapshot.objects.select_for_update(of=("self",)).select_related("endpoint").filter(pk=key).first()
    now = database_now()
    if snapshot is None or snapshot not in old_snapshots(needs(now), now):
        return False
    about = {"endpoint": snapshot.endpoint.slug, "taken_at": snapshot.taken_at, "digest": snapshot.digest}
    record(action="snapshot.remove", target=target_of(snapshot), actor=actor, data=about)
    snapshot.delete()
    return True


@transaction.atomic
def _let_go(going: Going, actor: Actor) -> bool:
    """Whether nothing needs the file still, which goes on record. It and its versions are locked: who is about to name
    one of them in a plan or a placement has done so, and is seen, or does so when this is over."""
    holds.settle()
    list(Artifact.objects.select_for_update().filter(pk=going.sha256))
    list(_versions(going.sha256).select_for_update(of=("self",)).order_by("pk").values_list("pk", flat=True))
    if going.sha256 in needed_artifacts(needs(database_now())):
        return False
    about = {"size": going.size, "of": going.what}
    record(action="artifact.remove", target=Target("artifact", going.sha256), actor=actor, data=about)
    return True


def _versions(sha256: str) -> QuerySet[Version]:
    keys = Q(files__artifact=sha256) | Q(profile=sha256) | Q(golden=sha256) | Q(holdout=sha256)
    return Version.objects.filter(pk__in=Version.objects.filter(keys).values("pk"))


def owners() -> Callable[[str], str]:
    """A function that says of which versions a file is, in words; asked for all files, in a few queries."""
    numbers: dict[int, str] = {}
    named: dict[str, list[str]] = {}
    extras = ("profile", "golden", "holdout")
    rows = Version.objects.order_by("pk").values_list("pk", "model__slug", "number", *extras)
    for key, slug, number, *files in rows:
        numbers[key] = f"{slug} {number}"
        for sha256 in {one for one in files if one}:
            named.setdefault(sha256, []).append(numbers[key])
    for key, sha256 in VersionFile.objects.order_by("version").values_list("version", "artifact").distinct():
        named.setdefault(sha256, []).append(numbers[key])
    registered = set(Artifact.objects.values_list("pk", flat=True))

    def told(sha256: str) -> str:
        if sha256 in named:
            return ", ".join(named[sha256][:5])
        return "no version" if sha256 in registered else "nothing that is registered"

    return told
