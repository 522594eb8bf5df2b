from celery import shared_task

from audit.clock import database_now
from audit.dispatch import send
from incidents.telling import carry, maintenance, months, subscribers


@shared_task(name="telling.turn_maintenance")
def turn_maintenance(maintenance_id: int) -> None:
    maintenance.wake(maintenance_id=maintenance_id)


@shared_task(name="telling.freeze_months")
def freeze_months(component_id: int) -> None:
    months.freeze(component_id=component_id)


@shared_task(name="telling.forget_unconfirmed")
def forget_unconfirmed(subscriber_id: int) -> None:
    subscribers.forget_unconfirmed(subscriber_id=subscriber_id)


@shared_task(name="telling.carry")
def carry_messages(outbox_id: int) -> None:
    # The clock asks ever more rarely for what stays due: a pass that got somewhere sees to the next by itself.
    if carry.carry() and carry.has_waiting(database_now()):
        send("telling.carry", [outbox_id], "intake")
