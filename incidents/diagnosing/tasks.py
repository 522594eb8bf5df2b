from celery import shared_task

from audit.actions import service_actor


@shared_task(name="diagnosing.look_again")
def look_again(incident_id: int) -> None:
    from incidents.diagnosing import again

    again.look_again(incident_id=incident_id, actor=service_actor("incidents"))
