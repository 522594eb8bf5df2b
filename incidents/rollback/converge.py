"""Converging one host that came back with the wrong version, under the approval that the endpoint runs on.

The reconciler never acts on a host; it asks for this. The run takes the same lease and fence as any other.
"""

import datetime
import uuid
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.approvals.models import RequestState
from accounts.approvals.queries import objections
from audit.actions import Target, record, service_actor
from audit.clock import database_now
from incidents.rollback.document import PlanDocument, default_gates, evidence_digest, plan_hash, write_document
from incidents.rollback.drifted import CHANGED_UNSEEN, is_foreign
from incidents.rollback.facts import version_facts
from incidents.rollback.left import left_with
from incidents.rollback.models import ACTIVE_RUN_STATES, ASIDE_KINDS, Plan, PlanKind, PlanState, Run
from incidents.rollback.run import open_run, record_start
from registry.actions import hold
from registry.actions.observed import forget_asked
from registry.models import Endpoint, Host, Placement, Version
from registry.serving_access import driver_of

WORKER = service_actor("reconciler")
LEFT_TO_PEOPLE = datetime.timedelta(days=1)


def converge(placement_id: Any) -> Run | None:
    """Start a one-host run to the placement's desired version, if the last consumed approval covers it. A host that
    serves it already is switched to it anew where a run that is over left it out of service, or left a share of its
    requests to another version: the switch ends both.

    None when it may not be: another run is open, the host is held or drained, the endpoint is frozen, nothing is
    desired, or the desired version is quarantined, objected to, or not what was approved (which puts a denial on
    record). A run that could only halt would keep a rollback from starting. None as well where people may have changed
    the host while nobody looked: it is held, so that what they did is not undone before they have said so.
    """
    endpoint_id = Placement.objects.values_list("endpoint_id", flat=True).get(pk=placement_id)
    if _is_run(endpoint_id):
        forget_asked(placement_id=placement_id)
        return None
    try:
        with transaction.atomic():
            return _converge(placement_id)
    except IntegrityError:
        return None


def _is_run(endpoint_id: int) -> bool:
    return Run.objects.filter(endpoint=endpoint_id, state__in=ACTIVE_RUN_STATES).exists()


def _converge(placement_id: Any) -> Run | None:
    placement = Placement.objects.select_related("host", "desired", "endpoint__model").get(pk=placement_id)
    endpoint = Endpoint.objects.select_for_update().select_related("model").get(pk=placement.endpoint_id)
    desired, now = placement.desired, database_now()
    as_left = (
        desired is not None and placement.observed_digest == desired.digest and "left" not in placement.observation
    )
    if desired is None or as_left or placement.host.drained_at is not None:
        return None
    if placement.host.held_until is not None and placement.host.held_until > now:
        return None
    if endpoint.freeze_at(now) is not None:
        return None
    if _is_run(endpoint.pk):
        return None
    authority = authority_for(endpoint, desired, placement.host)
    refused = _refusal(desired, authority)
    if authority is None or refused:
        _deny(placement, desired, refused)
        return None
    if _by_hand_perhaps(placement):
        until = now + LEFT_TO_PEOPLE
        hold(host=placement.host, until=until, reason=f"{CHANGED_UNSEEN}{placement.health_reason}", actor=WORKER)
        forget_asked(placement_id=placement.pk, unseen=True)
        return None
    plan = _plan(placement, endpoint, desired, authority)
    Endpoint.objects.filter(pk=endpoint.pk).update(fence=F("fence") + 1, version=F("version") + 1)
    endpoint.refresh_from_db(fields=["fence"])
    document = PlanDocument.read(bytes(plan.document))
    run = open_run(plan=plan, document=document, fence=endpoint.fence, started_by=None)
    record_start(run=run, plan=plan, document=document, used=[], actor=WORKER)
    return run


def _by_hand_perhaps(placement: Placement) -> bool:
    """Whether the host came to serve another known version while nobody looked, or something that we did not bring,
    and its engine has no fence by which whoever changed it could have kept us from changing it back."""
    if "unseen_since" not in placement.observation or driver_of(placement.host).capabilities.fencing:
        return False
    if is_foreign(placement):
        return True
    served = Version.objects.filter(model=placement.endpoint.model_id, digest=placement.observed_digest)
    return served.filter(quarantined_at=None).exists()


def _refusal(desired: Version, authority: Plan | None) -> str:
    """The code of what speaks against converging to the version; "" when nothing does."""
    if authority is None:
        return "no_authority"
    if desired.quarantined_at is not None:
        return "quarantined"
    forward = desired.pk == authority.to_version_id
    objected = forward and authority.request is not None and objections(authority.request).exists()
    return "objection" if objected else ""


def authority_for(endpoint: Endpoint, desired: Version, host: Host) -> Plan | None:
    """The plan under which the endpoint runs, if `desired` is what its last run has left that host with."""
    last = (
        Run.objects.filter(endpoint=endpoint, plan__request__state=RequestState.CONSUMED)
        .exclude(plan__kind__in=ASIDE_KINDS)
        .select_related("plan__request__policy", "plan__to_version", "plan__from_version")
        .order_by("-started_at")
        .first()
    )
    if last is None:
        return None
    return last.plan if desired == left_with(last, host) else None


def _plan(placement: Placement, endpoint: Endpoint, desired: Version, authority: Plan) -> Plan:
    host = placement.host
    identity = uuid.uuid4()
    found = placement.observed_digest
    approved = PlanDocument.read(bytes(authority.document))
    document = write_document(
        {
            "plan": str(identity),
            "kind": PlanKind.CONVERGE,
            "incident": authority.incident_ref,
            "proposer": WORKER.id,
            "authority": {"plan_hash": authority.plan_hash, "request": str(authority.request_id)},
            "endpoint": approved.body["endpoint"],
            "from": None,
            "to": version_facts(desired),
            "serving": sorted({found, "", desired.digest}),
            "hosts": [{"name": host.name, "engine": host.engine, "address": host.address}],
            **_strategy(approved, host),
            "waves": [{"name": "converge", "hosts": [host.name]}],
            "wave_soak_seconds": 0,
            "gate_patience_seconds": 30,
            "watch_seconds": 0,
            "undo_seconds": 0,
            "min_hosts_serving": 0,
            "tolerated_absences": 0,
            "gates": default_gates(kind=PlanKind.CONVERGE, min_requests=0, compared=False),
            "checks": [{"name": "serving"}, {"name": "golden"}],
            "on_failure": "halt",
            "policy_hash": approved.policy_hash,
            "evidence_digest": evidence_digest({}),
        },
        expires_at=authority.expires_at,
    )
    return Plan.objects.create(
        id=identity,
        kind=PlanKind.CONVERGE,
        endpoint=endpoint,
        to_version=desired,
        incident_ref=authority.incident_ref,
        reason=_reason(placement, desired),
        document=document,
        plan_hash=plan_hash(document),
        state=PlanState.STARTED,
        request=authority.request,
        expires_at=authority.expires_at,
    )


def _strategy(approved: PlanDocument, host: Host) -> dict[str, Any]:
    """A host whose memory holds one version only is emptied first, as in the run that was approved."""
    if host.name not in approved.recreated:
        return {"strategy": "blue_green"}
    return {"strategy": "recreate", "recreated": [host.name], "drain_seconds": approved.body["drain_seconds"]}


def _reason(placement: Placement, desired: Version) -> str:
    name, left = placement.host.name, placement.observation.get("left", "")
    if left == "out":
        return f"{name} was left out of service, and is to serve version {desired.number}."
    if left == "share":
        return f"{name} was left with another version taking a share of what version {desired.number} is to answer."
    found = placement.observed_digest[:12] or "nothing"
    return f"{name} came back with {found} instead of version {desired.number}."


def _deny(placement: Placement, desired: Version, refused: str) -> None:
    record(
        action="rollback.converge.start",
        target=Target("host", placement.host.name),
        actor=WORKER,
        outcome="denied",
        data={
            "endpoint": placement.endpoint.slug,
            "host": placement.host.name,
            "desired": desired.digest,
            "observed": placement.observed_digest,
            "refused": refused,
        },
    )
