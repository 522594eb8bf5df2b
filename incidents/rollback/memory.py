"""What a version takes of a host's memory: measured whenever one is loaded, foretold from that."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from django.db import transaction
from django.db.models import F, OuterRef, Q, Subquery, Sum, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext

from audit.templatetags.amounts import filesize_short
from incidents.rollback.models import LoadMemory
from registry.models import Host, Version, VersionFile
from registry.serving.base import ModelObservation, Observation, VersionState

NEWEST = 5
"""Loads that a prediction looks back to, of one version on one engine and device."""
LOAD_FACTOR = 2
"""Of a model that was never measured, so many times a version's files are expected."""
REFUSED_BELOW = {"bundled": 2}
"""Engines that load nothing with less free than so many times the weights: for a while it takes more than it holds."""
AT_REST = ("staged", "failed")


@dataclass(frozen=True)
class Need:
    """What a load is expected to take of a host's memory, in bytes: `taken`, by earlier ones `low` to `high`.
    `refused_below` is what its engine wants free whatever it takes; `because` says what the figures rest on."""

    taken: int
    low: int
    high: int
    refused_below: int
    because: str

    @property
    def bytes(self) -> int:
        """What has to be free. Not `high`: other work of a machine shows in single loads, and a load is tried before
        anybody is asked to approve it."""
        return max(self.taken, self.refused_below)

    @property
    def sentence(self) -> str:
        """Such as “1.2 GiB (1.1 GiB to 1.3 GiB), as measured on gpu-2 on 2026-11-21”."""
        told = {"taken": filesize_short(self.taken), "because": self.because}
        if self.low < self.high:
            told |= {"low": filesize_short(self.low), "high": filesize_short(self.high)}
            said = gettext("%(taken)s (%(low)s to %(high)s), %(because)s") % told
        else:
            said = gettext("%(taken)s, %(because)s") % told
        if self.refused_below <= self.taken:
            return said
        least = {"said": said, "least": filesize_short(self.refused_below)}
        return gettext("%(said)s; its engine wants %(least)s free while it loads") % least


@dataclass(frozen=True)
class Load:
    """A load that was measured: how many bytes it took, of a version whose files have `size` bytes."""

    version_id: int
    number: int
    host: str
    engine: str
    device: str
    taken: int
    at: datetime
    size: int


@dataclass(frozen=True)
class Known:
    """What predictions rest on, read at once for many versions: by a version's key the bytes of its files and of its
    weights, by a model's key its measured loads, newest first."""

    files: dict[int, tuple[int, int]] = field(default_factory=dict)
    loads: dict[int, list[Load]] = field(default_factory=dict)

    def need(self, version: Version, *, engine: str, device: str) -> Need:
        """What a host of that engine and device needs for it: by the last loads of the version on such hosts, else by
        those of others of its model, scaled by their files; else LOAD_FACTOR times its files."""
        size, weights = self.files.get(version.pk, (0, 0))
        alike = [one for one in self.loads.get(version.model_id, []) if (one.engine, one.device) == (engine, device)]
        own = [one for one in alike if one.version_id == version.pk][:NEWEST]
        others = [one for one in alike if one.size][:NEWEST]
        if own:
            taken, because = [one.taken for one in own], gettext("as measured on %(host)s on %(day)s") % _named(own[0])
        elif others:
            taken = [round(one.taken * size / one.size) for one in others]
            said = gettext("by its files, as version %(number)s took it on %(host)s on %(day)s")
            because = said % _named(others[0])
        else:
            taken, because = [LOAD_FACTOR * size], gettext("twice its files, since no load of it was measured yet")
        refused_below = REFUSED_BELOW.get(engine, 0) * weights
        return Need(round(median(taken)), min(taken), max(taken), refused_below, because)


def _named(load: Load) -> dict[str, str]:
    return {"number": str(load.number), "host": load.host, "day": f"{load.at:%Y-%m-%d}"}


def known_of(versions: Iterable[Version]) -> Known:
    """In two queries, for any number of versions."""
    wanted = list(versions)
    files = VersionFile.objects.filter(version__in=[version.pk for version in wanted]).order_by().values("version")
    sizes = files.annotate(size=Sum("artifact__size"), weights=Sum("artifact__size", filter=Q(component="weights")))
    return Known(
        {row["version"]: (row["size"] or 0, row["weights"] or 0) for row in sizes},
        _loads(sorted({version.model_id for version in wanted})),
    )


def _loads(models: Sequence[int]) -> dict[int, list[Load]]:
    size = VersionFile.objects.filter(version=OuterRef("version")).order_by().values("version")
    alike = [F("version"), F("engine"), F("device")]
    rows = LoadMemory.objects.filter(version__model__in=models).annotate(
        newest=Window(RowNumber(), partition_by=alike, order_by="-measured_at"),
        size=Subquery(size.annotate(total=Sum("artifact__size")).values("total")),
    )
    found: dict[int, list[Load]] = {}
    for row in rows.filter(newest__lte=NEWEST).select_related("version", "host").order_by("-measured_at"):
        load = Load(
            row.version_id, row.version.number, row.host.name, row.engine, row.device, row.taken, row.measured_at,
            row.size or 0,
        )  # fmt: skip
        found.setdefault(row.version.model_id, []).append(load)
    return found


def need_of(version: Version, *, engine: str, device: str) -> Need:
    """The same of one version on one host."""
    return known_of([version]).need(version, engine=engine, device=device)


def taken_by(before: Observation, after: Observation, model: str, version: Version) -> int | None:
    """Bytes that loading the version took, by a look at the host before and one after; None where the host does not
    tell, or where anything else came into its memory or left it between the two.

    At least what the host says that the version holds: of memory that the host had kept from a version before, a load
    takes nothing that was free.
    """
    if before.memory_total <= 0 or after.boot_id != before.boot_id:
        return None
    mine, held = (model, str(version.number)), _states(after)
    was = {name: state for name, state in _states(before).items() if name != mine}
    others = {name: state for name, state in held.items() if name != mine}
    alone = mine not in _states(before) and _ready(was) and was.keys() == others.keys() and _ready(held)
    state = held.get(mine)
    if not alone or state is None or state.digest != version.digest:
        return None
    taken = max(before.memory_free - after.memory_free, state.memory_bytes or 0)
    return taken if taken > 0 else None


def _states(seen: Observation) -> dict[tuple[str, str], VersionState]:
    """What is in memory or on its way there or out, by model and number."""
    models: Iterable[tuple[str, ModelObservation]] = seen.models.items()
    return {
        (name, number): state
        for name, model in models
        for number, state in model.versions.items()
        if state.state not in AT_REST
    }


def _ready(states: dict[tuple[str, str], VersionState]) -> bool:
    return all(state.state == "ready" for state in states.values())


@transaction.atomic
def keep_taken(*, version: Version, host: Host, device: str, taken: int) -> None:
    """Keep what a load took, and of those of its kind the last NEWEST."""
    mine = {"version": version, "host": host, "engine": host.engine, "device": device[:40]}
    LoadMemory.objects.create(**mine, taken=taken)
    newest = LoadMemory.objects.filter(**mine).order_by("-measured_at", "-pk").values("pk")[:NEWEST]
    LoadMemory.objects.filter(**mine).exclude(pk__in=list(newest.values_list("pk", flat=True))).delete()
