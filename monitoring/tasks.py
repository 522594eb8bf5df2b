"""Celery's entrances: an id in, the verb called, nothing else."""

from celery import shared_task

from audit.dispatch import each_of
from monitoring import detect, intake, partials, partitions, retention
from monitoring.comparing import actions as comparing
from monitoring.inbound import beats, draining
from monitoring.rules import evaluate, suppress


@shared_task(name="monitoring.process")
def process(*delivery_ids: str) -> None:
    each_of(intake.process, intake.process_together(delivery_ids))


@shared_task(name="monitoring.take_spooled")
def take_spooled(name: str) -> None:
    draining.take_spooled(name)


@shared_task(name="monitoring.send_beat")
def send_beat(beat_id: int) -> None:
    beats.send(number=beat_id)


@shared_task(name="monitoring.open_windows")
def open_windows(monitor_id: int) -> None:
    detect.open_windows(monitor_id)


@shared_task(name="monitoring.sketch_partials")
def sketch_partials(monitor_id: int) -> None:
    partials.advance(monitor_id)


@shared_task(name="monitoring.judge")
def judge(window_id: int) -> None:
    detect.judge(window_id)


@shared_task(name="monitoring.judge_labels")
def judge_labels(window_id: int) -> None:
    detect.judge_labels(window_id)


@shared_task(name="monitoring.compare_exactly")
def compare_exactly(comparison_id: str) -> None:
    comparing.compute(comparison_id)


@shared_task(name="monitoring.ask_rule")
def ask_rule(rule_id: int) -> None:
    evaluate.ask(rule_id)


@shared_task(name="monitoring.ask_suppressed")
def ask_suppressed(alert_id: int) -> None:
    suppress.ask_again(alert_id)


@shared_task(name="monitoring.prune")
def prune(endpoint_id: int) -> None:
    retention.prune(endpoint_id)


@shared_task(name="monitoring.empty_delivery")
def empty_delivery(delivery_id: str) -> None:
    retention.empty_delivery(delivery_id)


@shared_task(name="monitoring.forget_refusals")
def forget_refusals(day: str) -> None:
    retention.forget_refusals(day)


@shared_task(name="monitoring.make_partition")
def make_partition(name: str) -> None:
    partitions.make(name)


@shared_task(name="monitoring.drop_partition")
def drop_partition(name: str) -> None:
    partitions.drop(name)
