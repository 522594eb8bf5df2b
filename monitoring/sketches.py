"""What each host's windows left of their columns: kept when a window is judged, merged by hour, read for any span.

The predictions of a span are many; their sketches are few, and merge. So looking at a day, or holding it against the
day a week before, costs what the sketches take and reads no prediction.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc
from django.db import transaction
from django.db.models import Count, Max, Min, QuerySet, Sum

from monitoring import store
from monitoring.drift.profile import Kind
from monitoring.drift.sketch import NotMergeable, Sketch, merge, sketch_column
from monitoring.drift.sketch_bytes import packed, unpacked
from monitoring.models import Monitor, Window, WindowSketch
from monitoring.profiles import profiles_of
from monitoring.references import versions_of
from monitoring.windows import Mixed, numpy_column
from registry.errors import RegistryError
from registry.models import Endpoint, Host, Version

FEATURE = "feature."
OWN = ("output", "score", "latency_ms")
MOST_COLUMNS = 500
HOUR = timedelta(hours=1)
HOUR_POINTS = 512
"""Points of a column that an hour keeps: what is merged from hours is within 1 / 256 + 1 / 512 of all rows."""
WINDOWS_STAY = timedelta(days=14)
"""After that, the sketches of single windows go where their hour has one."""
MOST_READ = 4000
"""Sketches that are read for one span."""

log = logging.getLogger(__name__)


class TooMuch(ValueError):
    """The span holds more sketches than are read at once. The message says what to do."""


@dataclass(frozen=True)
class Made:
    """The sketches of one version on one host (by name, None where it is not known) in a window, as they are kept."""

    version: str
    host: str | None
    rows: int
    content: bytes


@dataclass
class Counted:
    """What was answered in a span, by column. `since` and `until` are the ends of the windows that were found, and
    `unlike` names columns that were counted in ways that do not merge."""

    rows: int = 0
    windows: int = 0
    since: datetime | None = None
    until: datetime | None = None
    versions: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    columns: dict[str, Sketch] = field(default_factory=dict)
    unlike: list[str] = field(default_factory=list)


def of_table(endpoint: Endpoint, table: pa.Table, **sizes: int) -> list[Made]:
    """The sketches of a window's predictions, one for each version and host."""
    if not len(table):
        return []
    pairs = table.group_by(["version", "digest"]).aggregate([]).to_pylist()
    known = versions_of(endpoint, [(pair["version"], pair["digest"] or "") for pair in pairs])
    made = []
    for number in sorted({pair["version"] for pair in pairs}):
        own = table.filter(pc.equal(table.column("version"), number))
        kinds = kinds_of(known.get(number), own)
        for host in sorted(pc.unique(own.column("host")).to_pylist(), key=str):
            mine = own.filter(pc.is_null(own.column("host")) if host is None else pc.equal(own.column("host"), host))
            made.append(Made(number, host, len(mine), packed(dict(sketched(mine, kinds, **sizes)))))
    return made


def kinds_of(version: Version | None, table: pa.Table) -> dict[str, Kind]:
    """How each column is counted: as the version's profile does, else numbers as numbers and all else as categories."""
    told: dict[str, Kind] = {"latency_ms": "numeric", "score": "numeric"}
    try:
        profiles = profiles_of(version) if version else None
    except (OSError, ValueError, LookupError, RegistryError):
        log.exception("the profile of version %s can't be read", version)
        profiles = None
    if profiles:
        told |= {f"{FEATURE}{name}": column.kind for name, column in profiles[0].columns.items()}
        told |= {name: column.kind for name, column in profiles[1].columns.items() if name in OWN}
    names = [name for name in table.column_names if _is_sketched(name)][:MOST_COLUMNS]
    return {name: told.get(name) or _kind(name, table.schema.field(name).type) for name in names}


def columns_in(paths: Iterable[str]) -> list[str]:
    """The columns of these files of the prediction log that sketches are made of, in the order in which they come."""
    known = dict.fromkeys(name for path in paths for name in store.column_names(path))
    return [name for name in known if _is_sketched(name)]


def _is_sketched(name: str) -> bool:
    return name in OWN or name.startswith(FEATURE)


def _kind(name: str, kind: pa.DataType) -> Kind:
    if isinstance(kind, Mixed) or not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return "categorical"
    return "categorical" if name == "output" and pa.types.is_integer(kind) else "numeric"


def sketched(table: pa.Table, kinds: dict[str, Kind], **sizes: int) -> Iterator[tuple[str, Sketch]]:
    """Name and sketch of each column; one that can't be counted is left out, and the log says why."""
    for name, kind in kinds.items():
        try:
            yield name, sketch_column(numpy_column(table, name), kind, **sizes)
        except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError):
            log.exception("the column %s can't be sketched", name)


def keep(window: Window, made: Sequence[Made]) -> None:
    """Write a window's sketches, in the transaction in which it is judged."""
    hosts = dict(Host.objects.filter(name__in={one.host for one in made if one.host}).values_list("name", "pk"))
    WindowSketch.objects.bulk_create(
        [
            WindowSketch(
                endpoint_id=window.endpoint_id, host_id=hosts.get(one.host or ""), version=one.version,
                start=window.start, end=window.end, rows=one.rows, content=one.content,
            )
            for one in made
        ],
        ignore_conflicts=True,
    )  # fmt: skip


def roll_up(window: Window) -> bool:
    """Merge the hour that the window closes, or that was merged without it; False where there is nothing to do yet."""
    hour = _hour_of(window)
    if hour + HOUR > window.end and not _of_hour(window.endpoint_id, hour).filter(windows__gt=1).exists():
        return False
    with transaction.atomic():
        Monitor.objects.select_for_update().filter(endpoint=window.endpoint_id).first()
        kept = list(_of_hour(window.endpoint_id, hour).filter(windows=1).select_related("host").order_by("start", "pk"))
        windows = len({one.start for one in kept})
        if windows < 2:
            return False
        _of_hour(window.endpoint_id, hour).filter(windows__gt=1).delete()
        WindowSketch.objects.bulk_create(list(_hourly(kept, windows)))
        _forget(window.endpoint_id, hour)
    return True


def _hour_of(window: Window) -> datetime:
    return window.start.replace(minute=0, second=0, microsecond=0)


def _of_hour(endpoint_id: int, hour: datetime) -> QuerySet[WindowSketch]:
    return WindowSketch.objects.filter(endpoint=endpoint_id, start__gte=hour, start__lt=hour + HOUR)


def _hourly(kept: Sequence[WindowSketch], windows: int) -> Iterator[WindowSketch]:
    start, end = min(one.start for one in kept), max(one.end for one in kept)
    grouped: dict[tuple[str, int | None], list[WindowSketch]] = defaultdict(list)
    for one in kept:
        grouped[one.version, one.host_id].append(one)
    for (version, host_id), parts in grouped.items():
        columns, _ = merged([unpacked(bytes(one.content)) for one in parts], points=HOUR_POINTS)
        yield WindowSketch(
            endpoint_id=kept[0].endpoint_id, host_id=host_id, version=version, start=start, end=end,
            windows=windows, rows=sum(one.rows for one in parts), content=packed(columns),
        )  # fmt: skip


def _forget(endpoint_id: int, hour: datetime) -> None:
    """Delete the sketches of old windows whose hour is kept."""
    old = WindowSketch.objects.filter(endpoint=endpoint_id, end__lt=hour - WINDOWS_STAY)
    hours = old.filter(windows__gt=1).values_list("start", "end")
    for start, end in hours:
        old.filter(windows=1, start__gte=start, end__lte=end).delete()


def merged(parts: Iterable[dict[str, Sketch]], **sizes: int) -> tuple[dict[str, Sketch], list[str]]:
    """The columns of all parts together, and the names of those that do not merge."""
    grouped: dict[str, list[Sketch]] = defaultdict(list)
    for part in parts:
        for name, sketch in part.items():
            grouped[name].append(sketch)
    found, unlike = {}, []
    for name, sketches in grouped.items():
        try:
            found[name] = merge(sketches, **sizes)
        except NotMergeable:
            unlike.append(name)
    return found, unlike


def read(endpoint: Endpoint, since: datetime, until: datetime, version: str = "", host: str = "") -> Counted:
    """What was answered in the windows that lie wholly in [since, until), of one version or host where named.

    Whole hours are read as they were merged, the rest window by window. Raises TooMuch.
    """
    only = ({"version": version} if version else {}) | ({"host__name": host} if host else {})
    lying = WindowSketch.objects.filter(endpoint=endpoint, start__gte=since, end__lte=until, **only)
    hours = set(lying.filter(windows__gt=1).values_list("start", "end"))
    rows = list(lying.order_by("start", "pk").values_list("pk", "start", "end", "windows"))
    chosen = [pk for pk, start, end, windows in rows if windows > 1 or not _covered(start, end, hours)]
    if len(chosen) > MOST_READ:
        raise TooMuch(
            f"That span holds {len(chosen):,} sketches of hosts' windows, and {MOST_READ:,} are read at once. Choose a "
            f"shorter one, or one host."
        )
    picked = WindowSketch.objects.filter(pk__in=chosen)
    columns, unlike = merged(unpacked(bytes(content)) for content in picked.values_list("content", flat=True))
    facts = picked.aggregate(rows=Sum("rows"), first=Min("start"), last=Max("end"))
    names = picked.values_list("version", "host__name").annotate(Count("pk")).order_by()
    windows = picked.values("start", "windows").distinct().aggregate(found=Sum("windows"))["found"]
    return Counted(
        facts["rows"] or 0, windows or 0, facts["first"], facts["last"],
        sorted({number for number, _, _ in names}), sorted({name for _, name, _ in names if name}), columns, unlike,
    )  # fmt: skip


def _covered(start: datetime, end: datetime, hours: set[tuple[datetime, datetime]]) -> bool:
    return any(first <= start and end <= last for first, last in hours)
