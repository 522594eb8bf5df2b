"""Messages are only wake-ups: whatever becomes of them, a run is taken to its end once."""

import pytest
from celery import Celery

from incidents.rollback.models import HostStep, Run, RunState
from tests.faults.matrix.endpoints import WithAHostOfItsOwn
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


def test_f02_a_message_that_is_sent_twice_starts_and_carries_out_one_run(town: Town) -> None:
    """Whoever sent the word died before noting it, and sends it again: two workers hear of one approval at once."""
    endpoint = town.endpoint()
    town.end_programs()
    plan = town.approved(endpoint)
    workers = [town.worker(name) for name in ("one", "two")]
    sender = Celery(broker=town.redis)
    for _ in workers:
        sender.send_task("rollback.request_decided", args=[str(plan.request_id)], queue="rollback")

    until(lambda: Run.objects.filter(plan=plan).exists(), seconds=PATIENT)
    run = Run.objects.get(plan=plan)
    town.wait_for([run])
    said = town.said("one") + town.said("two")
    assert said.count(f"heard rollback.request_decided {plan.request_id}") >= 2
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
    assert town.judge().wrong() == []


def test_f12_a_task_that_outlasts_the_visibility_timeout_is_carried_out_once(town: Town) -> None:
    """The broker takes the worker for dead and gives its message out again while a host is being called."""
    endpoint = town.endpoint(WithAHostOfItsOwn)
    assert isinstance(endpoint, WithAHostOfItsOwn)
    town.end_programs()
    run = town.run(endpoint)
    endpoint.door.hold_before = f"/lastgood/v1/models/{endpoint.slug}/default"
    sender = Celery(broker=town.redis)
    sender.send_task("rollback.advance", args=[str(run.pk)], queue="rollback")
    town.worker("long")
    until(endpoint.door.held.is_set, seconds=PATIENT)

    town.worker("quick")
    sender.conf.broker_transport_options = {"visibility_timeout": 1}
    with sender.connection_for_read() as connection:
        # What each worker does every 100 s, with its own visibility timeout.
        restore = connection.default_channel.qos.restore_visible
        heard = f"heard rollback.advance {run.pk}"
        until(lambda: restore(interval=1) or (town.said("long") + town.said("quick")).count(heard) > 1, seconds=PATIENT)
    endpoint.door.hold_before = ""
    endpoint.door.let_go.set()

    town.wait_for([run])
    assert list(HostStep.objects.filter(run=run).values_list("switch_calls", flat=True)) == [1, 1, 1]
    assert town.judge().wrong() == []
