"""Plans: proposed, replaced, given up. A plan is never edited; a change is a new plan, and the old one is void."""

import datetime
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.approvals.actions import withdraw
from accounts.approvals.policy import policy_hash
from accounts.approvals.queries import policy_for
from accounts.models import ApprovalPolicy, User
from accounts.permissions import require
from audit.actions import Actor, Target, record
from audit.clock import database_now
from audit.dispatch import send_on_commit
from audit.english import in_english
from incidents.rollback.document import (
    PlanDocument,
    default_checks,
    default_gates,
    evidence_digest,
    plan_hash,
    write_document,
)
from incidents.rollback.facts import promised_accuracy, version_facts, who_and_what
from incidents.rollback.gating.planned import entries_for, longest_patience
from incidents.rollback.memory import need_of
from incidents.rollback.models import Plan, PlanKind, PlanState, TrialLoad
from incidents.rollback.shadow.terms import ShadowRefused, entry
from incidents.rollback.state import LostRace, move
from incidents.rollback.waves import Member, PlanWave, WavesRefused, lay_out
from registry.composing import part_of, rehearsal_sentence
from registry.models import Deployment, Endpoint, Environment, Placement, Version
from registry.serving import driver_for

STRATEGIES = ("blue_green", "recreate", "weighted")
SHARES = (5, 25)
"""What a canary of the strategy `weighted` takes of its host's requests, in percent, before it takes all."""
DRAIN_SECONDS = 30
PREFLIGHT_ALLOWANCE = datetime.timedelta(minutes=15)


class PlanRefused(Exception):
    """The plan can't be made, submitted or started. `code` is for programs; the message says what to do next."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Options(TypedDict, total=False):
    """What a plan may differ in from the endpoint's defaults. Times are in seconds; `wave_by` and `quorum` are as
    incidents.rollback.waves.lay_out takes them, and `wave_sizes` is short for {"count": ...}. `shadow` is
    as incidents.rollback.shadow.terms.entry takes it, {} for its defaults, None for no shadow."""

    wave_sizes: Sequence[int] | None
    wave_by: Mapping[str, Any] | None
    quorum: Mapping[str, int] | None
    failure_budget: int | None
    strategy: str | None
    shares: Sequence[int] | None
    shadow: Mapping[str, Any] | None
    min_hosts_serving: int | None
    wave_soak_seconds: int | None
    watch_seconds: int | None
    tolerated_absences: int | None
    min_requests: int | None
    gates_off: bool


@dataclass(frozen=True)
class Composed:
    """A plan's document, not stored yet."""

    identity: uuid.UUID
    from_version: Version | None
    policy: ApprovalPolicy
    document: bytes
    expires_at: datetime.datetime
    evidence: dict[str, Any]

    @property
    def hash(self) -> str:
        return plan_hash(self.document)


def compose(
    *,
    kind: str,
    endpoint: Endpoint,
    to_version: Version,
    user: User,
    incident_ref: str = "",
    evidence: Mapping[str, Any] | None = None,
    **options: Unpack[Options],
) -> Composed:
    """Write the document that would be approved, and store nothing: the dry run of `propose`.

    Raises PlanRefused, and accounts.approvals.queries.NoPolicy.
    """
    _check_target(kind, endpoint, to_version)
    policy = policy_for(subject_kind=kind, risk_tier=endpoint.model.risk_tier, environment=endpoint.environment)
    placements = list(
        Placement.objects.filter(endpoint=endpoint, host__drained_at=None).select_related("host").order_by("host__name")
    )
    if not placements:
        raise PlanRefused(
            "no_hosts",
            gettext("No host serves %(slug)s. Place the endpoint on a host first.") % {"slug": endpoint.slug},
        )
    from_version = _live_version(endpoint, to_version)
    settled = not any("left" in placement.observation for placement in placements)
    if from_version is None and settled and Deployment.objects.filter(endpoint=endpoint, until=None).exists():
        raise PlanRefused(
            "nothing_to_change",
            gettext("%(slug)s serves version %(number)s already.")
            % {"slug": endpoint.slug, "number": to_version.number},
        )
    shown, identity = dict(evidence or {}), uuid.uuid4()
    expires_at = database_now() + datetime.timedelta(seconds=policy.expires_seconds) + PREFLIGHT_ALLOWANCE
    body = who_and_what(identity, kind, endpoint, from_version, to_version, incident_ref, user)
    body["outcome"] = _outcome(endpoint, from_version, to_version)
    if part := part_of(to_version):
        body["part"] = part
        shown["rehearsal"] = in_english(lambda: rehearsal_sentence(to_version))
    body |= _fleet(endpoint, placements, from_version, to_version, options)
    body |= _shadow(kind, body, placements, from_version, options.get("shadow"))
    body |= _questions(kind, endpoint, from_version, to_version, options)
    body |= {"policy_hash": policy_hash(policy), "evidence_digest": evidence_digest(shown)}
    return Composed(identity, from_version, policy, write_document(body, expires_at=expires_at), expires_at, shown)


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
    start_on_approval: bool = True,
    replaces: Plan | None = None,
    **options: Unpack[Options],
) -> Plan:
    """Write down one exact change and order its preflight (task `rollback.preflight`).

    The first wave is one canary host unless `wave_by` says otherwise. `gates_off` leaves the gates out of the plan,
    on record. `replaces` is voided, and its approvals with it.
    Raises PermissionDenied, PlanRefused, and accounts.approvals.queries.NoPolicy.
    """
    require(user, "plan.propose", model=endpoint.model.slug, team=endpoint.model.team)
    composed = compose(
        kind=kind,
        endpoint=endpoint,
        to_version=to_version,
        user=user,
        incident_ref=incident_ref,
        evidence=evidence,
        **options,
    )
    return keep_plan(
        composed,
        kind=kind,
        endpoint=endpoint,
        to_version=to_version,
        incident_ref=incident_ref,
        reason=reason,
        user=user,
        actor=actor,
        start_on_approval=start_on_approval,
        replaces=replaces,
    )


def keep_plan(
    composed: Composed,
    *,
    kind: str,
    endpoint: Endpoint,
    to_version: Version,
    incident_ref: str,
    reason: str,
    user: User,
    actor: Actor,
    start_on_approval: bool,
    replaces: Plan | None = None,
) -> Plan:
    """Store what was composed, and order its preflight."""
    with transaction.atomic():
        plan = Plan.objects.create(
            id=composed.identity,
            kind=kind,
            endpoint=endpoint,
            from_version=composed.from_version,
            to_version=to_version,
            incident_ref=incident_ref,
            proposer=user,
            author=(replaces.author or replaces.proposer) if replaces is not None else None,
            reason=reason,
            document=composed.document,
            plan_hash=composed.hash,
            evidence=composed.evidence,
            start_on_approval=start_on_approval,
            preflight_due_at=Now(),
            expires_at=composed.expires_at,
        )
        if replaces is not None:
            void(plan_id=replaces.id, reason=f"Replaced by plan {plan.plan_hash[:12]}.", actor=actor)
        record(
            action="rollback.plan.propose",
            target=Target("plan", str(plan.id)),
            actor=actor,
            incident=incident_ref,
            reason=reason,
            data=facts(plan) | {"replaces": str(replaces.id) if replaces else "", "gates_off": read(plan).gates_off},
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
    """The plan's document, only if it still hashes to what was approved and names the versions that the row names.

    Raises PlanRefused.
    """
    if plan_hash(bytes(plan.document)) != plan.plan_hash:
        raise PlanRefused(
            "hash_mismatch", gettext("The plan's document is not the one that was proposed. Propose it again.")
        )
    document = PlanDocument.read(bytes(plan.document))
    named = [version_facts(plan.from_version), version_facts(plan.to_version)]
    if [document.body["from"], document.body["to"]] != named:
        raise PlanRefused(
            "hash_mismatch", gettext("The plan names other versions than its document. Propose it again.")
        )
    return document


@transaction.atomic
def void(*, plan_id: Any, reason: str, actor: Actor, moved: Sequence[str] = ()) -> bool:
    """Give the plan up and withdraw its approval request. False when it was started or voided before.

    `moved` says what of the fleet is no longer as the plan names it, where that is why.
    """
    plan = Plan.objects.select_related("endpoint", "from_version", "to_version").get(pk=plan_id)
    if plan.state in (PlanState.STARTED, PlanState.VOID):
        return False
    try:
        move(plan, PlanState.VOID, void_reason=reason[:500], moved=list(moved), preflight_due_at=None)
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
        raise PlanRefused(
            "unknown_kind",
            gettext("There is no plan of the kind %(kind)r. Choose rollback, release or drill.") % {"kind": kind},
        )
    if to_version.model_id != endpoint.model_id:
        raise PlanRefused(
            "other_model",
            gettext("%(to_version)s belongs to another model than %(slug)s. Choose one of its versions.")
            % {"to_version": to_version, "slug": endpoint.slug},
        )
    if to_version.environment.get("opaque"):
        raise PlanRefused(
            "opaque",
            gettext("Version %(number)s was found on an engine that gave no files of it. Register it with its files.")
            % {"number": to_version.number},
        )
    if to_version.golden_id is None and part_of(to_version) is not None:
        raise PlanRefused(
            "not_rehearsed",
            gettext("Version %(number)s was composed, and nothing says yet what it should answer. Rehearse it first.")
            % {"number": to_version.number},
        )
    if to_version.quarantined_at is not None:
        raise PlanRefused(
            "quarantined",
            gettext("Version %(number)s is quarantined: %(quarantine_reason)s Choose another version.")
            % {"number": to_version.number, "quarantine_reason": to_version.quarantine_reason},
        )


def _live_version(endpoint: Endpoint, to_version: Version) -> Version | None:
    """The version that most hosts serve now, other than the target."""
    live = Deployment.objects.filter(endpoint=endpoint, until=None).select_related("version")
    counted = Counter(row.version for row in live if row.version_id != to_version.pk)
    return counted.most_common(1)[0][0] if counted else None


def _fleet(
    endpoint: Endpoint,
    placements: Sequence[Placement],
    from_version: Version | None,
    to_version: Version,
    options: Options,
) -> dict[str, Any]:
    """Hosts, what they may serve meanwhile, waves, absences."""
    hosts = [placement.host for placement in placements]
    by = options.get("wave_by") or {"count": list(options.get("wave_sizes") or [1])}
    try:
        waves = lay_out([Member(host.name, host.labels) for host in hosts], by, options.get("quorum"))
    except WavesRefused as error:
        raise PlanRefused("bad_waves", str(error)) from error
    least = _or(options.get("min_hosts_serving"), endpoint.min_hosts_serving)
    if least > len(hosts):
        raise PlanRefused(
            "too_few_hosts",
            gettext("%(least)s hosts can't serve all the while: there are %(count)s.")
            % {"least": least, "count": len(hosts)},
        )
    spare = max(0, len(hosts) - max(1, least))
    return {
        "serving": sorted({from_version.digest if from_version else "", to_version.digest}),
        "hosts": [{"name": host.name, "engine": host.engine, "address": host.address} for host in hosts],
        **_strategy(placements=placements, waves=waves, origin=from_version, target=to_version, options=options),
        "wave_by": dict(by),
        "waves": [wave.facts for wave in waves],
        "min_hosts_serving": least,
        "tolerated_absences": _or(options.get("tolerated_absences"), min(1, spare)),
        "failure_budget": _or(options.get("failure_budget"), 0),
    }


def _outcome(endpoint: Endpoint, origin: Version | None, target: Version) -> str:
    """Back to what was before, forward to a later version, or to the one that the endpoint keeps to fall back on."""
    if target.pk == endpoint.fallback_id:
        return "fallback"
    return "roll_back" if origin is not None and target.number < origin.number else "roll_forward"


def _strategy(
    *,
    placements: Sequence[Placement],
    waves: Sequence[PlanWave],
    origin: Version | None,
    target: Version,
    options: Options,
) -> dict[str, Any]:
    """How each host is changed: as asked for, else `recreate` where a host's memory, as last observed, can't hold both
    versions, else `blue_green`. Raises PlanRefused."""
    asked = options.get("strategy")
    if asked not in (None, "", *STRATEGIES):
        raise PlanRefused(
            "unknown_strategy",
            gettext("There is no strategy %(asked)r. Choose %(names)s.")
            % {"asked": asked, "names": ", ".join(STRATEGIES)},
        )
    names = [placement.host.name for placement in placements]
    recreated = (
        names if asked == "recreate" else [p.host.name for p in placements if asked is None and _is_full(p, target)]
    )
    if origin is not None and recreated:
        return {"strategy": "recreate", "recreated": recreated, "drain_seconds": DRAIN_SECONDS}
    if asked == "weighted" and origin is not None:
        able = {p.host.name for p in placements if driver_for(p.host.engine).capabilities.weighted_traffic}
        shares = sorted(set(options.get("shares") or SHARES))
        if not all(0 < share < 100 for share in shares):
            raise PlanRefused(
                "bad_shares", gettext("Shares are whole numbers of percent, from 1 to 99, such as 5, 25.")
            )
        return {"strategy": "weighted", "shares": shares, "shared": [n for n in waves[0].hosts if n in able]}
    return {"strategy": "blue_green"}


def _shadow(
    kind: str,
    body: Mapping[str, Any],
    placements: Sequence[Placement],
    origin: Version | None,
    wish: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What is asked of the target beside what answers, on the hosts of the first wave that can, before any host is
    switched. Raises PlanRefused."""
    if wish is None:
        return {}
    if kind != PlanKind.RELEASE or origin is None:
        sentence = gettext("Only a release that replaces a version has a shadow: it is compared with what answers.")
        raise PlanRefused("bad_shadow", sentence)
    able = {p.host.name for p in placements if driver_for(p.host.engine).capabilities.shadow}
    able -= set(body.get("recreated", []))
    try:
        return {"shadow": entry(wish, [name for name in body["waves"][0]["hosts"] if name in able])}
    except ShadowRefused as error:
        raise PlanRefused("bad_shadow", str(error)) from error


def _is_full(placement: Placement, target: Version) -> bool:
    """Whether the host was seen without room for the target beside what it holds, and can be taken out of service."""
    seen = placement.observation
    if any(
        held.get("digest") == target.digest and held.get("state") == "ready"
        for held in seen.get("versions", {}).values()
    ):
        return False
    needed = need_of(target, engine=placement.host.engine, device=seen.get("device", "")).bytes
    full = seen.get("memory_total", 0) > 0 and seen.get("memory_free", 0) + _tried(placement) < needed
    return full and driver_for(placement.host.engine).capabilities.drain


def _tried(placement: Placement) -> int:
    """Bytes that versions hold which were only brought to be tried: they leave when their trial is over."""
    loads = TrialLoad.objects.filter(trial__endpoint=placement.endpoint_id, host=placement.host_id, left_at=None)
    brought = set(loads.values_list("version__digest", flat=True))
    held = placement.observation.get("versions", {}).values()
    return sum(state.get("bytes") or 0 for state in held if state.get("digest") in brought)


def _questions(
    kind: str, endpoint: Endpoint, from_version: Version | None, to_version: Version, options: Options
) -> dict[str, Any]:
    """Gates, checks, and how long is waited for answers. An endpoint that is not live yet has no traffic to ask."""
    soak = _or(options.get("wave_soak_seconds"), endpoint.wave_soak_seconds)
    traffic = from_version is not None and endpoint.environment == Environment.PRODUCTION
    min_requests = _or(options.get("min_requests"), 20 if traffic else 0)
    gates: list[dict[str, Any]] = [
        *default_gates(kind=kind, min_requests=min_requests, compared=from_version is not None),
        *entries_for(endpoint, kind),
    ]
    return {
        "wave_soak_seconds": soak,
        "gate_patience_seconds": max(30, 2 * soak, longest_patience(gates)),
        "watch_seconds": _or(options.get("watch_seconds"), endpoint.watch_seconds),
        "undo_seconds": 0 if options.get("strategy") == "recreate" else endpoint.undo_seconds,
        "gates": [] if options.get("gates_off") else gates,
        "checks": default_checks(
            promised=promised_accuracy(to_version),
            holdout=to_version.holdout_id is not None,
            outputs=to_version.profile_id is not None,
            traffic=traffic,
        ),
    }


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
