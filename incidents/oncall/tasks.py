from celery import shared_task

from incidents.oncall import contacts, escalations


@shared_task(name="oncall.begin")
def begin(incident_id: int) -> None:
    escalations.begin(incident_id=incident_id)


@shared_task(name="oncall.turn")
def turn(escalation_id: int) -> None:
    escalations.turn(escalation_id=escalation_id)


@shared_task(name="oncall.forget_unconfirmed")
def forget_unconfirmed(contact_id: int) -> None:
    contacts.forget_unconfirmed(contact_id=contact_id, actor=escalations.CALLER)
