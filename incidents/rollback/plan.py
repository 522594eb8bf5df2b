"""Plans: proposed, replaced, given up. A plan is never edited; a change is a new plan, and the old one is void."""

import datetime
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.approvals.actions import withdraw
from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import policy_for
from accounts.models import ApprovalPolicy, User
from accounts.permissions import require
from audit.actions import Actor, Target, record
from audit.dispatch import send_on_commit
from incidents.rollback.document import (
    PlanDocument,
    PlanWave,
    default_checks,
    default_gates,
    default_waves,
    evidence_digest,
    plan_hash,
    write_document,
)
from incidents.rollback.models import Plan, PlanKind, PlanState
from incidents.rollback.state import LostRace, move
from registry.models import Deployment, Endpoint, Placement, Version

PREFLIGHT_ALLOWANCE = datetime.timedelta(minutes=15)


class PlanRefused(Exception):
    """The plan can't be made, submitted or started. `code` is for programs; the message says what to do next."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def propose(
    *,
    kind: str,
    endpoint: Endpoint,
    to_version: Version,
    reason: str,
    user: User,
    actor: Actor,
    incident_ref: str = "",
    evidence: Mapping[str, Any] | None = None,
    wave_sizes: Sequence[int] | None = None,
    wave_soak_seconds: int | None = None,
    watch_seconds: int | None = None,
    tolerated_absences: int | None = None,
    min_requests: int | None = None,
    gates_off: bool = False,
    start_on_approval: bool = True,
    replaces: Plan | None = None,
) -> Plan:
    """Write down one exact change and order its preflight (task `rollback.preflight`).

    Times are in seconds and default to the endpoint's; the first wave is one canary host. `gates_off` leaves the gates
    out of the plan, on record. `replaces` is voided, and its approvals with it.
    Raises PermissionDenied, PlanRefused, and accounts.approvals.queries.NoPolicy.
    """
    require(user, "plan.propose")
    _check_target(kind, endpoint, to_version)
    policy = policy_for(subject_kind=kind, risk_tier=endpoint.model.risk_tier, environment=endpoint.environment)
    placements = list(
        Placement.objects.filter(endpoint=endpoint, host__drained_at=None).select_related("host").order_by("host__name")
    )
    if not placements:
        raise PlanRefused("no_hosts", f"No host serves {endpoint.slug}. Place the endpoint on a host first.")
    from_version = _live_version(endpoint, to_version)
    if from_version is None and Deployment.objects.filter(endpoint=endpoint, until=None).exists():
        raise PlanRefused("nothing_to_change", f"{endpoint.slug} serves version {to_version.number} already.")
    shown = dict(evidence or {})
    expires_at = timezone.now() + datetime.timedelta(seconds=policy.expires_seconds) + PREFLIGHT_ALLOWANCE
    identity = uuid.uuid4()
    waves = default_waves([placement.host.name for placement in placements], wave_sizes)
    quiet = from_version is None or endpoint.environment != "production"
    body = _body(
        identity=identity,
        kind=kind,
        endpoint=endpoint,
        from_version=from_version,
        to_version=to_version,
        incident_ref=incident_ref,
        proposer=user.pseudonym,
        placements=placements,
        waves=waves,
        policy=policy,
        digest_of_evidence=evidence_digest(shown),
        wave_soak_seconds=endpoint.wave_soak_seconds if wave_soak_seconds is None else wave_soak_seconds,
        watch_seconds=endpoint.watch_seconds if watch_seconds is None else watch_seconds,
        tolerated_absences=tolerated_absences,
        gates=[]
        if gates_off
        else default_gates(
            kind=kind,
            min_requests=(0 if quiet else 20) if min_requests is None else min_requests,
            compared=from_version is not None,
        ),
        checks=_checks(to_version, traffic=not quiet),
    )
    document = write_document(body, expires_at=expires_at)
    with transaction.atomic():
        plan = Plan.objects.create(
            id=identity,
            kind=kind,
            endpoint=endpoint,
            from_version=from_version,
            to_version=to_version,
            incident_ref=incident_ref,
            proposer=user,
            reason=reason,
            document=document,
            plan_hash=plan_hash(document),
            evidence=shown,
            start_on_approval=start_on_approval,
            preflight_due_at=Now(),
            expires_at=expires_at,
        )
        if replaces is not None:
            void(plan_id=replaces.id, reason=f"Replaced by plan {plan.plan_hash[:12]}.", actor=actor)
        record(
            action="rollback.plan.propose",
            target=Target("plan", str(plan.id)),
            actor=actor,
            incident=incident_ref,
            reason=reason,
            data=facts(plan) | {"replaces": str(replaces.id) if replaces else ""},
        )
        announce(plan)
        send_on_commit("rollback.preflight", [str(plan.id)], queue="rollback")
    return plan


def facts(plan: Plan) -> dict[str, Any]:
    """What every event about a plan says of it."""
    return {
        "plan": str(plan.id),
        "plan_hash": plan.plan_hash,
        "kind": plan.kind,
        "endpoint": plan.endpoint.slug,
        "from": plan.from_version.digest if plan.from_version else "",
        "to": plan.to_version.digest,
    }


def announce(plan: Plan) -> None:
    """Tell the floor above that the plan has changed, once the transaction has committed."""
    send_on_commit("incidents.follow_plan", [str(plan.id)], queue="intake")


def read(plan: Plan) -> PlanDocument:
    """The plan's document, only if it still hashes to what was approved. Raises PlanRefused."""
    if plan_hash(plan.document) != plan.plan_hash:
        raise PlanRefused("hash_mismatch", "The plan's document is not the one that was proposed. Propose it again.")
    return PlanDocument.read(bytes(plan.document))


@transaction.atomic
def void(*, plan_id: Any, reason: str, actor: Actor) -> bool:
    """Give the plan up and withdraw its approval request. False when it was started or voided before."""
    plan = Plan.objects.select_related("endpoint", "from_version", "to_version").get(pk=plan_id)
    if plan.state in (PlanState.STARTED, PlanState.VOID):
        return False
    try:
        move(plan, PlanState.VOID, void_reason=reason[:500], preflight_due_at=None)
    except LostRace:
        return False
    if plan.request_id:
        withdraw(request_id=plan.request_id, reason=reason, actor=actor)
    record(
        action="rollback.plan.void",
        target=Target("plan", str(plan.id)),
        actor=actor,
        incident=plan.incident_ref,
        reason=reason,
        data=facts(plan),
    )
    announce(plan)
    return True


def _check_target(kind: str, endpoint: Endpoint, to_version: Version) -> None:
    if kind not in (PlanKind.ROLLBACK, PlanKind.RELEASE, PlanKind.DRILL):
        raise PlanRefused("unknown_kind", f"There is no plan of the kind {kind!r}. Choose rollback, release or drill.")
    if to_version.model_id != endpoint.model_id:
        raise PlanRefused(
            "other_model", f"{to_version} belongs to another model than {endpoint.slug}. Choose one of its versions."
        )
    if to_version.quarantined_at is not None:
        raise PlanRefused(
            "quarantined",
            f"Version {to_version.number} is quarantined: {to_version.quarantine_reason} Choose another version.",
        )


def _live_version(endpoint: Endpoint, to_version: Version) -> Version | None:
    """The version that most hosts serve now, other than the target."""
    live = Deployment.objects.filter(endpoint=endpoint, until=None).select_related("version")
    counted = Counter(row.version for row in live if row.version_id != to_version.pk)
    return counted.most_common(1)[0][0] if counted else None


def promised_accuracy(version: Version) -> Decimal | None:
    """The accuracy on the holdout set that the version was registered with."""
    holdout = version.metrics.get("holdout") if isinstance(version.metrics, dict) else None
    value = holdout.get("accuracy") if isinstance(holdout, dict) else None
    return None if value is None else Decimal(str(value))


def _checks(version: Version, *, traffic: bool) -> list[dict[str, str]]:
    return default_checks(
        promised=promised_accuracy(version),
        holdout=version.holdout_id is not None,
        outputs=version.profile_id is not None,
        traffic=traffic,
    )


def _body(
    *,
    identity: uuid.UUID,
    kind: str,
    endpoint: Endpoint,
    from_version: Version | None,
    to_version: Version,
    incident_ref: str,
    proposer: str,
    placements: Sequence[Placement],
    waves: Sequence[PlanWave],
    policy: ApprovalPolicy,
    digest_of_evidence: str,
    wave_soak_seconds: int,
    watch_seconds: int,
    tolerated_absences: int | None,
    gates: list[dict[str, str]],
    checks: list[dict[str, str]],
) -> dict[str, Any]:
    spare = max(0, len(placements) - max(1, endpoint.min_hosts_serving))
    return {
        "plan": str(identity),
        "kind": kind,
        "incident": incident_ref,
        "proposer": proposer,
        "endpoint": {
            "slug": endpoint.slug,
            "environment": endpoint.environment,
            "model": endpoint.model.slug,
            "risk_tier": endpoint.model.risk_tier,
        },
        "from": version_facts(from_version),
        "to": version_facts(to_version),
        "serving": sorted({from_version.digest if from_version else "", to_version.digest}),
        "hosts": [
            {"name": placement.host.name, "engine": placement.host.engine, "address": placement.host.address}
            for placement in placements
        ],
        "strategy": "waves",
        "waves": [{"name": wave.name, "hosts": wave.hosts} for wave in waves],
        "wave_soak_seconds": wave_soak_seconds,
        "gate_patience_seconds": max(30, 2 * wave_soak_seconds),
        "watch_seconds": watch_seconds,
        "undo_seconds": endpoint.undo_seconds,
        "min_hosts_serving": endpoint.min_hosts_serving,
        "tolerated_absences": min(1, spare) if tolerated_absences is None else tolerated_absences,
        "gates": gates,
        "checks": checks,
        "on_failure": "compensate" if kind == PlanKind.RELEASE and from_version else "halt",
        "policy_hash": policy_hash(policy),
        "evidence_digest": digest_of_evidence,
    }


def version_facts(version: Version | None) -> dict[str, Any] | None:
    return None if version is None else {"number": version.number, "digest": version.digest}
