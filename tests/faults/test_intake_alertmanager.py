"""A real Alertmanager sends while the web process is killed and the database stopped: every alert is there, once."""

import signal
import subprocess
from datetime import UTC, datetime, timedelta

import httpx
import psutil
import pytest
from django.db import connections

from incidents.models import IncidentAlert
from monitoring.inbound.models import Arrival
from monitoring.models import Alert, AlertState, Delivery, DeliveryState
from tests.debian import program
from tests.faults.durable import Durable
from tests.faults.town import PATIENT, Town
from tests.monitoring.world import ingest_token
from tests.ports import free_port
from tests.waiting import answers, until

pytestmark = pytest.mark.faults
PROGRAM = "prometheus-alertmanager"
INSTANCES = 4
CONFIG = """
route:
  receiver: lastgood
  group_by: [alertname]
  group_wait: 200ms
  group_interval: 2s
  repeat_interval: 1h
receivers:
  - name: lastgood
    webhook_configs:
      - url: {url}/api/v1/ingest/alertmanager/prometheus/
        send_resolved: true
        http_config:
          authorization: {{type: Bearer, credentials: {token}}}
"""


class Sender:
    """Alertmanager, told of alerts as Prometheus tells it."""

    def __init__(self, town: Town, url: str, token: str) -> None:
        folder = town.folder / "alertmanager"
        folder.mkdir()
        config = folder / "config.yml"
        config.write_text(CONFIG.format(url=url, token=token))
        self.url = f"http://127.0.0.1:{free_port()}"
        place = [f"--config.file={config}", f"--storage.path={folder / 'data'}", "--cluster.listen-address="]
        arguments = [*place, f"--web.listen-address={self.url.removeprefix('http://')}"]
        with (town.folder / "alertmanager.log").open("ab") as log:
            town.started.append(subprocess.Popen([program(PROGRAM, PROGRAM), *arguments], stdout=log, stderr=log))
        until(lambda: answers(f"{self.url}/-/ready"), seconds=PATIENT)

    def tell(self, name: str, *, over: bool = False) -> None:
        """The alerts of that name fire, or have ended."""
        now = datetime.now(UTC)
        ends = now - timedelta(seconds=1) if over else now + timedelta(hours=1)
        alerts = [
            {
                "labels": {"alertname": name, "instance": f"gpu-{number}", "severity": "warning"},
                "annotations": {"summary": f"{name} on gpu-{number}"},
                "startsAt": (now - timedelta(minutes=1)).isoformat(),
                "endsAt": ends.isoformat(),
            }
            for number in range(INSTANCES)
        ]
        httpx.post(f"{self.url}/api/v2/alerts", json=alerts, timeout=10).raise_for_status()

    def failures(self) -> float:
        """Requests of its webhook that failed: 5xx, or no answer."""
        lines = httpx.get(f"{self.url}/metrics", timeout=10).text.splitlines()
        name = 'alertmanager_notification_requests_failed_total{integration="webhook"}'
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def web_at(town: Town, port: int) -> subprocess.Popen[bytes]:
    """The web process, at the address that Alertmanager knows."""
    place = ["--bind", f"127.0.0.1:{port}", "--workers", "1", "--threads", "4", "--worker-class", "gthread"]
    env = {"POINT": "", "LASTGOOD_PROGRAM": "web"}
    process = town.start("web", *place, "--no-control-socket", "tests.faults.wsgi", module="gunicorn", env=env)
    until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), seconds=PATIENT)
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    """It, and the processes that it started, at once."""
    for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.wait()


def count(**states: str) -> int:
    return Alert.objects.filter(**states).count()


def test_every_alert_is_there_once_after_the_web_process_and_the_database_died(
    durable_town: Town, durable: Durable
) -> None:
    town, port = durable_town, free_port()
    web = web_at(town, port)
    town.clock()
    town.worker("intake", "intake,compute")
    sender = Sender(town, f"http://127.0.0.1:{port}", ingest_token())
    sender.tell("Before")
    until(lambda: count(state=AlertState.FIRING) == INSTANCES, seconds=PATIENT)

    kill(web)
    sender.tell("WebDead")
    until(lambda: sender.failures() > 0, seconds=PATIENT)
    connections.close_all()
    durable.stop_database(signal.SIGQUIT)
    web_at(town, port)
    sender.tell("DatabaseAway")
    before = sender.failures()
    until(lambda: sender.failures() > before + 1, seconds=PATIENT)
    durable.start_database()

    until(lambda: count(state=AlertState.FIRING) == 3 * INSTANCES, seconds=PATIENT)
    for name in ("Before", "WebDead", "DatabaseAway"):
        sender.tell(name, over=True)
    until(lambda: count(state=AlertState.RESOLVED) == 3 * INSTANCES, seconds=PATIENT)
    until(lambda: not Delivery.objects.filter(state=DeliveryState.STORED).exists(), seconds=PATIENT)

    assert count() == 3 * INSTANCES
    assert Alert.objects.values("fingerprint").distinct().count() == 3 * INSTANCES
    until(lambda: IncidentAlert.objects.count() == 3 * INSTANCES, seconds=PATIENT)
    assert IncidentAlert.objects.values("incident").distinct().count() == 3
    assert not Arrival.objects.filter(decision__in=["refused", "unreadable"]).exists()
