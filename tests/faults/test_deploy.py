"""The application is replaced by another copy of itself while a run is under way."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from incidents.rollback.models import HostStep, Run, RunState, StepState
from tests.faults.town import PATIENT, ROOT, Town, caller
from tests.waiting import until

pytestmark = pytest.mark.faults
NOT_RELEASED = (".venv*", ".git", "var", "__pycache__", "build", ".*_cache", ".hypothesis")


def test_f39_a_run_goes_on_when_the_application_is_deployed_anew(town: Town, tmp_path: Path) -> None:
    """Web, worker and clock are told to end with the canary switched; the next release migrates and takes over."""
    endpoint = town.endpoint()
    plan = town.approved(endpoint, start_on_approval=False, wave_soak_seconds=6)
    start = caller(town.web("old-web"), endpoint.commander, "view", "plan.start")
    town.clock()
    town.worker("old-worker")
    assert start(f"plans/{plan.pk}/start/").status_code == 201
    run = Run.objects.get(plan=plan)
    canary = HostStep.objects.filter(run=run, state=StepState.DONE)
    until(canary.exists, seconds=PATIENT)

    for process in town.started:
        process.send_signal(signal.SIGTERM)
    assert {process.wait(PATIENT) for process in town.started} <= {0, -signal.SIGTERM}
    town.started.clear()
    run.refresh_from_db()
    assert (run.state, canary.count()) == (RunState.RUNNING, 1)
    town.code = tmp_path / "next"
    shutil.copytree(ROOT, town.code, ignore=shutil.ignore_patterns(*NOT_RELEASED))
    subprocess.run([sys.executable, "manage.py", "migrate"], cwd=town.code, env=town.env, check=True)
    stop = caller(town.web("new-web"), endpoint.commander, "view", "plan.stop")
    town.clock()
    town.worker("new-worker")

    town.wait_for([run])
    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED
    assert {os.readlink(f"/proc/{process.pid}/cwd") for process in town.started} == {str(town.code)}
    assert stop(f"runs/{run.pk}/stop/", reason="Too late.").status_code == 409
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
    assert town.judge().wrong() == []
