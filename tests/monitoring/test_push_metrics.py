"""Metric points pushed by HTTP, in each of the three formats, read as a worker reads them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from monitoring import intake
from monitoring.exposition import read_points
from monitoring.models import Delivery, DeliveryState, MetricHour, MetricPoint
from monitoring.reading import Unreadable
from tests.monitoring.test_pages import sign_in
from tests.monitoring.world import ingest_token, make_endpoint, make_hosts

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4"
JSON_LINES = "application/x-ndjson"
DCGM = b"""# HELP DCGM_FI_DEV_GPU_TEMP GPU temperature (in C).
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{gpu="0",modelName="NVIDIA H200"} 41
DCGM_FI_DEV_GPU_TEMP{gpu="1",modelName="NVIDIA H200"} 43.5
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="fraud",version="2"} 17 1795262400000
nv_inference_queue_ms NaN
"""
SERVED = b"""# TYPE served_requests counter
served_requests_total{host="gpu-1",version="2"} 5 1795262400.25
# TYPE served_seconds gauge
# UNIT served_seconds seconds
served_seconds 0.5 1795262401
# EOF
"""


def points(content_type: str, body: bytes) -> list[tuple[Any, ...]]:
    found = read_points(content_type, body, received_at=NOON)
    return [(p.name, p.at - NOON, p.value, p.host, p.version, p.column, p.unit) for p in found]


def test_prometheus_text_is_read_with_its_labels_and_without_what_is_no_number() -> None:
    moment = datetime.fromtimestamp(1_795_262_400, UTC) - NOON
    assert points(TEXT, DCGM) == [
        ("DCGM_FI_DEV_GPU_TEMP", timedelta(0), 41.0, "", "", "gpu=0,modelName=NVIDIA H200", ""),
        ("DCGM_FI_DEV_GPU_TEMP", timedelta(0), 43.5, "", "", "gpu=1,modelName=NVIDIA H200", ""),
        ("nv_inference_request_success_total", moment, 17.0, "", "2", "model=fraud", ""),
    ]


def test_openmetrics_is_read_with_moments_of_parts_of_a_second_and_units() -> None:
    moment = datetime.fromtimestamp(1_795_262_400, UTC) - NOON
    assert points(OPENMETRICS, SERVED) == [
        ("served_requests_total", moment + timedelta(seconds=0.25), 5.0, "gpu-1", "2", "", ""),
        ("served_seconds", moment + timedelta(seconds=1), 0.5, "", "", "", "seconds"),
    ]


def point(**fields: Any) -> bytes:
    return json.dumps({"name": "a", "ts": "2026-11-21T12:00:00Z", "value": 1.0} | fields).encode()


def test_what_places_a_point_may_be_null_or_a_number() -> None:
    body = point(host=None, version=3, column=None, unit=None)
    [read] = read_points(JSON_LINES, body, received_at=NOON)
    assert (read.host, read.version, read.column, read.unit) == ("", "3", "", "")


@pytest.mark.django_db
def test_the_largest_values_are_summed_and_shown_and_larger_ones_left_out(client: Client) -> None:
    make_endpoint()
    seconds = int(datetime.now(UTC).timestamp())
    body = "".join(f"a {1e280:.0f} {seconds - i}000\n" for i in range(5)) + "a 1.7e308\n"
    delivery = push(client, body.encode(), TEXT).json()["delivery"]
    assert intake.process(delivery)
    assert MetricPoint.objects.count() == 5
    sign_in(client, "viewer")
    for path in ("metrics", "metrics-by-minute", "metrics-by-hour"):
        response = client.get(f"/api/v1/{path}/")
        assert (response.status_code, len(response.json()["results"]) > 0) == (200, True)


@pytest.mark.parametrize(
    ("content_type", "body", "error"),
    [
        (OPENMETRICS, SERVED[:-6], "The text is not OpenMetrics: Missing # EOF at end"),
        (OPENMETRICS, b"a 1 2 3 4\n# EOF\n", "The text is not OpenMetrics: "),
        (TEXT, b'a{b="c 1\n', "The text is not Prometheus' text format: "),
        (TEXT, b"a one\n", "The text is not Prometheus' text format: could not convert string to float: 'one'"),
        (TEXT, b"a 1 99999999999999999999\n", "The text is not Prometheus' text format: "),
        (TEXT, b"\xff 1\n", "The text is not UTF-8 at byte 0."),
        (TEXT, b"a" * 61 + b" 1\n", "The name 'aaaa"),
        (TEXT, b'a{b="' + b"x" * 200 + b'"} 1\n', "The labels of a take more than 200 characters"),
        (JSON_LINES, b'{"name": "a"}', 'Line 1 has no "value" that is a finite number, at most 1e+280'),
        (
            OPENMETRICS,
            b"a 1 -5\n# EOF\n",
            "In a sample the time 1969-12-31 23:59:55+00:00 is not between the years 1970",
        ),
        (TEXT, b"a 1 253402300799000\n", "In a sample the time 9999-12-31 23:59:59+00:00 is not between"),
        (JSON_LINES, point(ts="9999-12-31T23:59:59Z"), "In line 1 the time 9999-12-31 23:59:59+00:00 is not between"),
        (JSON_LINES, point(ts="0001-01-01T00:00:00+14:00"), "In line 1 the time '0001-01-01T00:00:00+14:00' is in no"),
        (JSON_LINES, point(value=1.7e308), 'Line 1 has no "value" that is a finite number, at most 1e+280.'),
        (JSON_LINES, point(column={"a": 1}), 'Line 1 has a "column" that is not a text of at most 200 characters.'),
        (JSON_LINES, point(version="1" * 41), 'Line 1 has a "version" that is not a text of at most 40 characters.'),
    ],
)
def test_what_cannot_be_read_says_why(content_type: str, body: bytes, error: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_points(content_type, body, received_at=NOON)
    assert str(refused.value).startswith(error)


def push(client: Client, body: bytes, content_type: str, query: str = "") -> Any:
    bearer = {"Authorization": f"Bearer {ingest_token()}"}
    url = f"/api/v1/ingest/metrics/?endpoint=employment-production{query}"
    return client.post(url, body, content_type=content_type, headers=bearer)


@pytest.mark.django_db
def test_pushed_metrics_are_points_of_the_host_that_pushed_them(client: Client) -> None:
    make_endpoint()
    make_hosts("gpu-1")
    response = push(client, DCGM, TEXT, "&host=gpu-1")
    assert response.status_code == 202
    assert intake.process(response.json()["delivery"])
    found = MetricPoint.objects.order_by("value").values_list("series__name", "series__column", "series__host__name")
    assert list(found) == [
        ("nv_inference_request_success_total", "model=fraud", "gpu-1"),
        ("DCGM_FI_DEV_GPU_TEMP", "gpu=0,modelName=NVIDIA H200", "gpu-1"),
        ("DCGM_FI_DEV_GPU_TEMP", "gpu=1,modelName=NVIDIA H200", "gpu-1"),
    ]
    assert MetricHour.objects.count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(("content_type", "body"), [(TEXT, b"a one\n"), (JSON_LINES, b'{"name": "a", "value": 1}')])
def test_what_cannot_be_read_is_a_problem_and_is_kept(client: Client, content_type: str, body: bytes) -> None:
    make_endpoint()
    response = push(client, body, content_type)
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    kept = Delivery.objects.get()
    assert response.json()["type"].endswith("unreadable")
    assert f"It is kept as delivery {kept.pk}." in response.json()["detail"]
    assert intake.process(kept.pk)
    kept.refresh_from_db()
    assert (kept.state, bytes(kept.body)) == (DeliveryState.UNPARSEABLE, body)
    assert not MetricPoint.objects.exists()


@pytest.mark.django_db
def test_points_that_are_too_old_are_told_of_and_the_others_kept(client: Client, settings: Any) -> None:
    make_endpoint()
    settings.LASTGOOD_METRICS_DAYS = 30
    now = datetime.now(UTC)
    lines = [
        {"name": "queue", "ts": (now - timedelta(days=days)).isoformat(), "value": days} for days in (1, 31, 2, 400)
    ]
    response = push(client, "\n".join(map(json.dumps, lines)).encode(), JSON_LINES)
    assert intake.process(response.json()["delivery"])
    kept = Delivery.objects.get()
    assert sorted(MetricPoint.objects.values_list("value", flat=True)) == [1.0, 2.0]
    assert (kept.rows, kept.error) == (2, "2 points are older than 30 days; none such is kept.")
