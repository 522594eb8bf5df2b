from celery import shared_task

from incidents.practice import automatic, drills, exported


@shared_task(name="practice.follow_drill")
def follow_drill(drill_id: str) -> None:
    drills.follow(drill_id)


@shared_task(name="practice.fire_schedule")
def fire_schedule(schedule_id: int) -> None:
    drills.fire(schedule_id)


@shared_task(name="practice.consider")
def consider(incident_id: int) -> None:
    automatic.consider(incident_id)


@shared_task(name="practice.judge")
def judge(attempt_id: int) -> None:
    automatic.judge(attempt_id)


@shared_task(name="practice.let_drill")
def let_drill(drill_id: str) -> None:
    automatic.let_drill(drill_id)


@shared_task(name="practice.refresh_runbook")
def refresh_runbook(endpoint_id: int) -> None:
    exported.refresh(endpoint_id)
