"""Celery's entrance of suites: an id in, the verb called."""

from incidents.rollback.tasks import task


@task(name="gating.run_suite")
def run_suite(asking_id: str) -> None:
    from incidents.rollback.gating.suites import run_suite as run

    run(asking_id)
