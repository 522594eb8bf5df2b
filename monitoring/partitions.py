"""The weeks of metric points and their rollups: each a partition, made before it is needed, and dropped whole.

What lies in no week that has a partition is in the default one: points of long ago that a restore or a late sender
brought, points of a clock that is ahead. A partition of its own takes them over, weeks of the far future excepted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from audit import holds
from audit.actions import Target, record, service_actor
from audit.canonical import instant
from audit.clock import database_now
from monitoring import retention
from monitoring.models import MetricHour, MetricMinute, MetricPoint
from registry.models import Endpoint

AHEAD_WEEKS = 4
MOST_WEEKS_BACK = 520
WEEK = timedelta(weeks=1)
PATIENCE = "2s"
"""How long a partition that is made waits for those who read or write; the clock tries it again."""
PATIENCE_TO_DROP = "200ms"
"""The same for one that is dropped, which keeps everybody from its whole table while it waits."""
TURN = "SELECT pg_try_advisory_xact_lock(hashtext('monitoring.partitions'))"
MODELS: dict[str, type[MetricPoint] | type[MetricMinute] | type[MetricHour]] = {
    model._meta.db_table: model for model in (MetricPoint, MetricMinute, MetricHour)
}
KEYS = {name: "at" if model is MetricPoint else "bin" for name, model in MODELS.items()}
LONGEST_BIN = timedelta(hours=1)
THERE = """
    SELECT p.relname::text, c.relname::text
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid JOIN pg_class AS p ON p.oid = i.inhparent
    WHERE p.relname = ANY(%s) AND p.relnamespace = 'public'::regnamespace AND c.relname <> p.relname || '_default'
"""


@dataclass(frozen=True, order=True)
class Partition:
    """A week of one of the three tables; `monday` is its first day in UTC."""

    table: str
    monday: date

    @property
    def name(self) -> str:
        return f"{self.table}_{self.monday:%Y%m%d}"

    @property
    def start(self) -> datetime:
        return datetime.combine(self.monday, time(), UTC)

    @property
    def end(self) -> datetime:
        return self.start + WEEK


def partition(name: str) -> Partition:
    """The partition of that name. Raises ValueError for a name that is none of a partition."""
    table, _, day = name.rpartition("_")
    if table not in MODELS or not day.isdecimal():
        raise ValueError(f"{name!r} is no partition of metrics.")
    return Partition(table, datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date())


def there() -> set[Partition]:
    """The partitions by week that there are."""
    with connection.cursor() as cursor:
        cursor.execute(THERE, [list(MODELS)])
        return {partition(child) for _, child in cursor.fetchall()}


def missing(now: datetime) -> list[str]:
    """Names of partitions that are to be made: of this week, the next ones, and weeks in the default partition."""
    this = _monday(now)
    wanted = {Partition(table, this + number * WEEK) for table in MODELS for number in range(AHEAD_WEEKS + 1)}
    span = (this - MOST_WEEKS_BACK * WEEK, this + (AHEAD_WEEKS + 1) * WEEK)
    with connection.cursor() as cursor:
        for table, key in KEYS.items():
            cursor.execute(
                f"SELECT DISTINCT date_trunc('week', r.{key} AT TIME ZONE 'UTC')::date FROM {table}_default AS r "  # noqa: S608
                f"WHERE r.{key} >= %s::date::timestamp AT TIME ZONE 'UTC' "
                f"AND r.{key} < %s::date::timestamp AT TIME ZONE 'UTC'",
                span,
            )
            wanted |= {Partition(table, monday) for (monday,) in cursor.fetchall()}
    return [one.name for one in sorted(wanted - there())]


def make(name: str) -> bool:
    """Make a partition, with the rows of its week that lay in the default one. False when it was there.

    Nothing is on record: nothing is lost by it. Raises django.db.OperationalError when others hold the table too long.
    """
    one = partition(name)
    return _call("monitoring_make_partition", one, PATIENCE)


def outlived(now: datetime) -> list[str]:
    """Names of partitions whose time has passed and that nothing keeps."""
    over = [one for one in sorted(there()) if one.end <= (_cutoff(one.table, now) or one.start)]
    if not over:
        return []
    needed = _needed()
    return [one.name for one in over if not _holds(one, needed)]


def drop(name: str) -> bool:
    """Drop a partition whose time has passed, with all its rows; on record. False where it is gone, young or kept, or
    while another is made or dropped. Raises django.db.OperationalError when others hold the table too long."""
    one, now = partition(name), database_now()
    with transaction.atomic():
        holds.settle(shared=True)
        cutoff = _cutoff(one.table, now)
        # Its turn comes first: two that have read the table and then want it for themselves alone wait for each other.
        if cutoff is None or one.end > cutoff or not _has_turn() or one not in there() or _holds(one, _needed()):
            return False
        if not _call("monitoring_drop_partition", one, PATIENCE_TO_DROP):
            return False
        record(
            action="metrics.prune",
            target=Target("metrics", one.name),
            actor=service_actor("retention"),
            data={"first": instant(one.start), "end": instant(one.end), "days": _days(one.table)},
        )
    return True


def _has_turn() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(TURN)
        return bool(cursor.fetchone()[0])


def _call(function: str, one: Partition, patience: str) -> bool:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{patience}'")
        cursor.execute(f"SELECT {function}(%s, %s)", [one.table, one.monday])
        return bool(cursor.fetchone()[0])


def _monday(moment: datetime) -> date:
    day = moment.astimezone(UTC).date()
    return day - timedelta(days=day.weekday())


def _days(table: str) -> int:
    hours = MODELS[table] is MetricHour
    return int(settings.LASTGOOD_METRICS_HOURS_DAYS if hours else settings.LASTGOOD_METRICS_DAYS)


def _cutoff(table: str, now: datetime) -> datetime | None:
    return now - timedelta(days=_days(table)) if _days(table) else None


def _needed() -> Q:
    """The series and times that must stay, as `series` and `moment` of any of the tables."""
    held = [hold.ref for hold in holds.active().filter(kind="model")]
    return Q(series__endpoint__model__slug__in=held) | _within(retention.kept_spans(Endpoint.objects.all()))


def _within(spans: Iterable[tuple[int, retention.Span]]) -> Q:
    found = Q(series__in=[])
    for endpoint, (start, end) in spans:
        found |= Q(series__endpoint=endpoint, moment__gte=start, moment__lte=end + LONGEST_BIN)
    return found


def _holds(one: Partition, needed: Q) -> bool:
    """Whether any row of the partition is needed."""
    key = KEYS[one.table]
    rows = MODELS[one.table].objects.filter(**{f"{key}__gte": one.start, f"{key}__lt": one.end})
    return rows.alias(moment=F(key)).filter(needed).exists()
