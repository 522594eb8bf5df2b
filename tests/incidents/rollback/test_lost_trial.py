"""A worker that is killed in the middle of a trial: what it had loaded leaves the host's memory all the same."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from incidents.rollback import rehearsal, trials
from incidents.rollback.models import Trial, TrialLoad, TrialState
from tests.incidents.rollback.fleet import Fleet
from tests.incidents.rollback.test_rehearse import composed, fleet, held, ordered
from tests.waiting import until

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys, time
import django
django.setup()
from incidents.rollback import trials
from incidents.rollback.models import Trial
from registry.models import Version
trial = Trial.objects.select_related("endpoint__model", "version").get(pk=sys.argv[1])
with trials.TrialLease(trial.pk) as lease:
    bench = trials.Bench(trial, lease, trials.WORKER)
    bench.bring(trials.remotes_of(trial.endpoint)[0], trial.version)
    print("brought", flush=True)
    time.sleep(600)
"""

__all__ = ["fleet"]


def test_a_killed_worker_leaves_nothing_in_memory_and_its_rehearsal_is_done_by_another(
    committed_db: Any, fleet: Fleet
) -> None:
    # given
    part = composed(fleet)
    trial = ordered(fleet, part)
    command = [sys.executable, "-c", PROGRAM, str(trial.pk)]
    worker = subprocess.Popen(command, cwd=ROOT, env=committed_db.env, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"brought\n"
        assert held(fleet, part).count("ready") == 1
        assert trials.due_trials(timezone.now()) == trials.leftovers(timezone.now()) == []

        # when
        worker.send_signal(signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()

    # then
    until(lambda: trials.leftovers(timezone.now()))
    [load] = trials.leftovers(timezone.now())
    assert trials.take_out(load)
    assert "ready" not in held(fleet, part)

    # and when
    until(lambda: trials.due_trials(timezone.now()))
    assert rehearsal.take_up(trial.pk)

    # then
    assert Trial.objects.get().state == TrialState.DONE
    assert "ready" not in held(fleet, part)
    assert not TrialLoad.objects.filter(left_at=None).exists()
    assert fleet.serving() == [fleet.bad.digest] * 3
