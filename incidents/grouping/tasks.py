from celery import shared_task

from incidents.grouping import flapping


@shared_task(name="grouping.begin_flap")
def begin_flap(alert_id: int) -> None:
    flapping.begin(alert_id=alert_id)


@shared_task(name="grouping.end_flap")
def end_flap(flap_id: int) -> None:
    flapping.end(flap_id=flap_id)
