from celery import shared_task

from incidents.telling import carry, maintenance, months


@shared_task(name="telling.turn_maintenance")
def turn_maintenance(maintenance_id: int) -> None:
    maintenance.wake(maintenance_id=maintenance_id)


@shared_task(name="telling.freeze_months")
def freeze_months(component_id: int) -> None:
    months.freeze(component_id=component_id)


@shared_task(name="telling.carry")
def carry_messages(_: int) -> None:
    carry.carry()
