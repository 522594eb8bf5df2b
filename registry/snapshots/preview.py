"""What a sweep would remove now, or under another number of days, and why the rest stays. Nothing is changed."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q

from audit.clock import database_now
from registry.models import Version
from registry.snapshots.models import Snapshot
from registry.snapshots.needs import Needs, needed_artifacts, needs
from registry.snapshots.retention import Going, files_by_age, old_snapshots, owners

MOST_SHOWN = 200


@dataclass
class Pile:
    """A number of files, and their bytes."""

    files: int = 0
    size: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.size += size


@dataclass(frozen=True)
class Stays:
    """A version that is needed, and why."""

    version: Version
    why: str


@dataclass
class Preview:
    """`days` is the rule asked about, 0 for one that lets no file go. `shown` are the largest of the files that `going`
    counts; `young` lie in the store for less than the rule's days, and nothing needs them; `stays` are the versions
    that are needed, at most MOST_SHOWN of `staying`. `by_snapshots` counts the files that nothing else needs."""

    days: int
    at: datetime.datetime
    snapshots: list[Snapshot]
    going: Pile = field(default_factory=Pile)
    needed: Pile = field(default_factory=Pile)
    young: Pile = field(default_factory=Pile)
    shown: list[Going] = field(default_factory=list)
    stays: list[Stays] = field(default_factory=list)
    staying: int = 0
    by_snapshots: int = 0

    @property
    def more_files(self) -> int:
        return self.going.files - len(self.shown)

    @property
    def more_versions(self) -> int:
        return self.staying - len(self.stays)


def preview(days: int | None = None) -> Preview:
    """What would go now by the rule in force, or by one of `days` instead. Raises ArtifactUnavailable."""
    days = settings.LASTGOOD_ARTIFACTS_DAYS if days is None else days
    now = database_now()
    found = needs(now, days)
    seen = Preview(days, now, old_snapshots(found, now))
    needed = needed_artifacts(found)
    _files(seen, needed, now)
    _versions(seen, found)
    else_needed = needed_artifacts(Needs(found.versions, found.models))
    seen.by_snapshots = len(needed.keys() - else_needed.keys())
    return seen


def _files(seen: Preview, needed: Mapping[str, str], now: datetime.datetime) -> None:
    """Each file in the store as one that is needed, that is young, or that goes. Without a rule none goes."""
    named = owners()
    going = []
    for sha256, size, old in files_by_age(seen.days, now):
        pile = seen.needed if sha256 in needed else seen.going if old else seen.young
        pile.add(size)
        if pile is seen.going:
            going.append(Going(sha256, size, named(sha256)))
    seen.shown = sorted(going, key=lambda one: (-one.size, one.sha256))[:MOST_SHOWN]


def _versions(seen: Preview, found: Needs) -> None:
    wanted = Q(pk__in=list(found.versions)) | Q(model__in=list(found.models))
    rows = Version.objects.filter(wanted).select_related("model").defer("manifest").order_by("model__slug", "-number")
    seen.staying = rows.count()
    seen.stays = [
        Stays(version, found.versions.get(version.pk) or found.models[version.model_id])
        for version in rows[:MOST_SHOWN]
    ]
