"""Messages are only wake-ups: whatever becomes of them, a run is taken to its end once."""

import pytest
from celery import Celery

from incidents.rollback.models import HostStep, Run, RunState
from tests.faults.town import PATIENT, Town
from tests.waiting import until

pytestmark = pytest.mark.faults


def test_f11_a_worker_that_hears_nothing_ends_itself_and_the_next_one_goes_on(town: Town) -> None:
    endpoint = town.endpoint()
    run = town.run(endpoint)
    town.clock()
    deaf = town.worker("deaf", DEAF="1", LASTGOOD_DEAF_SECONDS="2")

    until(lambda: deaf.poll() is not None, seconds=PATIENT)
    assert deaf.returncode == 70
    assert "worker.deaf" in town.said("deaf")
    town.worker("hearing")

    town.wait_for([run])
    assert Run.objects.get(pk=run.pk).state == RunState.SWITCHED


def test_f13_the_same_message_fifty_times_to_two_workers_is_one_execution(town: Town) -> None:
    endpoint = town.endpoint()
    run = town.run(endpoint)
    sender = Celery(broker=town.redis)
    for _ in range(50):
        sender.send_task("rollback.advance", args=[str(run.pk)], queue="rollback")
    town.worker("another")

    town.wait_for([run])
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
    assert town.judge().wrong() == []
