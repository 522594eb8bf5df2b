"""Changing who must agree: a policy is never edited, a newer one takes its place."""

from typing import Any

from django.db import transaction
from django.db.models import Max

from accounts.approvals.models import ApprovalPolicy, SubjectKind
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.models import Role
from accounts.permissions import PERMISSIONS
from audit.actions import Actor, Target, record

RISK_TIERS = ("low", "medium", "high")
ENVIRONMENTS = ("production", "staging")
MOST_APPROVALS = 10
STEP_UP_SECONDS = (30, 3600)
EXPIRES_SECONDS = (60, 4 * 3600)


class PolicyError(ValueError):
    """A policy that can't be: nobody could fill it, or it would let one person decide alone where two were named."""


@transaction.atomic
def replace_policy(
    *,
    subject_kind: str,
    risk_tier: str,
    environment: str,
    required: int,
    factors: list[dict[str, Any]],
    actor: Actor,
    step_up_seconds: int = 300,
    expires_seconds: int = 1800,
    sign_off_required: bool = False,
    automatic_allowed: bool = False,
    reason: str = "",
) -> ApprovalPolicy:
    """Put a new version of the policy for one kind of act into force; the one before stops being active.

    Requests that are open keep the policy that they were opened under. `factors` is a list of
    {"role": role, "count": n}; `required` is the number of distinct people, at least the sum of the counts.
    Raises PolicyError with a sentence.
    """
    _check(subject_kind, risk_tier, environment, required, factors, step_up_seconds, expires_seconds)
    scope = {"subject_kind": subject_kind, "risk_tier": risk_tier, "environment": environment}
    name = f"{subject_kind}-{risk_tier}-{environment}"
    # All versions of one name are locked, so that two replacements at once get two numbers.
    before = list(ApprovalPolicy.objects.select_for_update().filter(**scope))
    replaced = next((policy for policy in before if policy.active), None)
    ApprovalPolicy.objects.filter(**scope, active=True).update(active=False)
    newest = ApprovalPolicy.objects.filter(name=name).aggregate(newest=Max("version"))["newest"] or 0
    policy = ApprovalPolicy.objects.create(
        name=name,
        version=newest + 1,
        required=required,
        factors=[{"role": str(factor["role"]), "count": int(factor["count"])} for factor in factors],
        step_up_seconds=step_up_seconds,
        expires_seconds=expires_seconds,
        sign_off_required=sign_off_required,
        automatic_allowed=automatic_allowed,
        **scope,
    )
    data: dict[str, Any] = {
        "policy": policy_facts(policy),
        "policy_hash": policy_hash(policy),
        "sign_off_required": sign_off_required,
        "automatic_allowed": automatic_allowed,
    }
    if replaced is not None:
        data["replaced"] = {"version": replaced.version, "policy_hash": policy_hash(replaced)}
    target = Target("approval_policy", name, str(policy.version))
    record(action="policy.replace", target=target, actor=actor, data=data, reason=reason)
    return policy


def _check(
    subject_kind: str,
    risk_tier: str,
    environment: str,
    required: int,
    factors: list[dict[str, Any]],
    step_up_seconds: int,
    expires_seconds: int,
) -> None:
    for word, known in ((subject_kind, SubjectKind.values), (risk_tier, RISK_TIERS), (environment, ENVIRONMENTS)):
        if word not in known:
            raise PolicyError(f"{word!r} is none of {', '.join(known)}.")
    if not 1 <= required <= MOST_APPROVALS:
        raise PolicyError(f"A policy needs between 1 and {MOST_APPROVALS} people.")
    approving = [str(role) for role in Role.values if "approve" in PERMISSIONS[role]]
    roles = [factor["role"] for factor in factors]
    for role in roles:
        if role not in approving:
            raise PolicyError(f"The role {role} can't approve. The roles that can: {', '.join(approving)}.")
    if len(set(roles)) != len(roles):
        raise PolicyError("Name each role once, with its count.")
    if any(factor["count"] < 1 for factor in factors):
        raise PolicyError("Each role needs a count of at least 1.")
    if sum(factor["count"] for factor in factors) > required:
        raise PolicyError("The roles name more people than the policy requires. Raise the number of people.")
    for word, seconds, (low, high) in (
        ("step-up time", step_up_seconds, STEP_UP_SECONDS),
        ("time until a request expires", expires_seconds, EXPIRES_SECONDS),
    ):
        if not low <= seconds <= high:
            raise PolicyError(f"The {word} must be between {low} and {high} seconds.")
