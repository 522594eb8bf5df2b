"""Celery's entrances: an id in, the verb called, nothing else."""

from celery import shared_task

from monitoring.importance import actions


@shared_task(name="importance.begin")
def begin(version_id: int) -> None:
    actions.begin(version_id=version_id)


@shared_task(name="importance.measure")
def measure(importance_id: int) -> None:
    actions.measure(importance_id=importance_id)
