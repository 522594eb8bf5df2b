"""Starting by itself: where a policy allows it, a program's leave stands in place of the approvals, for one exact plan.

The authority is the policy's, which people put into force as an act under approval. A person's denial wins over it.
"""

from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals import subjects
from accounts.approvals.actions import LIVE, Refused
from accounts.approvals.models import ApprovalPolicy, ApprovalRequest, AutomaticLeave, RequestState, SubjectKind
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.approvals.queries import NoPolicy, policy_for, standing
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit

KINDS = (SubjectKind.ROLLBACK, SubjectKind.DRILL)
"""What may start by itself: never a release."""


def is_allowed(policy: ApprovalPolicy) -> bool:
    """Whether what the policy covers may start without people."""
    return policy.automatic_allowed and policy.subject_kind in KINDS


def is_in_force(request: ApprovalRequest) -> bool:
    """Whether the request's policy is still the one for such a request."""
    tier, environment = request.risk_tier or request.policy.risk_tier, request.environment or request.policy.environment
    try:
        found = policy_for(subject_kind=request.subject_kind, risk_tier=tier, environment=environment)
    except NoPolicy:
        return False
    return found.pk == request.policy_id


@transaction.atomic
def give_leave(*, request_id: Any, subject_hash: str, rule: dict[str, Any], actor: Actor) -> AutomaticLeave:
    """Let the plan of that hash start without approvals. `rule` is what was found to be met, as facts without floats.

    Raises Refused with code not_automatic, hash_mismatch, not_open, expired, denied or subject_moved.
    """
    request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
    _check(request, subject_hash)
    if moved := subjects.moved(request):
        raise Refused(
            "subject_moved",
            gettext("What it is about has changed: %(names)s. It must be proposed again.")
            % {"names": "; ".join(moved)},
        )
    leave, given = AutomaticLeave.objects.get_or_create(request=request, defaults={"rule": rule})
    if not given:
        return leave
    if not ApprovalRequest.objects.filter(pk=request.pk, version=request.version).update(version=F("version") + 1):
        raise Refused("not_open", gettext("Somebody decided at the same moment."))
    record(
        action="approval.automatic",
        target=Target("approval_request", str(request.id)),
        actor=actor,
        incident=request.incident_ref,
        data={
            "request": str(request.id),
            "subject_hash": subject_hash,
            "policy": policy_facts(request.policy),
            "policy_hash": request.policy_hash,
            "model": request.model,
            "rule": rule,
        },
    )
    send_on_commit("rollback.request_decided", [str(request.id)], queue="rollback")
    return leave


def _check(request: ApprovalRequest, subject_hash: str) -> None:
    policy = request.policy
    if not is_allowed(policy) or policy.subject_kind != request.subject_kind:
        raise Refused(
            "not_automatic",
            gettext("The policy %(policy)s lets nothing start by itself. People must approve it.") % {"policy": policy},
        )
    if not is_in_force(request):
        raise Refused(
            "not_automatic",
            gettext("The policy %(policy)s is not in force any more. People must approve it.") % {"policy": policy},
        )
    if subject_hash != request.subject_hash or policy_hash(policy) != request.policy_hash:
        raise Refused(
            "hash_mismatch", gettext("The leave is for another plan, or under another policy, than was asked for.")
        )
    if request.state not in LIVE:
        raise Refused(
            "not_open", gettext("This request is closed: %(state)s.") % {"state": request.get_state_display().lower()}
        )
    if request.expires_at <= database_now():
        raise Refused("expired", gettext("This request has expired. Propose the plan again."))
    if standing(request).denied is not None:
        raise Refused("denied", gettext("A person has denied it."))


@transaction.atomic
def withdraw(*, model: str, why: str, actor: Actor) -> list[ApprovalRequest]:
    """Take back the leaves for rollbacks of a model that are not used yet; people are asked instead. Returns whose."""
    waiting = ApprovalRequest.objects.filter(
        model=model, subject_kind=SubjectKind.ROLLBACK, automatic_leave__isnull=False, automatic_leave__used_at=None
    )
    taken = []
    for request in waiting.order_by("pk").select_for_update(of=("self",)):
        if not AutomaticLeave.objects.filter(request=request, used_at=None).delete()[0]:
            continue  # used while its request was locked
        taken.append(request)
        record(
            action="approval.automatic.withdraw",
            target=Target("approval_request", str(request.id)),
            actor=actor,
            incident=request.incident_ref,
            reason=why,
            data={"request": str(request.id), "subject_hash": request.subject_hash, "model": model},
        )
    return taken


def stands(request: ApprovalRequest) -> AutomaticLeave | None:
    """The leave under which the request's plan may start now, if it was given and is not used, and the policy that
    allows it is still in force."""
    if request.state not in LIVE or not is_in_force(request):
        return None
    return AutomaticLeave.objects.filter(request=request, used_at=None).first()


def is_needed(request: ApprovalRequest) -> bool:
    """Whether the leave is what the plan would start under: it stands, and the approvals are not complete."""
    return stands(request) is not None and not standing(request).complete


@transaction.atomic
def use(*, request_id: Any, subject_hash: str) -> AutomaticLeave:
    """Use the leave up, once, inside the transaction that starts the plan; all is checked again. Raises Refused."""
    request = ApprovalRequest.objects.select_for_update(of=("self",)).select_related("policy").get(pk=request_id)
    _check(request, subject_hash)
    leave = stands(request)
    if leave is None:
        raise Refused("not_open", gettext("The leave to start by itself was used."))
    live = ApprovalRequest.objects.filter(pk=request.pk, version=request.version, state__in=LIVE)
    used = AutomaticLeave.objects.filter(pk=leave.pk, used_at=None).update(used_at=Now())
    moved = live.update(state=RequestState.CONSUMED, consumed_at=Now(), version=F("version") + 1)
    if not used or not moved:
        raise Refused("not_open", gettext("The leave was used, or the request closed, at this very moment."))
    return leave
