"""A fleet's window is sketched while its predictions come, so that judging it costs its sketches and not its rows.

Every ten seconds the clock asks which hosts have PARTIAL_ROWS new rows in a window that is not judged yet. These are
read once, while the operating system still holds their files, and become a partial sketch; eight of one size are
merged into one, so their number grows as the logarithm of the rows. When the window is judged, only the rows that came
after the last of them are read. A partial sketch names the batches that are in it: killed in the middle, done twice or
late, each row counts once.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models import QuerySet

from monitoring import sketches, store
from monitoring.drift.sketch import CATEGORIES, POINTS
from monitoring.drift.sketch_bytes import packed, unpacked
from monitoring.models import Monitor, PartialSketch, PredictionBatch, Window, WindowState
from monitoring.windows import batches_within, load_predictions
from registry.models import Endpoint

FLEET_ROWS = 20_000
"""From so many rows of at least two hosts on, a window is judged from sketches of its inputs."""
PARTIAL_ROWS = 10_000
"""New rows of one version on one host that are sketched together; fewer wait for more, or for the window's judging."""
PARTIAL_POINTS = 512
"""Points of a column that the sketches keep which a fleet's window is judged from."""
MERGED_AT = 8
"""So many partial sketches of one level are merged into one of the next."""
MOST_LEVELS = 4
"""A merged sketch is not merged again beyond this level: each adds 1 / MERGED_POINTS to what is left open."""

_DUE = """
WITH spans AS (
    SELECT id, endpoint_id, next_window_at AS since, next_window_at + window_seconds * interval '1 second' AS until
      FROM monitoring_monitor WHERE enabled AND next_window_at IS NOT NULL AND id = coalesce(%(monitor)s, id)
     UNION ALL
    SELECT monitor.id, opened.endpoint_id, opened.start, opened."end"
      FROM monitoring_window opened JOIN monitoring_monitor monitor USING (endpoint_id)
     WHERE opened.state = 'open' AND monitor.enabled AND monitor.id = coalesce(%(monitor)s, monitor.id)
), arrived AS (
    SELECT spans.id, spans.endpoint_id, since, until, host_id, version, sum(batch.rows) AS rows
      FROM spans JOIN monitoring_predictionbatch batch ON batch.endpoint_id = spans.endpoint_id
       AND batch.first_at >= since AND batch.first_at < until AND batch.last_at < until
     GROUP BY spans.id, spans.endpoint_id, since, until, host_id, version
), fleets AS (
    SELECT *, sum(rows) OVER of_window AS all_rows,
           min(coalesce(host_id, 0)) OVER of_window <> max(coalesce(host_id, 0)) OVER of_window AS of_many
      FROM arrived WINDOW of_window AS (PARTITION BY endpoint_id, since)
)
SELECT id, endpoint_id, since, until, host_id, version FROM fleets
 WHERE of_many AND all_rows >= %(fleet)s AND rows >= %(least)s + coalesce((
    SELECT sum(partial.rows) FROM monitoring_partialsketch partial
     WHERE partial.endpoint_id = fleets.endpoint_id AND partial.start = since AND partial."end" = until
       AND partial.version = fleets.version AND partial.host_id IS NOT DISTINCT FROM fleets.host_id), 0)
 ORDER BY since, endpoint_id, host_id, version
"""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """What one version answers on one host in a window of an endpoint."""

    monitor_id: int
    endpoint_id: int
    start: datetime
    end: datetime
    host_id: int | None
    version: str

    def partials(self) -> QuerySet[PartialSketch]:
        return PartialSketch.objects.filter(
            endpoint=self.endpoint_id, start=self.start, end=self.end, host=self.host_id, version=self.version
        )

    def batches(self) -> QuerySet[PredictionBatch]:
        """Those that lie in the window with all their rows."""
        return PredictionBatch.objects.filter(
            endpoint=self.endpoint_id, host=self.host_id, version=self.version,
            first_at__gte=self.start, first_at__lt=self.end, last_at__lt=self.end,
        )  # fmt: skip


def _shares(monitor_id: int | None = None) -> list[Share]:
    with connection.cursor() as cursor:
        cursor.execute(_DUE, {"monitor": monitor_id, "fleet": FLEET_ROWS, "least": PARTIAL_ROWS})
        return [Share(*row) for row in cursor.fetchall()]


def due(now: datetime) -> list[object]:
    """Ids of the monitors with a fleet's window of which enough rows came that are not sketched yet."""
    return list(dict.fromkeys(share.monitor_id for share in _shares()))


def advance(monitor_id: int) -> int:
    """Sketch what came in the monitor's windows that are not judged yet; the number of partial sketches made."""
    return sum(_sketch(share) for share in _shares(monitor_id))


def _sketch(share: Share) -> bool:
    """False where another was at it, the window is judged, or a file can't be read: who judges it says so."""
    done = {key for batches in share.partials().values_list("batches", flat=True) for key in batches}
    found = {key: path for key, path in share.batches().values_list("pk", "path") if key not in done}
    if not found:
        return False
    endpoint = Endpoint.objects.get(pk=share.endpoint_id)
    try:
        [made] = of_batches(endpoint, share.start, share.end, found)
    except store.StoreDamaged:
        log.exception("predictions of %s can't be sketched before their window is judged", endpoint.slug)
        return False
    with transaction.atomic():
        Monitor.objects.select_for_update().get(pk=share.monitor_id)
        judged = Window.objects.filter(endpoint=endpoint, start=share.start, state=WindowState.JUDGED)
        if judged.exists() or share.partials().filter(batches__overlap=list(found)).exists():
            return False
        _add(share, list(found), 0, made.rows, made.content)
        _merge(share)
    return True


def _add(share: Share, batches: list[int], level: int, rows: int, content: bytes) -> None:
    PartialSketch.objects.create(
        endpoint_id=share.endpoint_id, host_id=share.host_id, version=share.version, start=share.start, end=share.end,
        batches=batches, level=level, rows=rows, content=content,
    )  # fmt: skip


def _merge(share: Share) -> None:
    for level in range(MOST_LEVELS):
        alike = list(share.partials().filter(level=level))
        if len(alike) < MERGED_AT:
            return
        columns, unlike = sketches.merged(unpacked(bytes(one.content)) for one in alike)
        if unlike:
            return
        share.partials().filter(level=level).delete()
        batches = [key for one in alike for key in one.batches]
        _add(share, batches, level + 1, sum(one.rows for one in alike), packed(columns))


def of_batches(endpoint: Endpoint, start: datetime, end: datetime, batches: dict[int, str]) -> list[sketches.Made]:
    """The sketches of some batches (key, path) of a window, by version and host. Raises store.StoreDamaged."""
    names = ["version", "digest", "host", *sketches.columns_in(batches.values())]
    table = load_predictions(endpoint, start, end, columns=names, batches=list(batches))
    return sketches.of_table(endpoint, table, points=PARTIAL_POINTS)


def sketched(window: Window) -> tuple[list[sketches.Made], set[int]]:
    """A fleet's window by version and host, and the keys of the batches that are in no partial sketch.

    A partial sketch of a batch that is gone, or of a span that is no longer the window's, counts for nothing.
    """
    rest = set(batches_within(window.endpoint, window.start, window.end).values_list("pk", flat=True))
    ready = PartialSketch.objects.filter(endpoint=window.endpoint, start=window.start, end=window.end)
    made = []
    for one in ready.select_related("host").order_by("pk"):
        if rest.issuperset(one.batches):
            made.append(sketches.Made(one.version, one.host.name if one.host else None, one.rows, bytes(one.content)))
            rest.difference_update(one.batches)
    return made, rest


def by_host(made: Iterable[sketches.Made]) -> Iterator[sketches.Made]:
    """One sketch of each version and host, of the size that is kept of a window."""
    grouped: dict[tuple[str, str | None], list[sketches.Made]] = defaultdict(list)
    for one in made:
        grouped[one.version, one.host].append(one)
    for (version, host), parts in grouped.items():
        columns, _ = sketches.merged((unpacked(one.content) for one in parts), points=POINTS, categories=CATEGORIES)
        yield sketches.Made(version, host, sum(one.rows for one in parts), packed(columns))


def forget(window: Window) -> None:
    """Delete the partial sketches of a window that is judged, and of those before it that nobody will judge."""
    waiting = Window.objects.filter(endpoint=window.endpoint_id, state=WindowState.OPEN).values("start")
    past = PartialSketch.objects.filter(endpoint=window.endpoint_id, start__lte=window.start)
    past.exclude(start__in=waiting).delete()
