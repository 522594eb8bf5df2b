"""What `/metrics` tells of Lastgood's own work and of its requests."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, RequestFactory
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from config.latency import kind_of
from monitoring.models import Alert, Delivery, DeliveryState, Monitor, Window
from registry.snapshots.models import Sweep
from tests.conftest import ROOT
from tests.monitoring.world import make_endpoint


def told(client: Client) -> dict[tuple[str, ...], float]:
    """The samples of /metrics, by name and values of labels."""
    text = client.get("/metrics").content.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_idle_installation_tells_of_every_figure(client: Client, db: None) -> None:
    now = timezone.now()
    Sweep.objects.create(day=now.date(), due_at=now, ended_at=now)
    found = told(client)
    for name in ("runs", "due_rows", "deliveries_waiting", "deliveries_oldest_seconds", "deliveries_set_aside",
                 "windows_waiting", "messages_waiting", "messages_given_up", "endpoints_silent"):  # fmt: skip
        values = [value for key, value in found.items() if key[0] == f"lastgood_{name}"]
        assert values, name
        assert set(values) == {0.0}, name
    assert found["lastgood_runs", "halted"] == 0.0
    assert ("lastgood_due_rows", "monitoring.process") in found


def test_what_waits_is_told_with_the_age_of_the_oldest(client: Client, db: None) -> None:
    endpoint, now = make_endpoint(), timezone.now()
    for key, state, minutes in (("a", DeliveryState.STORED, 5), ("b", DeliveryState.STORED, 1)):
        Delivery.objects.create(
            source="labels", key=key, endpoint=endpoint, content_type="x", body=b"x", sha256="0" * 64, size=1,
            state=state, received_at=now - timedelta(minutes=minutes),
        )  # fmt: skip
    Delivery.objects.create(
        source="labels", key="c", content_type="x", body=b"x", sha256="0" * 64, size=1, state=DeliveryState.UNPARSEABLE
    )
    Monitor.objects.create(endpoint=endpoint, next_window_at=now - timedelta(days=1))
    Window.objects.create(
        endpoint=endpoint, start=now - timedelta(hours=3), end=now - timedelta(hours=2), due_at=now - timedelta(hours=1)
    )
    Alert.objects.create(fingerprint="f", source="rule", severity=1, summary="x", started_at=now)
    found = told(client)
    assert found[("lastgood_deliveries_waiting",)] == 2
    assert 300 <= found[("lastgood_deliveries_oldest_seconds",)] < 360
    assert found[("lastgood_deliveries_set_aside",)] == 1
    assert found[("lastgood_windows_waiting",)] == 1
    assert 3600 <= found[("lastgood_windows_oldest_seconds",)] < 3660
    assert found["lastgood_alerts_firing", "1"] == 1
    assert found[("lastgood_endpoints_silent",)] == 1
    assert found["lastgood_due_rows", "monitoring.process"] == 2


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/incidents/", "page"),
        ("POST", "/incidents/INC-1/triage/", "verb"),
        ("GET", "/api/v1/incidents/", "api_read"),
        ("POST", "/api/v1/plans/", "api_write"),
        ("POST", "/api/v1/ingest/metrics/", "ingest"),
        ("GET", "/healthz", "health"),
    ],
)
def test_each_request_is_of_one_kind(method: str, path: str, kind: str) -> None:
    assert kind_of(RequestFactory().generic(method, path)) == kind


def test_requests_are_counted_by_kind_and_class_of_status(client: Client, db: None) -> None:
    key = ("lastgood_request_seconds_count", "api_read", "4xx")
    before = told(client).get(key, 0.0)
    assert client.get("/api/v1/incidents/").status_code == 401
    assert told(client)[key] == before + 1


def test_all_web_processes_are_counted_together(tmp_path: Path) -> None:
    program = (
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from config import latency\n"
        "latency._requests.labels('page', '2xx').observe(0.3)\n"
        "registry = CollectorRegistry()\n"
        "latency.add_to(registry)\n"
        "print(generate_latest(registry).decode())\n"
    )
    env: dict[str, Any] = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    texts = [
        subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert 'lastgood_request_seconds_count{kind="page",status="2xx"} 1.0' in texts[0]
    assert 'lastgood_request_seconds_count{kind="page",status="2xx"} 2.0' in texts[1]
    assert 'lastgood_request_seconds_bucket{kind="page",le="0.2",status="2xx"} 0.0' in texts[1]
