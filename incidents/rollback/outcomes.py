"""Plans whose outcome is no other version: hosts out of service or back in it, and a freeze of the endpoint.

They are proposed, preflighted, approved by the policy of their kind, and carried out by the same engine as any other.
"""

import datetime
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext

from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import policy_for
from accounts.models import User
from accounts.permissions import require
from audit.actions import Actor
from audit.canonical import instant
from audit.clock import database_now
from incidents.rollback.document import evidence_digest, write_document
from incidents.rollback.facts import who_and_what
from incidents.rollback.models import Plan, PlanKind
from incidents.rollback.plan import PREFLIGHT_ALLOWANCE, Composed, PlanRefused, keep_plan
from incidents.rollback.shared import placements_beside
from registry.actions.served import MAX_FREEZE
from registry.models import Deployment, Endpoint, Host, Placement, Version

OUTCOMES = {"drain": PlanKind.DRAIN, "bring_back": PlanKind.DRAIN, "freeze": PlanKind.FREEZE}


@dataclass(frozen=True)
class Wish:
    """What is wanted: `hosts` by name to drain or to bring back, or a freeze until a moment."""

    outcome: str
    endpoint: Endpoint
    hosts: Sequence[str] = field(default_factory=list)
    until: datetime.datetime | None = None
    min_hosts_serving: int | None = None


def compose_outcome(wish: Wish, *, user: User, incident_ref: str = "") -> Composed:
    """Write the document that would be approved, and store nothing. Raises PlanRefused, NoPolicy."""
    if wish.outcome not in OUTCOMES:
        raise PlanRefused(
            "unknown_outcome",
            gettext("There is no outcome %(outcome)r. Choose %(names)s.")
            % {"outcome": wish.outcome, "names": ", ".join(OUTCOMES)},
        )
    endpoint, kind = wish.endpoint, OUTCOMES[wish.outcome]
    policy = policy_for(subject_kind=kind, risk_tier=endpoint.model.risk_tier, environment=endpoint.environment)
    live, identity = _served(endpoint), uuid.uuid4()
    expires_at = database_now() + datetime.timedelta(seconds=policy.expires_seconds) + PREFLIGHT_ALLOWANCE
    hosts = _hosts(wish) if kind == PlanKind.DRAIN else []
    body = who_and_what(identity, kind, endpoint, None, live, incident_ref, user)
    body |= {"outcome": wish.outcome, "on_failure": "halt", **_limits(wish, hosts, live)}
    body |= {"policy_hash": policy_hash(policy), "evidence_digest": evidence_digest({})}
    if kind == PlanKind.FREEZE:
        body["freeze"] = {"until": instant(_until(wish))}
    return Composed(identity, None, policy, write_document(body, expires_at=expires_at), expires_at, {})


def propose_outcome(
    wish: Wish, *, reason: str, user: User, actor: Actor, incident_ref: str = "", start_on_approval: bool = True
) -> Plan:
    """Write the plan down and order its preflight, as incidents.rollback.plan.propose does for versions.

    Raises PermissionDenied, PlanRefused, and accounts.approvals.queries.NoPolicy.
    """
    require(user, "plan.propose", model=wish.endpoint.model.slug, team=wish.endpoint.model.team)
    for placement in placements_beside(wish.endpoint, set(wish.hosts)):
        beside = placement.endpoint.model
        require(user, "plan.propose", model=beside.slug, team=beside.team)
    composed = compose_outcome(wish, user=user, incident_ref=incident_ref)
    return keep_plan(
        composed,
        kind=OUTCOMES[wish.outcome],
        endpoint=wish.endpoint,
        to_version=_served(wish.endpoint),
        incident_ref=incident_ref,
        reason=reason,
        user=user,
        actor=actor,
        start_on_approval=start_on_approval,
    )


def _served(endpoint: Endpoint) -> Version:
    """The version that most hosts serve: what goes on being served."""
    live = Deployment.objects.filter(endpoint=endpoint, until=None).select_related("version")
    counted = Counter(row.version for row in live)
    if not counted:
        raise PlanRefused(
            "serves_nothing",
            gettext("%(slug)s serves nothing yet. Release a version to it first.") % {"slug": endpoint.slug},
        )
    return counted.most_common(1)[0][0]


def _hosts(wish: Wish) -> list[Host]:
    back = wish.outcome == "bring_back"
    placed = Placement.objects.filter(endpoint=wish.endpoint).select_related("host").order_by("host__name")
    able = {row.host.name: row.host for row in placed if (row.host.drained_at is not None) == back}
    wanted = sorted(set(wish.hosts))
    state = "drained" if back else "in service"
    if not wanted:
        raise PlanRefused(
            "no_hosts",
            gettext("Name the hosts. Those of %(slug)s %(state)s: %(names)s.")
            % {"slug": wish.endpoint.slug, "state": state, "names": ", ".join(able)},
        )
    for name in wanted:
        if name not in able:
            raise PlanRefused(
                "no_hosts",
                gettext("%(name)s is no host of %(slug)s that is %(state)s.")
                % {"name": name, "slug": wish.endpoint.slug, "state": state},
            )
    return [able[name] for name in wanted]


def _until(wish: Wish) -> datetime.datetime:
    now = database_now()
    if wish.until is None or not now < wish.until <= now + MAX_FREEZE:
        raise PlanRefused(
            "bad_freeze", gettext("Say until when, at most %(days)s days from now.") % {"days": MAX_FREEZE.days}
        )
    return wish.until


def _limits(wish: Wish, hosts: Sequence[Host], live: Version) -> dict[str, Any]:
    """Hosts one wave at a time, no gates: what is asked is asked on each host, and of those that are left."""
    least = wish.endpoint.min_hosts_serving if wish.min_hosts_serving is None else wish.min_hosts_serving
    names = [host.name for host in hosts]
    back = Placement.objects.filter(endpoint=wish.endpoint, host__in=hosts if wish.outcome == "bring_back" else [])
    return {
        "serving": sorted({"", live.digest, *back.values_list("observed_digest", flat=True)}),
        "hosts": [{"name": host.name, "engine": host.engine, "address": host.address} for host in hosts],
        "strategy": "blue_green",
        "waves": [{"name": wish.outcome.replace("_", " "), "hosts": names}] if names else [],
        "min_hosts_serving": least if wish.outcome == "drain" else 0,
        "tolerated_absences": 0,
        "failure_budget": 0,
        "wave_soak_seconds": 0,
        "gate_patience_seconds": 30,
        "watch_seconds": 0,
        "undo_seconds": 0,
        "gates": [],
        "checks": [],
    }
