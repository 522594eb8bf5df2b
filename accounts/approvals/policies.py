"""Changing who must agree: a policy is never edited, a newer one takes its place. That is itself an act under approval.

A new installation asks for a second administrator. While there has never been one, nobody could give that approval, so
the change is made at once, and the record says why.
"""

from typing import Any

from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.approvals import acts
from accounts.approvals.break_glass import lock_glass
from accounts.approvals.models import ACT_KINDS, ANYWHERE, Act, ApprovalPolicy, SubjectKind
from accounts.approvals.policy import policy_facts, policy_hash
from accounts.models import Role, RoleGrant, User
from accounts.permissions import PERMISSIONS
from audit.actions import Actor, Target, record

RISK_TIERS = ("low", "medium", "high", ANYWHERE)
ENVIRONMENTS = ("production", "staging", ANYWHERE)
MOST_APPROVALS = 10
STEP_UP_SECONDS = (30, 300)
EXPIRES_SECONDS = (60, 4 * 3600)
GLASS_SECONDS = 900
TERMS = {
    "required": _("distinct people"),
    "factors": "seats",
    "step_up_seconds": _("seconds since they proved who they are, at most"),
    "expires_seconds": _("seconds until a request expires"),
    "sign_off_required": _("a person signs the verification off"),
    "automatic_allowed": _("may start by itself"),
    "stop_roles": _("who may stop it"),
}


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
    stop_roles: list[str] | None = None,
    edited_by: User | None = None,
    alone: bool = False,
    reason: str = "",
) -> ApprovalPolicy:
    """Put a new version of the policy for one kind of act into force; the one before stops being active.

    Requests that are open keep the policy that they were opened under. `factors` is a list of
    {"role": role, "count": n}; `required` is the number of distinct people, at least the sum of the counts.
    `stop_roles` may stop what runs under it (empty: whoever has that right); `edited_by` may not approve under it for
    24 hours; `alone`: there was no second administrator to ask. Raises PolicyError with a sentence.
    """
    _check(subject_kind, risk_tier, environment, required, factors, step_up_seconds, expires_seconds)
    _check_stop(stop_roles or [])
    scope = {"subject_kind": subject_kind, "risk_tier": risk_tier, "environment": environment}
    lock_glass()
    name = f"{subject_kind}-{risk_tier}-{environment}"
    # All versions of one name are locked, so that two replacements at once get two numbers.
    before = list(ApprovalPolicy.objects.select_for_update().filter(**scope))
    replaced = next((policy for policy in before if policy.active), None)
    if replaced is not None and not ApprovalPolicy.objects.filter(pk=replaced.pk, active=True).update(active=False):
        raise PolicyError(
            gettext("The policy %(replaced)s was changed at the same moment. Try again.") % {"replaced": replaced}
        )
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
        stop_roles=sorted(stop_roles or []),
        edited_by=edited_by,
        **scope,
    )
    data: dict[str, Any] = {
        "policy": policy_facts(policy),
        "policy_hash": policy_hash(policy),
        "sign_off_required": sign_off_required,
        "automatic_allowed": automatic_allowed,
    }
    if edited_by is not None:
        data["edited_by"] = edited_by.pseudonym
    if alone:
        data["alone"] = True
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
            raise PolicyError(gettext("%(word)r is none of %(names)s.") % {"word": word, "names": ", ".join(known)})
    if subject_kind == SubjectKind.BREAK_GLASS and (required != 1 or expires_seconds > GLASS_SECONDS):
        raise PolicyError(
            gettext("One person breaks the glass, for one plan and at most 15 minutes: ask for 1 person, 900 s.")
        )
    if not 1 <= required <= MOST_APPROVALS:
        raise PolicyError(
            gettext("A policy needs between 1 and %(most_approvals)s people.") % {"most_approvals": MOST_APPROVALS}
        )
    approving = [str(role) for role in Role.values if "approve" in PERMISSIONS[role]]
    roles = [factor["role"] for factor in factors]
    for role in roles:
        if role not in approving:
            raise PolicyError(
                gettext("The role %(role)s can't approve. The roles that can: %(names)s.")
                % {"role": role, "names": ", ".join(approving)}
            )
    if len(set(roles)) != len(roles):
        raise PolicyError(gettext("Name each role once, with its count."))
    if any(factor["count"] < 1 for factor in factors):
        raise PolicyError(gettext("Each role needs a count of at least 1."))
    if sum(factor["count"] for factor in factors) > required:
        raise PolicyError(gettext("The roles name more people than the policy requires. Raise the number of people."))
    for word, seconds, (low, high) in (
        (gettext("step-up time"), step_up_seconds, STEP_UP_SECONDS),
        (gettext("time until a request expires"), expires_seconds, EXPIRES_SECONDS),
    ):
        if not low <= seconds <= high:
            raise PolicyError(
                gettext("The %(word)s must be between %(low)s and %(high)s seconds.")
                % {"word": word, "low": low, "high": high}
            )


def _check_stop(roles: list[str]) -> None:
    able = [str(role) for role in Role.values if "plan.stop" in PERMISSIONS[role]]
    for role in roles:
        if role not in able:
            raise PolicyError(
                gettext("The role %(role)s can't stop a run. The roles that can: %(names)s.")
                % {"role": role, "names": ", ".join(able)}
            )


def change_policy(*, user: User, actor: Actor, reason: str = "", **wish: Any) -> ApprovalPolicy | Act:
    """Replace a policy as `replace_policy` does, or put the change to the approvers that the policy of kind
    policy_change names, and return the act that waits for them. Raises PolicyError, acts.ActRefused."""
    body = _settled(**wish)
    alone = not _had_two_administrators()
    if not alone:
        before = _in_force(body)
        number = body["required"]
        asked = acts.ask(
            kind=SubjectKind.POLICY_CHANGE,
            body={"policy": body, "replaces": policy_hash(before) if before else ""},
            title=f"Ask for {number} {'person' if number == 1 else 'people'} in {_name(body)}",
            reason=reason,
            user=user,
            actor=actor,
            risk_tier=body["risk_tier"],
            environment=body["environment"],
        )
        if asked is not None:
            return asked
    return replace_policy(**body, edited_by=user, alone=alone, actor=actor, reason=reason)


@transaction.atomic
def retire_policy(
    *, policy: ApprovalPolicy, actor: Actor, edited_by: User | None = None, alone: bool = False, reason: str = ""
) -> None:
    """Take a policy out of force and put none in its place: what it covered falls to the next policy that covers it by
    "any", and where none does, plans can't be approved any more and acts need no approval.

    Raises PolicyError where it is not in force.
    """
    lock_glass()
    if not ApprovalPolicy.objects.filter(pk=policy.pk, active=True).update(active=False):
        raise PolicyError(gettext("The policy %(policy)s is not in force any more.") % {"policy": policy})
    data: dict[str, Any] = {"policy": policy_facts(policy), "policy_hash": policy_hash(policy)}
    if edited_by is not None:
        data["edited_by"] = edited_by.pseudonym
    if alone:
        data["alone"] = True
    target = Target("approval_policy", policy.name, str(policy.version))
    record(action="policy.retire", target=target, actor=actor, data=data, reason=reason)


def ask_to_retire(*, policy: ApprovalPolicy, user: User, actor: Actor, reason: str) -> Act | None:
    """Retire a policy as `retire_policy` does, or put that to the approvers whom the policy of kind policy_change
    names, and return the act that waits for them; None where it was done.

    Raises PolicyError, acts.ActRefused.
    """
    if not reason.strip():
        raise PolicyError(gettext("Say in a sentence why nobody need agree by this policy any more."))
    if not policy.active:
        raise PolicyError(gettext("The policy %(policy)s is not in force any more.") % {"policy": policy})
    if policy.subject_kind == SubjectKind.POLICY_CHANGE:
        raise PolicyError(gettext("The policy by which policies are changed can be replaced, and not retired."))
    alone = not _had_two_administrators()
    if not alone:
        asked = acts.ask(
            kind=SubjectKind.POLICY_CHANGE,
            body={"policy": _facts_in_force(policy), "retires": policy.name, "replaces": policy_hash(policy)},
            title=f"Retire the policy {policy}",
            reason=reason,
            user=user,
            actor=actor,
            risk_tier=policy.risk_tier,
            environment=policy.environment,
        )
        if asked is not None:
            return asked
    retire_policy(policy=policy, actor=actor, edited_by=user, alone=alone, reason=reason)
    return None


def _facts_in_force(policy: ApprovalPolicy) -> dict[str, Any]:
    """The policy as a document of its change names one."""
    names = ("subject_kind", "risk_tier", "environment", *TERMS)
    return {name: getattr(policy, name) for name in names}


def _settled(
    *,
    subject_kind: str,
    risk_tier: str,
    environment: str,
    required: int,
    factors: list[dict[str, Any]],
    step_up_seconds: int = 300,
    expires_seconds: int = 1800,
    sign_off_required: bool = False,
    automatic_allowed: bool = False,
    stop_roles: list[str] | None = None,
) -> dict[str, Any]:
    """The wish with every default in it, checked."""
    _check(subject_kind, risk_tier, environment, required, factors, step_up_seconds, expires_seconds)
    _check_stop(stop_roles or [])
    return {
        "subject_kind": subject_kind,
        "risk_tier": risk_tier,
        "environment": environment,
        "required": required,
        "factors": [{"role": str(factor["role"]), "count": int(factor["count"])} for factor in factors],
        "step_up_seconds": step_up_seconds,
        "expires_seconds": expires_seconds,
        "sign_off_required": sign_off_required,
        "automatic_allowed": automatic_allowed,
        "stop_roles": sorted(stop_roles or []),
    }


def _had_two_administrators() -> bool:
    """Whether two people have ever been administrators: from then on the second is asked, so that ending a role is no
    way around being asked."""
    grants = RoleGrant.objects.filter(role=Role.ADMINISTRATOR, counts_from__lte=Now())
    return grants.values("user").distinct().count() >= 2


def _in_force(body: dict[str, Any]) -> ApprovalPolicy | None:
    scope = {name: body[name] for name in ("subject_kind", "risk_tier", "environment")}
    return ApprovalPolicy.objects.filter(**scope, active=True).first()


def _name(body: dict[str, Any]) -> str:
    return f"{body['subject_kind']}-{body['risk_tier']}-{body['environment']}"


def _perform(act: Act, body: dict[str, Any], actor: Actor) -> None:
    wish, before = body["policy"], _in_force(body["policy"])
    if (policy_hash(before) if before else "") != body["replaces"]:
        raise acts.ActRefused(
            "moved", gettext("The policy %(name)s was changed since. Propose the change again.") % {"name": _name(wish)}
        )
    by = {"edited_by": act.proposer, "actor": actor, "reason": act.reason}
    try:
        if before is not None and "retires" in body:
            retire_policy(policy=before, **by)
        else:
            replace_policy(**wish, **by)
    except PolicyError as error:
        raise acts.ActRefused("refused", str(error)) from error


def _rows(body: dict[str, Any]) -> list[dict[str, str]]:
    """The policy in force now against the one that is asked for, term by term."""
    wish, before = body["policy"], _in_force(body["policy"])
    return [
        {
            "group": _name(wish),
            "label": str(label),
            "before": "" if before is None else _words(getattr(before, term)),
            "after": "" if "retires" in body else _words(wish[term]),
        }
        for term, label in TERMS.items()
    ]


def _consequence(body: dict[str, Any]) -> str:
    if "retires" in body:
        return gettext("From then on nobody is asked by %(policy)s: %(then)s") % {
            "policy": _name(body["policy"]),
            "then": _next_in_line(body["policy"]),
        }
    return gettext("From then on %(policy)s counts as shown, for requests opened after it.") % {
        "policy": _name(body["policy"])
    }


def _next_in_line(scope: dict[str, Any]) -> str:
    """What covers the same once the policy is gone."""
    covering = ApprovalPolicy.objects.filter(
        subject_kind=scope["subject_kind"],
        risk_tier__in=[scope["risk_tier"], ANYWHERE],
        environment__in=[scope["environment"], ANYWHERE],
        active=True,
    ).exclude(risk_tier=scope["risk_tier"], environment=scope["environment"])
    if covering:
        named = gettext(" or ").join(sorted(str(policy) for policy in covering))
        return gettext("%(policies)s covers it then.") % {"policies": named}
    if scope["subject_kind"] in ACT_KINDS:
        return gettext("no other policy covers it, so it then needs no approval.")
    return gettext("no other policy covers it, so nobody can approve it then.")


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        parts = [f"{part['count']} {part['role']}" if isinstance(part, dict) else str(part) for part in value]
        return ", ".join(parts) or "any"
    return str(value)


acts.register(
    acts.ActKind(
        kind=SubjectKind.POLICY_CHANGE,
        perform=_perform,
        rows=_rows,
        consequence=_consequence,
    )
)
