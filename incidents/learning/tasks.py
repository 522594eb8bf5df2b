from celery import shared_task

from audit.clock import database_now
from incidents.learning import actions


@shared_task(name="learning.remind")
def remind(item_id: int) -> None:
    actions.remind(item_id=item_id, now=database_now())
