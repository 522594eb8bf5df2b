"""Weeks of metric points: made ahead, filled from the default partition, dropped when nothing needs them."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext

from audit.actions import service_actor
from audit.clock import database_now
from audit.holds import lift, place
from audit.models import AuditEvent
from audit.queries import record_of
from incidents.models import Incident, IncidentState
from monitoring import partitions
from monitoring.due import SOURCES
from monitoring.models import MetricHour, MetricMinute, MetricPoint
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.series import series_for
from registry.models import Endpoint
from tests.monitoring import world

pytestmark = pytest.mark.django_db
OLD = datetime(2025, 1, 8, 12, tzinfo=UTC)
WEEK_OF_OLD = "monitoring_metricpoint_20250106"
SETUP = service_actor("test")


@pytest.fixture
def endpoint() -> Endpoint:
    """One with three points of an afternoon in January 2025, in no week that has a partition."""
    endpoint = world.make_endpoint()
    write(endpoint, OLD)
    return endpoint


def write(endpoint: Endpoint, first: datetime) -> None:
    series = series_for(endpoint, {("queue", None, "", ""): ""})["queue", None, "", ""]
    at = moments([first + timedelta(minutes=number) for number in range(3)])
    keep(endpoint.pk, Points(np.full(3, series), at, np.arange(3.0), np.ones(3, np.int64)))


def rows_of(name: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {name}")
        return cursor.fetchone()[0]


def make_all() -> list[str]:
    found = partitions.missing(database_now())
    assert all(partitions.make(name) for name in found)
    return found


def test_a_new_installation_has_the_weeks_that_are_to_come() -> None:
    now = database_now()
    there = partitions.there()
    assert len(there) == 3 * (partitions.AHEAD_WEEKS + 1)
    assert all(one.end > now for one in there)
    assert partitions.missing(now) == []
    assert partitions.outlived(now) == []


def test_each_week_the_next_one_is_made_before_it_begins() -> None:
    later = database_now() + timedelta(weeks=1)
    found = partitions.missing(later)
    assert len(found) == 3
    week = partitions.partition(found[0])
    assert week.start > later + timedelta(weeks=3)
    assert partitions.make(found[0])
    assert not partitions.make(found[0])
    assert partitions.missing(later) == found[1:]


def test_what_lay_in_the_default_partition_moves_to_its_week(endpoint: Endpoint) -> None:
    assert rows_of("monitoring_metricpoint_default") == 3
    before = list(MetricPoint.objects.order_by("at").values_list("at", "value"))
    assert make_all() == [
        "monitoring_metrichour_20250106", "monitoring_metricminute_20250106", WEEK_OF_OLD,
    ]  # fmt: skip
    assert (rows_of("monitoring_metricpoint_default"), rows_of(WEEK_OF_OLD)) == (0, 3)
    assert list(MetricPoint.objects.order_by("at").values_list("at", "value")) == before
    assert (MetricMinute.objects.count(), MetricHour.objects.count()) == (3, 2)


def test_points_of_the_far_future_stay_in_the_default_partition(endpoint: Endpoint) -> None:
    write(endpoint, database_now() + timedelta(days=365))
    assert len(make_all()) == 3
    assert rows_of("monitoring_metricpoint_default") == 3


def test_a_partition_has_its_table_s_grants_and_indexes(endpoint: Endpoint) -> None:
    make_all()
    with connection.cursor() as cursor:
        cursor.execute("SELECT has_table_privilege(%s, 'DELETE')", [WEEK_OF_OLD])
        assert cursor.fetchone()[0]
        cursor.execute("SELECT has_table_privilege('lastgood_sequencer', %s, 'SELECT')", [WEEK_OF_OLD])
        assert not cursor.fetchone()[0]
        cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", [WEEK_OF_OLD])
        kinds = sorted(row[0].split("USING ")[1] for row in cursor.fetchall())
    assert kinds == ["brin (at)", "btree (series_id, at)"]


def test_old_weeks_go_with_their_rows_and_it_is_on_record(endpoint: Endpoint, settings: Any) -> None:
    make_all()
    settings.LASTGOOD_METRICS_DAYS = 400
    assert partitions.outlived(database_now()) == ["monitoring_metricminute_20250106", WEEK_OF_OLD]
    assert partitions.drop(WEEK_OF_OLD)
    assert not partitions.drop(WEEK_OF_OLD)
    assert partitions.drop("monitoring_metricminute_20250106")
    assert (MetricPoint.objects.count(), MetricMinute.objects.count(), MetricHour.objects.count()) == (0, 0, 2)
    told = record_of(AuditEvent.objects.filter(action="metrics.prune").earliest("pk"))
    assert told["target"]["id"] == WEEK_OF_OLD
    assert told["data"] == {"days": 400, "end": "2025-01-13T00:00:00.000000Z", "first": "2025-01-06T00:00:00.000000Z"}
    assert partitions.outlived(database_now()) == []


def test_a_week_whose_time_has_not_passed_is_not_dropped(endpoint: Endpoint, settings: Any) -> None:
    make_all()
    assert not partitions.drop(WEEK_OF_OLD), "nothing goes while there is no limit"
    settings.LASTGOOD_METRICS_DAYS = 3650
    assert partitions.outlived(database_now()) == []
    assert not partitions.drop(WEEK_OF_OLD)
    assert MetricPoint.objects.count() == 3


@pytest.mark.parametrize("state", [IncidentState.DETECTED, IncidentState.RESOLVED])
def test_a_week_that_an_open_incident_needs_stays(endpoint: Endpoint, settings: Any, state: str) -> None:
    make_all()
    settings.LASTGOOD_METRICS_DAYS = 400
    incident = Incident.objects.create(
        number=1, ref="INC-1", title="x", severity=2, endpoint=endpoint, group_key="x", detected_at=OLD, state=state,
        resolved_at=OLD + timedelta(hours=2),
    )  # fmt: skip
    assert partitions.outlived(database_now()) == []
    assert not partitions.drop(WEEK_OF_OLD)
    Incident.objects.filter(pk=incident.pk).update(detected_at=OLD + timedelta(hours=3), resolved_at=database_now())
    assert WEEK_OF_OLD in partitions.outlived(database_now()), "it has no point of the incident's time"
    Incident.objects.filter(pk=incident.pk).update(detected_at=OLD, state=IncidentState.CLOSED)
    assert WEEK_OF_OLD in partitions.outlived(database_now())


def test_a_week_of_a_model_that_is_held_stays(endpoint: Endpoint, settings: Any) -> None:
    make_all()
    settings.LASTGOOD_METRICS_DAYS = 400
    hold = place(kind="model", ref=endpoint.model.slug, reason="case 12", actor=SETUP)
    assert partitions.outlived(database_now()) == []
    assert not partitions.drop(WEEK_OF_OLD)
    lift(hold=hold, reason="settled", actor=SETUP)
    assert partitions.drop(WEEK_OF_OLD)


@pytest.fixture
def outlived(monkeypatch: pytest.MonkeyPatch, settings: Any) -> str:
    """A partition that there was before the test, long outlived."""
    settings.LASTGOOD_METRICS_DAYS = 400
    later = database_now() + timedelta(days=1000)
    monkeypatch.setattr(partitions, "database_now", lambda: later)
    return partitions.outlived(later)[0]


@pytest.fixture
def other(services: Any) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody else's."""
    with psycopg.connect(services.cluster.url("lastgood_app", connection.settings_dict["NAME"])) as session:
        yield session
        session.rollback()


def test_while_another_changes_partitions_a_drop_reads_nothing_and_comes_again(
    outlived: str, other: psycopg.Connection[Any]
) -> None:
    other.execute(partitions.TURN)
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert not partitions.drop(outlived)
    assert not any("monitoring_metric" in query["sql"] for query in asked.captured_queries)
    other.rollback()
    assert partitions.drop(outlived)


def test_a_drop_waits_only_shortly_for_those_who_write(outlived: str, other: psycopg.Connection[Any]) -> None:
    other.execute(f"LOCK TABLE {partitions.partition(outlived).table} IN ROW EXCLUSIVE MODE")
    with (
        CaptureQueriesContext(connection) as asked,
        pytest.raises(OperationalError, match="lock timeout"),
        transaction.atomic(),
    ):
        partitions.drop(outlived)
    assert "SET LOCAL lock_timeout = '200ms'" in [query["sql"] for query in asked.captured_queries]
    assert partitions.partition(outlived) in partitions.there()
    assert not AuditEvent.objects.filter(action="metrics.prune").exists()


@pytest.mark.parametrize("task", ["monitoring.make_partition", "monitoring.drop_partition"])
def test_the_clock_asks_once_a_minute_for_partitions(task: str) -> None:
    ids = next(source.ids for source in SOURCES if source.task == task)
    later = database_now() + timedelta(days=1)

    def queries(moment: datetime) -> int:
        with CaptureQueriesContext(connection) as asked:
            ids(moment)
        return len(asked.captured_queries)

    first = queries(later)
    assert first > 0
    assert queries(later + timedelta(seconds=59)) == 0
    assert queries(later + timedelta(seconds=60)) == first
    assert queries(later) == first, "the clock was set back"


@pytest.mark.parametrize("name", ["audit_event_20250106", "monitoring_metricpoint_default", "x"])
def test_no_other_table_is_a_partition(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        partitions.partition(name)


@pytest.mark.parametrize(
    ("login", "table", "day", "error"),
    [
        ("lastgood_sequencer", "monitoring_metricpoint", date(2025, 1, 6), psycopg.errors.InsufficientPrivilege),
        ("lastgood_app", "audit_event", date(2025, 1, 6), psycopg.errors.InvalidParameterValue),
        ("lastgood_app", "monitoring_metricpoint", date(2025, 1, 7), psycopg.errors.InvalidParameterValue),
    ],
)
def test_the_database_makes_partitions_of_these_tables_alone_for_who_may_write_to_them(
    services: Any, login: str, table: str, day: date, error: type[Exception]
) -> None:
    url = services.cluster.url(login, connection.settings_dict["NAME"])
    with psycopg.connect(url) as other, pytest.raises(error):
        other.execute("SELECT monitoring_make_partition(%s, %s)", [table, day])
    if login == "lastgood_sequencer" or table == "audit_event":
        with psycopg.connect(url) as other, pytest.raises(error):
            other.execute("SELECT monitoring_drop_partition(%s, %s)", [table, day])
