"""Whether the store still has files as their names promise: by name, size and times, and, now and then, by every byte.

Whoever takes a file from the store checks its digest: hosts while it comes, drivers of other engines after they copied
it. So a plan's preflight need not read again what was read lately and has not changed since.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.utils.translation import gettext, ngettext

from audit.clock import database_now
from registry import store
from registry.models import Artifact


@dataclass(frozen=True)
class Looked:
    """What a look at `files` files found: `read` of them were read against their digests by it; of the others the one
    that was read longest ago was read at `since`, None where one never was. `damage` names the first that is missing or
    not what its name says, "" for none."""

    files: int
    read: int = 0
    since: datetime | None = None
    damage: str = ""

    @property
    def sentence(self) -> str:
        """What was checked, and when."""
        if self.damage:
            return self.damage
        if not self.files:
            return gettext("no files of its own")
        whole = ngettext("%(count)s file", "%(count)s files", self.files) % {"count": self.files}
        if self.read == self.files:
            return gettext("%(whole)s, read against their digests now") % {"whole": whole}
        told = {"whole": whole, "read": self.read, "since": f"{self.since:%Y-%m-%d %H:%M}" if self.since else ""}
        if not self.since:
            return gettext("%(whole)s, there and of the right size; not all were read against their digests yet") % told
        if self.read:
            said = gettext(
                "%(whole)s, there and of the right size; %(read)s read against their digests now, the others since "
                "%(since)s UTC"
            )
            return said % told
        return gettext("%(whole)s, there and of the right size; read against their digests since %(since)s UTC") % told


def fresh_since() -> datetime:
    """What was read before that is to be read again."""
    return database_now() - timedelta(days=settings.LASTGOOD_ARTIFACTS_CHECK_DAYS)


def look(digests: Iterable[str], *, unread_since: datetime | None) -> Looked:
    """Look for each file in the store by its name and size, and read those of which the last reading is older than
    `unread_since` or than the file's own time; None reads nothing."""
    rows = list(Artifact.objects.filter(pk__in=list(digests)).order_by("pk"))
    read, since = 0, [row.read_at for row in rows]
    for position, row in enumerate(rows):
        try:
            if store.size_of(row.sha256) != row.size:
                return Looked(len(rows), damage=gettext("%(name)s is missing or cut short") % {"name": row})
            if unread_since is not None and _stale(row, unread_since):
                read_whole(row.sha256)
                read, since[position] = read + 1, None
        except (OSError, store.ArtifactDamaged) as error:
            return Looked(len(rows), damage=f"{row}: {error}")
    earlier = [found for found in since if found is not None]
    complete = len(earlier) + read == len(rows)
    return Looked(len(rows), read, min(earlier) if earlier and complete else None)


def _stale(row: Artifact, unread_since: datetime) -> bool:
    changed = store.changed_at(row.sha256)
    at = row.read_at
    return at is None or at < unread_since or (changed is not None and datetime.fromtimestamp(changed, UTC) > at)


def read_whole(sha256: str) -> None:
    """Read a file against its digest, and keep when that was. Raises as `store.open_verified` does; then it counts as
    not read."""
    asked = Artifact.objects.filter(pk=sha256)
    begun = database_now()
    try:
        with store.open_verified(sha256):
            pass
    except (store.ArtifactDamaged, store.ArtifactMissing):
        asked.update(read_at=None)
        raise
    asked.update(read_at=begun)
