"""A real Prometheus (Debian's package `prometheus`) watches Lastgood by its /metrics, and is asked by Lastgood."""

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from audit.clock import database_now
from monitoring.models import MetricPoint, MetricSeries
from monitoring.pull.actions import PullRefused, create_query, create_source
from monitoring.pull.models import Query
from monitoring.pull.pulling import pull
from tests.accounts.people import SETUP
from tests.conftest import ROOT
from tests.debian import program
from tests.monitoring.world import make_endpoint
from tests.waiting import answers, until

pytestmark = pytest.mark.faults
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: lastgood
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def test_prometheus_scrapes_every_figure_and_finds_no_fault_in_them(
    committed_db: Any, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    web, watcher = free_port(), free_port()
    counted = tmp_path / "requests"
    counted.mkdir()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=web))
    gunicorn = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{web}", "config.wsgi"]
    prometheus = [program("prometheus", "prometheus"), f"--config.file={tmp_path / 'prometheus.yml'}"]
    prometheus += [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{watcher}"]
    env = committed_db.env | {"PROMETHEUS_MULTIPROC_DIR": str(counted)}
    started = [subprocess.Popen(argv, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) for argv in (gunicorn, prometheus)]

    def asked(query: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"http://127.0.0.1:{watcher}/api/v1/query", params={"query": query}, timeout=30)
        return answer.json()["data"]["result"]

    try:
        until(lambda: answers(f"http://127.0.0.1:{web}/metrics"))
        text = httpx.get(f"http://127.0.0.1:{web}/metrics", timeout=30).text
        until(lambda: answers(f"http://127.0.0.1:{watcher}/-/ready"))
        until(lambda: [one for one in asked("up") if one["value"][1] == "1"])
        seen = 'lastgood_request_seconds_count{kind="health",status="2xx"} >= 2'
        until(lambda: asked(seen))
        assert asked(seen)[0]["metric"]["job"] == "lastgood"
        assert asked('lastgood_ready{part="database"}')[0]["value"][1] == "1"
        assert {one["metric"]["state"] for one in asked("lastgood_runs")} == {"running", "halted", "compensating"}
        assert asked("histogram_quantile(0.95, sum by (le) (lastgood_request_seconds_bucket))")
        linted = subprocess.run(
            ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (linted.returncode, linted.stderr) == (0, "")
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


@pytest.mark.django_db(transaction=True)
def test_what_prometheus_measured_becomes_a_metric_and_outlives_its_death(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=port))
    argv = [program("prometheus", "prometheus"), f"--config.file={tmp_path / 'prometheus.yml'}"]
    argv += [f"--web.listen-address=127.0.0.1:{port}"]
    argv.append(f"--storage.tsdb.path={tmp_path / 'data'}")
    endpoint, url = make_endpoint(), f"http://127.0.0.1:{port}"

    def started() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        until(lambda: answers(f"{url}/-/ready"))
        return process

    def asked_again() -> int:
        Query.objects.update(next_at=database_now(), done_until=database_now() - timedelta(minutes=5))
        return pull(Query.objects.get().pk)

    prometheus = started()
    try:
        source = create_source(name="prometheus", address=url, actor=SETUP)
        with pytest.raises(PullRefused, match="parse error"):
            create_query(source=source, endpoint=endpoint, name="broken", promql="sum(", actor=SETUP)
        create_query(source=source, endpoint=endpoint, name="is_up", promql="up", step_seconds=15, actor=SETUP)
        until(lambda: asked_again() > 0, seconds=90)
        series = MetricSeries.objects.get(name="is_up")
        assert series.column == f"instance=127.0.0.1:{port},job=lastgood"
        assert set(MetricPoint.objects.filter(series=series).values_list("value", flat=True)) == {1.0}
        prometheus.kill()
        prometheus.wait(30)
        there = MetricPoint.objects.count()
        assert asked_again() == 0
        assert Query.objects.get().problem.startswith("prometheus: No answer")
        assert MetricPoint.objects.count() == there
        prometheus = started()
        until(lambda: asked_again() > 0, seconds=90)
        assert Query.objects.get().problem == ""
    finally:
        prometheus.kill()
        prometheus.wait(30)
