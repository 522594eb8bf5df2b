"""What a plan names of the fleet against the fleet as it is: what moved, in sentences."""

from collections.abc import Collection, Sequence
from typing import Any

from incidents.rollback.document import PlanDocument
from incidents.rollback.models import STEERING_KINDS, Plan, PlanKind, PlanState
from registry.models import Deployment, Endpoint, Health, Placement

SEEN = (Health.SERVING, Health.WRONG_VERSION, Health.WRONG_OUTPUT)
"""Observations that say what is served; a host that can't be reached is an absence, which the waves count."""


SOME_HOSTS = (PlanKind.CONVERGE, *STEERING_KINDS)
"""Kinds of plans that are about some of an endpoint's hosts, or none."""


def moved(plan: Plan, observed: Sequence[Placement] | None = None) -> list[str]:
    """What is no longer as the plan was put to its approvers; nothing for a plan that does not wait for them.

    Of a plan that was voided for it, what had moved then. `observed` are the endpoint's placements with their hosts, by
    name, where they were read already.
    """
    if plan.state == PlanState.VOID:
        return list(plan.moved)
    if plan.state not in (PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING):
        return []
    document = PlanDocument.read(bytes(plan.document))
    sentences = fleet_moved(plan.endpoint, document, observed)
    if plan.to_version.quarantined_at is not None and plan.kind not in STEERING_KINDS:
        sentences.append(f"version {plan.to_version.number}, to which it goes, was quarantined")
    return sentences


def fleet_moved(endpoint: Endpoint, document: PlanDocument, observed: Sequence[Placement] | None = None) -> list[str]:
    """Hosts that joined, left or changed, and hosts that serve what the plan does not know."""
    present = None if observed is None else [row for row in observed if row.host.drained_at is None]
    placements = _placements(endpoint) if present is None else present
    members = placements
    if document.body["kind"] in SOME_HOSTS:
        # Those that are brought back are drained until then.
        rows = Placement.objects.filter(endpoint=endpoint, host__name__in=document.hosts)
        members = list(rows.select_related("host").order_by("host__name"))
    return _members_moved(endpoint, document, members) + _serves_else(endpoint, document, placements, done=())


def not_as_left(endpoint: Endpoint, document: PlanDocument, done: Collection[str]) -> list[str]:
    """Hosts that joined, left or changed since the approval, and hosts that serve what the progress of the run does not
    explain: those that are done, in `done`, must serve the target; every other may serve what the plan leaves or goes
    to. A host that was drained meanwhile has not left: the run still switches it, before it is brought back. Converging
    is about one host among others."""
    placements = _placements(endpoint)
    drained = Placement.objects.filter(endpoint=endpoint, host__drained_at__isnull=False, host__name__in=document.hosts)
    members = [*placements, *drained.select_related("host")]
    if document.body["kind"] in SOME_HOSTS:
        members = [member for member in members if member.host.name in document.hosts]
    return _members_moved(endpoint, document, members) + _serves_else(endpoint, document, placements, done)


def _members_moved(endpoint: Endpoint, document: PlanDocument, placements: list[Placement]) -> list[str]:
    there = {placement.host.name: placement for placement in placements}
    named = {host["name"]: host for host in document.body["hosts"]}
    sentences = [f"{name} is in the plan and no longer serves {endpoint.slug}" for name in sorted(named.keys() - there)]
    sentences += [f"{name} serves {endpoint.slug} and is not in the plan" for name in sorted(there.keys() - named)]
    for name in sorted(named.keys() & there.keys()):
        sentences += _host_moved(named[name], there[name])
    return sentences


def _placements(endpoint: Endpoint) -> list[Placement]:
    rows = Placement.objects.filter(endpoint=endpoint, host__drained_at=None)
    return list(rows.select_related("host").order_by("host__name"))


def _serves_else(
    endpoint: Endpoint, document: PlanDocument, placements: list[Placement], done: Collection[str]
) -> list[str]:
    """What a host serves is known from observations since it was last switched. A plan that drains says nothing of it:
    a host that serves what it should not is what such a plan is for."""
    if document.outcome == "drain":
        return []
    since = dict(Deployment.objects.filter(endpoint=endpoint, until=None).values_list("host_id", "since"))
    sentences = []
    for placement in placements:
        name, seen_at = placement.host.name, placement.observed_at
        expected = [document.to_digest] if name in done else document.tolerated
        fresh = seen_at is not None and seen_at >= since.get(placement.host_id, seen_at)
        if name in document.hosts and fresh and placement.health in SEEN and placement.observed_digest not in expected:
            known = " or ".join(digest[:12] or "nothing" for digest in expected)
            sentences.append(f"{name} serves {placement.observed_digest[:12] or 'nothing'}; the plan expects {known}")
    return sentences


def _host_moved(planned: dict[str, Any], placement: Placement) -> list[str]:
    now = {"engine": placement.host.engine, "address": placement.host.address}
    return [
        f"{planned['name']} had the {part} {planned[part]} and has {now[part]} now"
        for part in ("engine", "address")
        if planned[part] != now[part]
    ]
