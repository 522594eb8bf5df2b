from celery import shared_task

from accounts.approvals import actions
from audit.actions import service_actor


@shared_task(name="accounts.expire_request")
def expire_request(request_id: str) -> None:
    actions.expire(request_id=request_id, actor=service_actor("clock"))
