"""The verbs of escalation policies, and which policy an incident has."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.models import Roster, User
from audit.actions import Actor, Target, record
from incidents.errors import Conflict, IncidentError
from incidents.models import Incident
from incidents.oncall.models import Contact, Policy, Rotation

EVERYBODY = "everybody"
KINDS = ("person", "rotation", "calendar", "channel")
MOST_STEPS = 20
MOST_TARGETS = 20
SHORTEST, LONGEST = 10, 86_400
"""Seconds that a step may leave for an answer."""


def policy_for(incident: Incident, among: Iterable[Policy] | None = None) -> Policy | None:
    """The policy by which people are woken for the incident: one of the model's team for its severity, else one for all
    teams; of several the newest. `among`: the policies in use, where they were read before."""
    found = in_use() if among is None else among
    meant = [policy for policy in found if incident.severity in policy.severities]
    team = incident.endpoint.model.team if incident.endpoint else ""
    theirs = [policy for policy in meant if policy.team and policy.team == team]
    return max(theirs or [policy for policy in meant if not policy.team], key=lambda policy: policy.pk, default=None)


def in_use() -> list[Policy]:
    return list(Policy.objects.filter(retired_at=None))


@transaction.atomic
def set_policy(
    *, name: str, team: str, severities: list[int], steps: list[dict[str, Any]], repeats: int, silence_seconds: int,
    actor: Actor, policy: Policy | None = None, seen_version: int | None = None,
) -> Policy:  # fmt: skip
    """Make a policy, or change one that was read as `seen_version`; escalations under way go on by what they began
    with. Raises IncidentError, and Conflict where somebody changed it meanwhile."""
    if not name.strip():
        raise IncidentError(gettext("Name the policy."))
    if not severities or not set(severities) <= {1, 2, 3, 4}:
        raise IncidentError(gettext("Choose for which severities it is: 1 to 4; 1 is worst."))
    if not 0 <= repeats <= 20:
        raise IncidentError(gettext("The steps are repeated at most 20 times."))
    if silence_seconds and not 60 <= silence_seconds <= 7 * 86_400:
        raise IncidentError(gettext("Silence is between a minute and a week, or 0 for never."))
    fields: dict[str, Any] = {
        "name": name.strip()[:100],
        "team": team.strip()[:100],
        "severities": sorted(set(severities)),
        "steps": _good(steps),
        "repeats": repeats,
        "silence_seconds": silence_seconds,
    }
    if policy is None:
        made = Policy.objects.create(**fields)
    else:
        expected = policy.version if seen_version is None else seen_version
        same = Policy.objects.filter(pk=policy.pk, version=expected, retired_at=None)
        if not same.update(version=F("version") + 1, **fields):
            raise Conflict(Policy.objects.get(pk=policy.pk).version)
        made = Policy.objects.get(pk=policy.pk)
    record(action="escalation_policy.set", target=_target(made), actor=actor, data=fields)
    return made


def _good(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if not 1 <= len(steps) <= MOST_STEPS:
        raise IncidentError(gettext("A policy has between one and %(most_steps)s steps.") % {"most_steps": MOST_STEPS})
    kept = []
    for number, step in enumerate(steps, start=1):
        targets = list(dict.fromkeys(step.get("targets") or []))
        seconds = step.get("seconds")
        if not 1 <= len(targets) <= MOST_TARGETS or not all(isinstance(target, str) for target in targets):
            raise IncidentError(
                gettext("Step %(number)s calls nobody. Choose at least one person, rotation or channel.")
                % {"number": number}
            )
        if not isinstance(seconds, int) or not SHORTEST <= seconds <= LONGEST:
            raise IncidentError(
                gettext("Step %(number)s waits for an answer between %(shortest)s seconds and a day.")
                % {"number": number, "shortest": SHORTEST}
            )
        for target in targets:
            _check(number, target)
        kept.append({"targets": targets, "seconds": seconds})
    return kept


def _check(number: int, target: str) -> None:
    kind, _, key = target.partition(":")
    known = {
        "person": lambda: User.objects.filter(pseudonym=key, is_active=True),
        "rotation": lambda: Rotation.objects.filter(pk=key, retired_at=None),
        "calendar": lambda: Roster.objects.filter(team=key),
        "channel": lambda: Contact.objects.filter(pk=key, user=None).exclude(receiver__state="ended"),
    }
    plain = kind not in ("rotation", "channel") or (key.isascii() and key.isdigit() and len(key) < 18)
    if target != EVERYBODY and (kind not in known or not plain or not known[kind]().exists()):
        raise IncidentError(
            gettext("Step %(number)s calls %(target)s, which is nobody here.")
            % {"number": number, "target": f"{target!r}"}
        )


@transaction.atomic
def retire_policy(*, policy: Policy, actor: Actor) -> None:
    """No escalation begins by it any more."""
    if not Policy.objects.filter(pk=policy.pk, retired_at=None).update(retired_at=Now()):
        raise IncidentError(gettext("This policy was retired before."))
    record(action="escalation_policy.retire", target=_target(policy), actor=actor, data={"name": policy.name})


def _target(policy: Policy) -> Target:
    return Target("escalation_policy", str(policy.pk), str(policy.version))
