"""A worker that is killed while it sketches a fleet's window."""

import subprocess
import sys

import pytest
from django.conf import settings

from monitoring import detect, partials
from monitoring.models import Finding, PartialSketch, Window
from tests.conftest import ROOT
from tests.monitoring import stream
from tests.monitoring.world import START, WINDOW, answers, log, make_endpoint, make_hosts, make_version, part

pytestmark = pytest.mark.faults
PROGRAM = """
import sys, time
import django
django.setup()
from monitoring import partials
partials.FLEET_ROWS, partials.PARTIAL_ROWS = 1000, 300
def wait(share):
    print("written, not committed", flush=True)
    time.sleep(600)
partials._merge = wait
partials.advance(int(sys.argv[1]))
"""


def test_a_killed_workers_rows_are_sketched_once_by_the_next(committed_db, monkeypatch):
    monkeypatch.setattr(partials, "FLEET_ROWS", 1000)
    monkeypatch.setattr(partials, "PARTIAL_ROWS", 300)
    endpoint, hosts = make_endpoint(), make_hosts("h1", "h2", "h3")
    make_version(endpoint, 1)
    monitor = stream.watch(endpoint)
    for number, host in enumerate(hosts):
        log(endpoint, host, answers(part(2017, number * 500, 400), seed=number))
    env = committed_db.env | {"LASTGOOD_VAR": str(settings.LASTGOOD_VAR)}
    command = [sys.executable, "-c", PROGRAM, str(monitor.pk)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE) as worker:
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"written, not committed\n"
        finally:
            worker.kill()

    assert PartialSketch.objects.count() == 0
    assert partials.due(START) == [monitor.pk]
    assert partials.advance(monitor.pk) == 3
    assert sorted(PartialSketch.objects.values_list("rows", flat=True)) == [400, 400, 400]

    window = Window.objects.create(endpoint=endpoint, start=START, end=START + WINDOW, due_at=START)
    assert detect.judge(window.pk) is True
    assert Finding.objects.get(rule__kind="input_drift").rows == 1200
