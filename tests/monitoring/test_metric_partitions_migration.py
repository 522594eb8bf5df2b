"""The migration to partitions: every point that was there is in its week afterwards, with its rollups; and back."""

import importlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections
from django.db.migrations.state import ProjectState

from config import grants
from monitoring.models import MetricHour, MetricMinute, MetricPoint
from monitoring.points import keep, moments
from monitoring.rollups import Points
from monitoring.series import series_for
from tests.monitoring import world

MIGRATION = importlib.import_module("monitoring.migrations.0005_metric_partitions")
START = datetime(2026, 3, 1, 23, 58, tzinfo=UTC)
"""A Sunday's last minutes: the points go on into the next week."""
EARLIER = datetime(1999, 1, 1, tzinfo=UTC)


def forwards() -> None:
    move = MIGRATION.Migration.operations[1]
    with connections["owner"].schema_editor() as editor:
        for operation in move.database_operations:
            operation.database_forwards("monitoring", editor, ProjectState(), ProjectState())


def rollups() -> list[Any]:
    return [list(model.objects.order_by("series", "bin").values_list()) for model in (MetricMinute, MetricHour)]


def test_points_are_moved_to_their_weeks_with_rollups_and_back_again(committed_db: Any) -> None:
    endpoint = world.make_endpoint()
    found = series_for(endpoint, {(name, None, "", ""): "" for name in ("a", "b")})
    at = moments([*(START + timedelta(seconds=20 * number) for number in range(12)), EARLIER])
    for key, pk in found.items():
        values = (at % 977) * (1.0 if key[0] == "a" else -0.5)
        keep(endpoint.pk, Points(at * 0 + pk, at, values, at * 0 + 3))
    points, expected = list(MetricPoint.objects.order_by("series", "at").values_list()), rollups()
    assert len(points) == 26

    with connections["owner"].cursor() as cursor:
        cursor.execute(MIGRATION.UNDO)
        cursor.execute("SELECT series_id, at, value, n FROM monitoring_metricpoint ORDER BY 1, 2")
        assert cursor.fetchall() == points
        cursor.execute("SELECT setval('monitoring_metricpoint_id_seq', 100)")
    forwards()
    grants.apply()

    assert list(MetricPoint.objects.order_by("series", "at").values_list()) == points
    assert rollups() == expected
    for day, count in (("20260223", 12), ("20260302", 12), ("default", 2)):
        assert committed_db.execute(f"SELECT count(*) FROM monitoring_metricpoint_{day}") == [(count,)], day
