from celery import shared_task

from audit.clock import database_now
from incidents.learning import reminders


@shared_task(name="learning.remind")
def remind(item_id: int) -> None:
    reminders.remind_of_item(item_id=item_id, now=database_now())


@shared_task(name="learning.remind_of_signature")
def remind_of_signature(signature_id: int) -> None:
    reminders.remind_of_signature(signature_id=signature_id, now=database_now())


@shared_task(name="learning.remind_of_update")
def remind_of_update(post_id: int) -> None:
    reminders.remind_of_update(post_id=post_id, now=database_now())
