from celery import shared_task

from audit.clock import database_now
from registry import reconcile
from registry import soak as soaking


@shared_task(name="registry.observe")
def observe(placement_id: int) -> None:
    reconcile.observe_placement(placement_id)


@shared_task(name="registry.golden_probe")
def golden_probe(placement_id: int) -> None:
    reconcile.golden_probe(placement_id)


@shared_task(name="registry.soak")
def soak(endpoint_id: int) -> None:
    soaking.soak(endpoint_id=endpoint_id, now=database_now())
