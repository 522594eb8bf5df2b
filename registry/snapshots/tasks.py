from celery import shared_task

from registry.snapshots import actions, retention


@shared_task(name="snapshots.take")
def take(endpoint_id: int) -> None:
    actions.take_scheduled(endpoint_id=endpoint_id)


@shared_task(name="snapshots.verify")
def verify(snapshot_id: int) -> None:
    actions.verify(snapshot_id=snapshot_id)


@shared_task(name="snapshots.sweep")
def sweep(day: str) -> None:
    retention.sweep_of(day)
