"""The verbs of snapshots: the only place that writes to their table."""

import datetime

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from registry import store
from registry.errors import RegistryError
from registry.intact import read_whole
from registry.models import Endpoint
from registry.snapshots.content import described, digest_of, files_of, needed_files
from registry.snapshots.models import Reason, Snapshot

AGAIN = datetime.timedelta(minutes=5)


@transaction.atomic
def take(*, endpoint: Endpoint, reason: str, actor: Actor, change_ref: str = "") -> Snapshot:
    """Write down what the endpoint is. A worker then reads its files from the store (`verify`)."""
    content = described(endpoint)
    snapshot = Snapshot.objects.create(
        endpoint=endpoint,
        reason=reason,
        change_ref=change_ref,
        taken_by=actor.id,
        content=content,
        digest=digest_of(content),
    )
    about = {"endpoint": endpoint.slug, "reason": reason, "digest": snapshot.digest, "change": change_ref}
    record(action="snapshot.take", target=target_of(snapshot), actor=actor, data=about)
    snapshot.refresh_from_db(fields=["taken_at"])
    return snapshot


@transaction.atomic
def take_scheduled(*, endpoint_id: int) -> Snapshot | None:
    """Take one where none was taken for LASTGOOD_SNAPSHOT_HOURS, whatever its reason; None where one was."""
    endpoint = Endpoint.objects.select_for_update(of=("self",)).select_related("model", "fallback").get(pk=endpoint_id)
    since = database_now() - datetime.timedelta(hours=settings.LASTGOOD_SNAPSHOT_HOURS)
    if not settings.LASTGOOD_SNAPSHOT_HOURS or endpoint.snapshots.filter(taken_at__gt=since).exists():
        return None
    return take(endpoint=endpoint, reason=Reason.SCHEDULED, actor=service_actor("snapshots"))


def verify(*, snapshot_id: int) -> Snapshot | None:
    """Look for every file that the snapshot names in the store, and read those by which the endpoint could be put back
    against their digests. None where that is done, or where the store does not answer: then it is tried again."""
    snapshot = Snapshot.objects.select_related("endpoint").filter(pk=snapshot_id, verified_at=None).first()
    if snapshot is None or not _claimed(snapshot):
        return None
    try:
        read = needed_files(snapshot.content)
        found = {sha256: _state(sha256, sha256 in read) for sha256 in sorted(files_of(snapshot.content))}
    except store.ArtifactUnavailable:
        return None
    with transaction.atomic():
        if not Snapshot.objects.filter(pk=snapshot.pk, verified_at=None).update(files=found, verified_at=Now()):
            return None
        snapshot.refresh_from_db(fields=["files", "verified_at"])
        record(
            action="snapshot.verify",
            target=target_of(snapshot),
            actor=service_actor("snapshots"),
            outcome="failed" if snapshot.damage else "success",
            data={"endpoint": snapshot.endpoint.slug, "files": len(found), "lacking": snapshot.damage[:100]},
        )
    return snapshot


def _claimed(snapshot: Snapshot) -> bool:
    """Whether this worker is the one that reads now: the next may try in a while."""
    due = Snapshot.objects.filter(pk=snapshot.pk, verified_at=None, verify_due_at=snapshot.verify_due_at)
    return bool(due.update(verify_due_at=Now() + AGAIN))


def _state(sha256: str, read: bool) -> str:
    if not read:
        return "there" if store.holds(sha256) else "missing"
    try:
        read_whole(sha256)
        return "whole"
    except store.ArtifactMissing:
        return "missing"
    except store.ArtifactDamaged:
        return "damaged"


@transaction.atomic
def keep(*, snapshot: Snapshot, reason: str, actor: Actor) -> None:
    """Let retention leave the snapshot, and the files by which the endpoint could be put back, alone; or, without a
    reason, no longer. Raises RegistryError when that is so already."""
    reason = reason.strip()[:300]
    asked = Snapshot.objects.filter(pk=snapshot.pk)
    changed = asked.filter(kept_reason="") if reason else asked.exclude(kept_reason="")
    if not changed.update(kept_reason=reason):
        raise RegistryError(
            gettext("The snapshot is kept already.") if reason else gettext("The snapshot is not kept by anybody.")
        )
    snapshot.kept_reason = reason
    about = {"endpoint": snapshot.endpoint.slug, "kept": bool(reason)}
    record(action="snapshot.keep", target=target_of(snapshot), actor=actor, reason=reason, data=about)


def target_of(snapshot: Snapshot) -> Target:
    return Target("snapshot", str(snapshot.pk), snapshot.digest)
