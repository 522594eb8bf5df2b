from celery import shared_task

from audit.clock import database_now
from registry import actions, reconcile
from registry import soak as soaking
from registry.actions import compute_comparison


@shared_task(name="registry.observe")
def observe(placement_id: int) -> None:
    reconcile.observe_placement(placement_id)


@shared_task(name="registry.golden_probe")
def golden_probe(placement_id: int) -> None:
    reconcile.golden_probe(placement_id)


@shared_task(name="registry.soak")
def soak(endpoint_id: int) -> None:
    soaking.soak(endpoint_id=endpoint_id, now=database_now())


@shared_task(name="registry.compare_tensors")
def compare_tensors(comparison_id: int) -> None:
    compute_comparison(comparison_id=comparison_id)


@shared_task(name="registry.compose")
def compose(composition_id: int) -> None:
    actions.compose(composition_id=composition_id)
