from celery import shared_task

from incidents.practice import drills


@shared_task(name="practice.follow_drill")
def follow_drill(drill_id: str) -> None:
    drills.follow(drill_id)


@shared_task(name="practice.fire_schedule")
def fire_schedule(schedule_id: int) -> None:
    drills.fire(schedule_id)
