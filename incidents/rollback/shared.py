"""Hosts that serve other endpoints beside the plan's: who takes one out of service takes it from all of them."""

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Q, QuerySet
from django.utils.translation import gettext

from accounts.approvals.queries import NoPolicy, policy_for
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import ACTIVE_RUN_STATES, PlanKind, Run
from registry.models import Endpoint, Health, Placement


@dataclass(frozen=True)
class Shared:
    """Another endpoint from which the plan takes hosts, and how that stands: `hosts` are `named` as that endpoint knows
    them; `hindrance` says what stands against it, "" for nothing."""

    endpoint: Endpoint
    named: list[str]
    observed: str
    hindrance: str


def shared_with(endpoint: Endpoint, document: PlanDocument) -> list[Shared]:
    """Of each other endpoint that loses (or gets back) hosts by the plan. A plan that drains needs the approvals that
    the other endpoint would ask for; one that replaces a version host after host leaves it those it needs."""
    leaving = set(document.hosts if document.body["kind"] == PlanKind.DRAIN else document.recreated)
    elsewhere: dict[Endpoint, list[Placement]] = defaultdict(list)
    for placement in placements_beside(endpoint, leaving):
        elsewhere[placement.endpoint].append(placement)
    return [_judged(endpoint, other, document, rows) for other, rows in elsewhere.items()]


def emptied_beside(endpoint: Endpoint, names: set[str]) -> dict[str, str]:
    """Hosts among those whose machines a run of another endpoint is emptying now, to load its own version: name as that
    run knows it -> that endpoint. What is loaded there meanwhile takes the memory that the run gives back to itself."""
    rows = {(row.endpoint_id, row.host.name) for row in placements_beside(endpoint, names)}
    active = Run.objects.filter(endpoint__in={key for key, _ in rows}, state__in=ACTIVE_RUN_STATES)
    found: dict[str, str] = {}
    for run in active.select_related("plan", "endpoint"):
        recreated = PlanDocument.read(bytes(run.plan.document)).recreated
        found |= {name: run.endpoint.slug for name in recreated if (run.endpoint_id, name) in rows}
    return found


def placements_beside(endpoint: Endpoint, names: set[str]) -> list[Placement]:
    """What the hosts of those names, or the machines behind them, serve for other endpoints."""
    if not names:
        return []
    here = Placement.objects.filter(endpoint=endpoint, host__name__in=names, observation__boot_id__gt="")
    machines = list(here.values_list("observation__boot_id", flat=True))
    beside = Placement.objects.filter(Q(host__name__in=names) | Q(observation__boot_id__in=machines))
    rows = beside.exclude(endpoint=endpoint).select_related("endpoint__model", "host")
    return list(rows.order_by("endpoint__slug", "host__name"))


def _judged(endpoint: Endpoint, other: Endpoint, document: PlanDocument, taken: list[Placement]) -> Shared:
    drains, back = document.body["kind"] == PlanKind.DRAIN, document.outcome == "bring_back"
    named = [row.host.name for row in taken]
    rest = _serving(other).exclude(host__name__in=named).count()
    away = len(named)
    if not drains:
        away = min(away, max(len(wave.hosts) for wave in document.waves))
        rest += max(0, _serving(other).filter(host__name__in=named).count() - away)
    observed = (
        gettext("%(rest)s of its other hosts serve") % {"rest": rest}
        if drains
        else gettext("%(rest)s of its hosts serve while %(away)s are out") % {"rest": rest, "away": away}
    )
    hindrance = ""
    if Run.objects.filter(endpoint=other, state__in=ACTIVE_RUN_STATES).exists():
        hindrance = gettext("a run of %(other)s is active; wait for its end, or stop it") % {"other": other.slug}
    elif drains and not _same_approvers(endpoint, other):
        hindrance = gettext(
            "%(other)s has other approvers, who are not asked; a commander of both drains the host itself"
        ) % {"other": other.slug}
    elif not back and rest < other.min_hosts_serving:
        hindrance = gettext("%(observed)s, at least %(min_hosts_serving)s of %(other)s have to") % {
            "observed": observed,
            "min_hosts_serving": other.min_hosts_serving,
            "other": other.slug,
        }
    return Shared(other, named, gettext("it takes them back") if back else observed, hindrance)


def _serving(endpoint: Endpoint) -> QuerySet[Placement]:
    return Placement.objects.filter(endpoint=endpoint, host__drained_at=None, health=Health.SERVING)


def _same_approvers(endpoint: Endpoint, other: Endpoint) -> bool:
    """One policy for both, and one team, so that no role counts for one of them only."""
    try:
        policies = {
            policy_for(subject_kind=PlanKind.DRAIN, risk_tier=each.model.risk_tier, environment=each.environment).pk
            for each in (endpoint, other)
        }
    except NoPolicy:
        return False
    return len(policies) == 1 and endpoint.model.team == other.model.team
