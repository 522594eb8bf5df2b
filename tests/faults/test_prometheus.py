"""A real Prometheus (Debian's package `prometheus`) watches Lastgood by its /metrics."""

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt-get install prometheus"),
]
CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: lastgood
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := found():
                return value
        except OSError as error:
            value = error
        assert time.monotonic() < deadline, value
        time.sleep(0.2)


def text_of(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


def test_prometheus_scrapes_every_figure_and_finds_no_fault_in_them(
    committed_db: Any, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    web, watcher = free_port(), free_port()
    counted = tmp_path / "requests"
    counted.mkdir()
    (tmp_path / "prometheus.yml").write_text(CONFIG.format(port=web))
    gunicorn = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{web}", "config.wsgi"]
    prometheus = ["prometheus", f"--config.file={tmp_path / 'prometheus.yml'}"]
    prometheus += [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address=127.0.0.1:{watcher}"]
    env = committed_db.env | {"PROMETHEUS_MULTIPROC_DIR": str(counted)}
    started = [subprocess.Popen(argv, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) for argv in (gunicorn, prometheus)]

    def asked(query: str) -> list[dict[str, Any]]:
        encoded = urllib.parse.urlencode({"query": query})
        return json.loads(text_of(f"http://127.0.0.1:{watcher}/api/v1/query?{encoded}"))["data"]["result"]

    try:
        text = until(lambda: text_of(f"http://127.0.0.1:{web}/metrics"))
        until(lambda: [one for one in asked("up") if one["value"][1] == "1"])
        requests = until(lambda: asked('lastgood_request_seconds_count{kind="health",status="2xx"} >= 2'))
        assert requests[0]["metric"]["job"] == "lastgood"
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
