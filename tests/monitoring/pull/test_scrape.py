"""A page of figures is read by the clock: known names become metrics of the endpoints on its host."""

import socket
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from audit.clock import database_now
from audit.models import AuditEvent
from monitoring.models import MetricPoint, Monitor
from monitoring.pull import due, scraping
from monitoring.pull.actions import PullRefused, create_source, end_scrape, scrape_host
from monitoring.pull.figures import UnknownPage, quantile, read_page, since_before
from monitoring.pull.models import Exporter, Scrape
from monitoring.pull.queries import unanswered
from monitoring.pull.scraping import default_address, read_host, scrape
from registry.actions import place
from registry.models import Endpoint, Host
from tests.accounts.people import SETUP
from tests.monitoring.pull.prometheus import Server
from tests.monitoring.world import make_endpoint, make_hosts

TRITON = """
# HELP nv_inference_request_success Number of successful inference requests
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="employment",version="1"}} {requests}
nv_inference_request_success{{model="other",version="1"}} 50
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{{model="employment",version="1"}} {microseconds}
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{{model="employment",reason="BACKEND",version="1"}} {failures}
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{{gpu_uuid="GPU-1"}} 0.75
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{{gpu_uuid="GPU-1"}} 1024
# TYPE some_other_thing gauge
some_other_thing 1
"""
BUNDLED = """
# TYPE lastgood_host_requests_total counter
lastgood_host_requests_total{{model="employment",version="2"}} {count}
# TYPE lastgood_host_request_duration_seconds histogram
lastgood_host_request_duration_seconds_bucket{{model="employment",version="2",le="0.001"}} {fast}
lastgood_host_request_duration_seconds_bucket{{model="employment",version="2",le="0.01"}} {count}
lastgood_host_request_duration_seconds_bucket{{model="employment",version="2",le="+Inf"}} {count}
lastgood_host_request_duration_seconds_sum{{model="employment",version="2"}} 1
lastgood_host_request_duration_seconds_count{{model="employment",version="2"}} {count}
"""
DCGM = """
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="GPU-1",Hostname="a"}} 61
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-1",Hostname="a"}} 2
# TYPE DCGM_FI_DEV_XID_ERRORS gauge
DCGM_FI_DEV_XID_ERRORS{{gpu="0",UUID="GPU-1",Hostname="a"}} 79
# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="0",UUID="GPU-1",Hostname="a"}} {ecc}
"""
NODE = """
# TYPE node_cpu_seconds_total counter
node_cpu_seconds_total{{cpu="0",mode="idle"}} {idle}
node_cpu_seconds_total{{cpu="0",mode="user"}} 9
node_cpu_seconds_total{{cpu="1",mode="idle"}} {idle}
# TYPE node_network_receive_bytes_total counter
node_network_receive_bytes_total{{device="eth0"}} {received}
"""


def between(exporter: str, page: str, before: dict, after: dict, seconds: float = 10.0) -> dict:
    first, second = read_page(exporter, page.format(**before)), read_page(exporter, page.format(**after))
    return {(one.name, one.model, one.column): one for one in since_before(second, first.counters, seconds)}


def test_counters_of_triton_become_rates_and_means_of_each_model() -> None:
    before, after = ({"requests": r, "microseconds": us, "failures": f} for r, us, f in ((100, 5e5, 0), (300, 9e5, 4)))
    found = between(Exporter.TRITON, TRITON, before, after)
    assert found["requests_per_second", "employment", ""].value == 20.0
    assert found["requests_per_second", "other", ""].value == 0.0
    assert found["failures_per_second", "employment", "reason=BACKEND"].value == 0.4
    assert found["engine_latency_mean_ms", "employment", ""].value == pytest.approx(2.0)
    stands = {one.name: one for one in read_page(Exporter.TRITON, TRITON.format(**after)).values}
    assert (stands["gpu_utilisation"].value, stands["gpu_utilisation"].column) == (0.75, "gpu=GPU-1")
    assert set(stands) == {"gpu_utilisation", "gpu_memory_used_bytes"}


def test_a_counter_that_fell_has_begun_anew_and_a_new_one_says_nothing_yet() -> None:
    first = read_page(Exporter.BUNDLED, BUNDLED.format(count=500, fast=10))
    again = read_page(Exporter.BUNDLED, BUNDLED.format(count=40, fast=10))
    assert {one.name: one.value for one in since_before(again, first.counters, 10.0)}["requests_per_second"] == 4.0
    assert since_before(again, {}, 10.0) == []


def test_failures_of_the_bundled_host_are_told_by_exception_and_refusals_by_status() -> None:
    page = """
lastgood_host_exceptions_total{{model="employment",version="2",kind="RuntimeError"}} {failed}
lastgood_host_refused_total{{model="employment",status="400"}} {refused}
lastgood_host_refused_total{{model="",status="404"}} {refused}
"""
    found = between(Exporter.BUNDLED, page, {"failed": 3, "refused": 0}, {"failed": 5, "refused": 30})
    failed = found["exceptions_per_second", "employment", "kind=RuntimeError"]
    assert (failed.value, failed.version) == (0.2, "2")
    assert found["refused_per_second", "employment", "status=400"].value == 3.0
    assert found["refused_per_second", "", "status=404"].value == 3.0


def test_a_histogram_becomes_quantiles_of_the_time_between_two_readings() -> None:
    found = between(Exporter.BUNDLED, BUNDLED, {"count": 100, "fast": 100}, {"count": 300, "fast": 200})
    p50, p95 = found["engine_latency_p50_ms", "employment", ""], found["engine_latency_p95_ms", "employment", ""]
    assert (p50.value, p50.n, p50.version) == (pytest.approx(1.0), 200, "2")
    assert p95.value == pytest.approx(1.0 + 9.0 * 0.9)
    assert quantile({0.5: 0.0, float("inf"): 10.0}, 0.99) == 0.5


def test_gpus_are_told_once_each_with_their_errors_and_cores_by_their_idle_time() -> None:
    page = read_page(Exporter.DCGM, DCGM.format(ecc=3))
    assert {(one.name, one.value, one.column) for one in page.values} == {
        ("gpu_temperature", 61.0, "gpu=0"), ("gpu_memory_used_bytes", 2 * 2.0**20, "gpu=0"), ("gpu_xid", 79.0, "gpu=0"),
    }  # fmt: skip
    errors = between(Exporter.DCGM, DCGM, {"ecc": 3}, {"ecc": 5})
    assert errors["gpu_ecc_uncorrected", "", "gpu=0"].value == 2.0
    host = between(Exporter.NODE, NODE, {"idle": 100, "received": 0}, {"idle": 104, "received": 5000})
    assert host["cpu_utilisation", "", ""].value == pytest.approx(0.6)
    assert host["network_in_bytes", "", "device=eth0"].value == 500.0


MIG = """
# TYPE DCGM_FI_DEV_GPU_TEMP gauge
DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="GPU-1",GPU_I_ID="1"}} 45
DCGM_FI_DEV_GPU_TEMP{{gpu="0",UUID="GPU-1",GPU_I_ID="2"}} 45
# TYPE DCGM_FI_DEV_FB_USED gauge
DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-1",GPU_I_ID="1"}} 2
DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-1",GPU_I_ID="2"}} 3
# TYPE DCGM_FI_DEV_ECC_DBE_VOL_TOTAL counter
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="0",UUID="GPU-1",GPU_I_ID="1"}} {ecc}
DCGM_FI_DEV_ECC_DBE_VOL_TOTAL{{gpu="0",UUID="GPU-1",GPU_I_ID="2"}} {ecc}
"""
VLLM = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="employment"} 4
vllm:num_requests_running{engine="1",model_name="employment"} 5
# TYPE vllm:gpu_cache_usage_perc gauge
vllm:gpu_cache_usage_perc{engine="0",model_name="employment"} 0.9
vllm:gpu_cache_usage_perc{engine="1",model_name="employment"} 0.8
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="employment"} 0.9
vllm:kv_cache_usage_perc{engine="1",model_name="employment"} 0.8
"""


def test_shares_and_temperatures_are_not_added_up() -> None:
    of_parts = {one.name: one.value for one in read_page(Exporter.DCGM, MIG.format(ecc=3)).values}
    assert of_parts == {"gpu_temperature": 45.0, "gpu_memory_used_bytes": 5 * 2.0**20}
    assert between(Exporter.DCGM, MIG, {"ecc": 3}, {"ecc": 5})["gpu_ecc_uncorrected", "", "gpu=0"].value == 2.0
    of_engines = {one.name: one.value for one in read_page(Exporter.VLLM, VLLM).values}
    assert of_engines == {"in_flight": 9.0, "kv_cache_used": 0.9}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<html>", "is not Prometheus' text"),
        ("up 1\n", "holds none of the figures"),
        ("", "none"),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="\0"} 41\n', "holds the character NUL"),
        ('DCGM_FI_DEV_GPU_TEMP{gpu="0"} 1.7e308\n', "holds none of the figures"),
    ],
)
def test_a_page_that_is_none_is_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(UnknownPage, match=said):
        read_page(Exporter.DCGM, text)


def test_a_bucket_without_a_bound_is_no_page_or_no_bucket() -> None:
    page = BUNDLED.format(count=100, fast=100)
    with pytest.raises(UnknownPage, match="could not convert string to float: 'quick'"):
        read_page(Exporter.BUNDLED, page.replace('le="0.001"', 'le="quick"'))
    for bound in ('le="NaN"', 'bound="0.001"'):
        counted = read_page(Exporter.BUNDLED, page.replace('le="0.001"', bound)).counters
        assert {key.split("|")[1] for key in counted if "_bucket" in key} == {"le=+Inf", "le=0.01"}


def test_a_histogram_that_was_written_while_it_grew_has_no_quantiles() -> None:
    page = 'lastgood_host_request_duration_seconds_bucket{{le="0.001"}} {fast}\n' + (
        'lastgood_host_request_duration_seconds_bucket{{le="+Inf"}} {all}\n'
    )
    before = read_page(Exporter.BUNDLED, page.format(fast=5, all=9)).counters
    assert since_before(read_page(Exporter.BUNDLED, page.format(fast=8, all=9)), before, 15.0) == []
    [_, _, last] = since_before(read_page(Exporter.BUNDLED, page.format(fast=8, all=1e13)), before, 15.0)
    assert (last.name, last.n) == ("engine_latency_p99_ms", 2**31 - 1)


@pytest.fixture
def host(endpoint: Endpoint) -> Host:
    return Host.objects.get()


@pytest.fixture
def endpoint() -> Endpoint:
    endpoint, [host] = make_endpoint(), make_hosts("gpu-a1")
    place(endpoint=endpoint, host=host, actor=SETUP)
    return endpoint


def again(found: Scrape, *, seconds: int = 15) -> int:
    """Read the page once more, `seconds` after the reading before."""
    now = database_now()
    Scrape.objects.filter(pk=found.pk).update(next_at=now, answered_at=F("answered_at") - timedelta(seconds=seconds))
    return scrape(found.pk)


def newest() -> dict[str, float]:
    rows = MetricPoint.objects.order_by("at").values_list("series__name", "value")
    return dict(rows)


@pytest.mark.django_db
def test_a_page_is_read_into_the_metrics_of_the_hosts_endpoints(server: Server, endpoint: Endpoint, host: Host) -> None:
    server.page = BUNDLED.format(count=100, fast=100)
    found = scrape_host(host=host, exporter="bundled", address=f"{server.url}/metrics", actor=SETUP)
    assert due.scrapes(database_now()) == [found.pk]
    scrape(found.pk)
    assert newest() == {"host_up": 1.0}
    assert due.scrapes(database_now()) == []
    server.page = BUNDLED.format(count=400, fast=400)
    again(found)
    assert newest()["requests_per_second"] == pytest.approx(20, rel=0.05)
    assert newest()["engine_latency_p95_ms"] == pytest.approx(0.95)
    [series] = endpoint.series.filter(name="requests_per_second")
    assert (series.host, series.version, series.unit) == (host, "2", "1/s")
    again(found, seconds=600)
    assert MetricPoint.objects.filter(series=series).count() == 1


@pytest.mark.django_db
def test_a_host_that_does_not_answer_is_said_to_give_no_figures_since_when(
    server: Server, endpoint: Endpoint, host: Host
) -> None:
    server.page = BUNDLED.format(count=1, fast=1)
    found = scrape_host(host=host, exporter="bundled", address=f"{server.url}/metrics", actor=SETUP)
    scrape(found.pk)
    assert unanswered(endpoint) == []
    server.broken = "down"
    again(found)
    [said] = unanswered(endpoint)
    assert said.startswith("No figures from gpu-a1 (Lastgood's serving host) since ")
    assert "The answer was 503" in said
    assert newest() == {"host_up": 0.0}
    since = Scrape.objects.get().down_since
    again(found)
    assert Scrape.objects.get().down_since == since
    server.broken = ""
    again(found)
    assert unanswered(endpoint) == []
    told = AuditEvent.objects.filter(action="scrape.read").order_by("pk").values_list("outcome", flat=True)
    assert list(told) == ["failed", "success"]


@pytest.mark.django_db
def test_hosts_of_watched_endpoints_are_read_without_being_asked_for(endpoint: Endpoint, host: Host) -> None:
    assert due.unread_hosts() == []
    Monitor.objects.create(endpoint=endpoint)
    assert due.unread_hosts() == [host.pk]
    read_host(host.pk)
    read_host(host.pk)
    assert Scrape.objects.get().address == "http://127.0.0.1:9000/metrics"
    assert due.unread_hosts() == []
    end_scrape(scrape=Scrape.objects.get(), actor=SETUP)
    assert (due.unread_hosts(), due.scrapes(database_now())) == ([], [])
    assert default_address(Host(address="http://[::1]:80"), Exporter.DCGM) == "http://[::1]:9400/metrics"


@pytest.mark.django_db
def test_a_page_outside_of_the_allowed_networks_is_not_read(host: Host, settings: object) -> None:
    settings.LASTGOOD_PULL_NETWORKS = ["10.0.0.0/8"]
    with pytest.raises(PullRefused, match="LASTGOOD_PULL_NETWORKS"):
        scrape_host(host=host, exporter="bundled", address="http://127.0.0.1:1/metrics", actor=SETUP)
    read_host(host.pk)
    kept = Scrape.objects.get()
    assert kept.ended_at is not None
    assert "LASTGOOD_PULL_NETWORKS" in kept.problem


@pytest.mark.django_db
def test_a_page_of_a_scrape_that_was_moved_while_it_was_read_is_thrown_away(
    endpoint: Endpoint, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scrape_host(host=host, exporter="bundled", address="http://127.0.0.1:1/metrics", actor=SETUP)

    def moved(*_: object, **__: object) -> bytes:
        scrape_host(host=host, exporter="bundled", address="http://127.0.0.1:2/metrics", actor=SETUP)
        return BUNDLED.format(count=1, fast=1).encode()

    monkeypatch.setattr(scraping, "fetch", moved)
    assert scrape(found.pk) == 0
    kept = Scrape.objects.get()
    assert (kept.counters, kept.answered_at, MetricPoint.objects.count()) == ({}, None, 0)


@pytest.mark.django_db
def test_names_are_looked_up_outside_of_a_transaction(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    depths, outside, known = [], len(connection.savepoint_ids), socket.getaddrinfo

    def looked_up(*given: Any, **named: Any) -> Any:
        depths.append(len(connection.savepoint_ids))
        return known(*given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    scrape_host(host=host, exporter="bundled", address="http://localhost:1/metrics", actor=SETUP)
    create_source(name="prometheus", address="http://localhost:1", actor=SETUP)
    assert depths == [outside, outside]
