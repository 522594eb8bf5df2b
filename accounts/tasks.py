from celery import shared_task

from accounts.approvals import actions, acts, break_glass, keeping, notices
from accounts.authority.actions import expire_proposal, roles_changed
from accounts.models import User
from accounts.rosters.actions import read_roster
from audit.actions import service_actor


@shared_task(name="accounts.expire_request")
def expire_request(request_id: str) -> None:
    actions.expire(request_id=request_id, actor=service_actor("clock"))


@shared_task(name="accounts.roles_changed")
def bring_roles_up_to_date(user_id: str) -> None:
    roles_changed(user=User.objects.get(pk=user_id))


@shared_task(name="accounts.expire_proposal")
def expire_role_proposal(proposal_id: str) -> None:
    expire_proposal(proposal_id=proposal_id, actor=service_actor("clock"))


@shared_task(name="accounts.tell_glass")
def tell_of_broken_glass(notice_id: str) -> None:
    notices.tell(notice_id=int(notice_id))


@shared_task(name="accounts.act_decided")
def act_decided(request_id: str) -> None:
    acts.decided(request_id)


@shared_task(name="accounts.break_glass_limits")
def break_glass_limits(glass_id: str) -> None:
    break_glass.mark_limits(glass_id=glass_id, actor=service_actor("clock"))


@shared_task(name="accounts.prune_evidence")
def prune_evidence(request_id: str) -> None:
    keeping.prune_evidence(request_id=request_id)


@shared_task(name="accounts.read_roster")
def read_a_roster(roster_id: str) -> None:
    read_roster(roster_id=int(roster_id), actor=service_actor("clock"))
