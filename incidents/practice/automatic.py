"""A rollback that starts by itself: the rule of a model, held against one incident.

The plan is an ordinary one, proposed in the name of who armed the rule. It starts without approvals only where the
approval policy in force allows that and every limit of the rule is kept; else the plan is prepared and people are
asked. What was not done, and why, stands on the incident's record.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.approvals import automatic as leaves
from accounts.approvals.actions import Refused
from accounts.approvals.models import AutomaticLeave
from accounts.approvals.queries import NoPolicy, policy_for
from accounts.permissions import may
from audit.actions import Target, record, service_actor
from audit.clock import database_now
from audit.english import in_english
from incidents.models import OPEN_STATES, Incident, IncidentState
from incidents.practice import rules
from incidents.practice.models import Attempt, AttemptState, AutomaticRule, Drill, DrillState, RuleState
from incidents.queries import incidents, situation
from incidents.rollback.facts import promised_accuracy
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    Candidate,
    Plan,
    PlanKind,
    PlanState,
    Run,
    RunState,
    WatchState,
)
from incidents.rollback.plan import PlanRefused, propose
from incidents.rollback.queries import candidate_evidence, candidates
from incidents.rollback.replaying import figures_of
from registry.models import Environment, Version

WORKER = service_actor("practice")
CURED = ("a bad version", "not enough data")
"""Diagnoses that do not speak against a rollback: how much data is enough, the replay's own intervals say."""
EARLY = [IncidentState.DETECTED, IncidentState.TRIAGED]
UNDECIDED = [AttemptState.CONSIDERING, AttemptState.PROPOSED]
WAITING_PLANS = [PlanState.DRAFT, PlanState.PREFLIGHTED, PlanState.AWAITING]
PASSING = {"unjudged", "busy", "frozen"}
"""Reasons that pass by themselves: the plan waits for that, unless people start it before."""
WENT_WRONG = [RunState.HALTED, RunState.FAILED, RunState.STOPPED, RunState.COMPENSATING, RunState.COMPENSATED]


@dataclass(frozen=True)
class Reason:
    """Why something is not done. `code` is for programs."""

    code: str
    sentence: str


def due_incidents(now: datetime.datetime) -> list[int]:
    """Incidents in production that a rule has not decided about: open, not under way, and begun since it was armed."""
    rule = AutomaticRule.objects.filter(
        model=OuterRef("endpoint__model"),
        replaced_at=None,
        state__in=[RuleState.ARMED, RuleState.TRIPPED],
        armed_at__lte=OuterRef("detected_at"),
    )
    undecided = Q(automatic_attempt=None) | Q(automatic_attempt__state=AttemptState.CONSIDERING)
    found = Incident.objects.filter(
        Exists(rule), undecided, state__in=EARLY, endpoint__environment=Environment.PRODUCTION
    )
    proposed = Attempt.objects.filter(state=AttemptState.PROPOSED)
    ready = proposed.exclude(plan__state__in=[PlanState.DRAFT, PlanState.PREFLIGHTED])
    return [*found.values_list("pk", flat=True)[:50], *ready.values_list("incident_id", flat=True)[:50]]


@transaction.atomic
def consider(incident_id: Any) -> Attempt | None:
    """Hold the model's rule against an incident, and do what follows from it. None where no rule is about it.

    Everything is done in one transaction under the attempt's lock: a worker that dies in it has done nothing, and of
    two at once the second finds what the first has done.
    """
    incident = Incident.objects.select_related("endpoint__model").get(pk=incident_id)
    attempt = _attempt(incident)
    if attempt is None or attempt.state not in UNDECIDED:
        return attempt
    if attempt.state == AttemptState.PROPOSED:
        _carry_on(attempt, incident)
    elif (aside := _stands_aside(attempt, incident)) is not None:
        _end(attempt, aside)
    elif _runs(attempt).exists():
        _decline(attempt, [Reason("converging", f"A host of {attempt.endpoint.slug} is being converged.")])
    else:
        _propose(attempt, incident)
    return attempt


def _attempt(incident: Incident) -> Attempt | None:
    """The incident's attempt, locked; begun where a rule is about it."""
    if incident.endpoint is None or incident.endpoint.environment != Environment.PRODUCTION:
        return None
    rule = rules.rule_of(incident.endpoint.model)
    if rule is not None and rule.state != RuleState.OFF and incident.state in EARLY:
        Attempt.objects.get_or_create(incident=incident, defaults={"rule": rule, "endpoint": incident.endpoint})
    found = Attempt.objects.select_for_update(of=("self",)).filter(incident=incident)
    return found.select_related("rule__model", "rule__armed_by", "endpoint__model", "plan__request__policy").first()


def _stands_aside(attempt: Attempt, incident: Incident) -> Reason | None:
    """Why people have it in hand already."""
    if incident.state not in OPEN_STATES or incident.state not in EARLY:
        return Reason(
            "under_way", f"The incident is {in_english(incident.get_state_display).lower()}: people have it in hand."
        )
    if Plan.objects.filter(incident_ref=incident.ref, kind=PlanKind.ROLLBACK).exists():
        return Reason("proposed", "A person has proposed a rollback.")
    if _runs(attempt).exclude(plan__kind=PlanKind.CONVERGE).exists():
        return Reason("busy", f"A run of {attempt.endpoint.slug} is active.")
    if attempt.rule.replaced_at is not None or attempt.rule.state == RuleState.OFF:
        return Reason("rule_gone", "The rule was taken back, or replaced by another.")
    return None


def _runs(attempt: Attempt) -> QuerySet[Run]:
    return Run.objects.filter(endpoint=attempt.endpoint, state__in=ACTIVE_RUN_STATES)


def _propose(attempt: Attempt, incident: Incident) -> None:
    """Propose the plan where a validated target does better; else say, once, why not yet."""
    target = best_target(incident, attempt.rule)
    if isinstance(target, Reason):
        _decline(attempt, [target])
        return
    alone = why_not_alone(attempt.rule, attempt)
    try:
        with transaction.atomic():
            plan = propose(
                kind=PlanKind.ROLLBACK,
                endpoint=attempt.endpoint,
                to_version=target,
                reason=f"By rule {attempt.rule.number} for {attempt.rule.model.slug}.",
                user=attempt.rule.armed_by,
                actor=WORKER,
                incident_ref=incident.ref,
                evidence=candidate_evidence(incident.ref),
            )
    except (PlanRefused, NoPolicy, PermissionDenied) as refused:
        _decline(attempt, [Reason(getattr(refused, "code", "not_proposed"), str(refused))])
        return
    attempt.plan = plan
    if not _pass(alone):
        _move(attempt, AttemptState.ASKED, alone, "ask")
        _trip_if_too_many(attempt, alone, incident.ref)
    else:
        _move(attempt, AttemptState.PROPOSED, [], "propose")


def best_target(incident: Incident, rule: AutomaticRule) -> Version | Reason:
    """The best target that is validated and surely does better on the very same inputs, or why there is none."""
    if incident.severity > rule.severity:
        return Reason("severity", f"Its severity is {incident.severity}; the rule acts on {rule.severity} or worse.")
    ranked = list(candidates(incident.ref))
    if not ranked:
        return Reason("not_ranked", "The targets are not ranked yet.")
    likely = situation(incidents().get(pk=incident.pk)).diagnosis().likely
    if likely is not None and likely.word not in CURED:
        return Reason("diagnosis", f"It looks like {likely.word}, which going back to another version does not cure.")
    live = _live(incident, rule)
    said: Reason | None = None
    for candidate in ranked:
        found = _weighed(candidate, live, rule) if candidate.eligible else None
        if found is None and candidate.eligible:
            return candidate.to_version
        said = said or found
    return said or Reason("no_target", "No version is eligible as a target.")


def _live(incident: Incident, rule: AutomaticRule) -> Version | None:
    number = incident.from_version
    wanted = int(number) if number.isdecimal() and len(number) < 10 else 0
    return Version.objects.filter(model=rule.model, number=wanted).first()


def met(plan: Plan, incident: Incident, rule: AutomaticRule) -> dict[str, Any] | Reason:
    """What of the plan's target meets the rule now, as facts without floats, or what speaks against it by now."""
    candidate = candidates(incident.ref).filter(to_version=plan.to_version, eligible=True).first()
    if candidate is None:
        return Reason("no_target", f"Version {plan.to_version.number} is not eligible as a target any more.")
    if (against := _weighed(candidate, _live(incident, rule), rule)) is not None:
        return against
    return {
        "from": plan.from_version.digest if plan.from_version else "",
        "to": plan.to_version.digest,
        "replayed": figures_of(candidate.replay),
        "validated": validated(plan.to_version, rule),
    }


def _weighed(candidate: Candidate, live: Version | None, rule: AutomaticRule) -> Reason | None:
    """What speaks against going there without a person."""
    version, replay = candidate.to_version, candidate.replay
    mine, theirs = _interval(replay, "candidate"), _interval(replay, "live")
    if mine is None or theirs is None:
        return Reason("no_labels", f"Nothing tells yet whether version {version.number} does better: no labelled rows.")
    if not _surely_better(replay, mine, theirs):
        return Reason("not_better", f"Version {version.number} does not surely do better on the same inputs.")
    promised = promised_accuracy(live) if live is not None else None
    expected = mine["accuracy"] if promised is None else float(promised)
    if expected - theirs["high"] < rule.error_budget:
        return Reason("budget", f"The errors are within {rule.error_budget:.1%} beyond what was promised.")
    if not validated(version, rule):
        return Reason("unvalidated", f"Version {version.number} was neither drilled lately nor has it soaked.")
    return _left_lately(version, rule, candidate.endpoint_id)


def _surely_better(replay: Mapping[str, Any], mine: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """By the same rows in pairs where that was reckoned, else interval against interval."""
    paired = replay.get("paired")
    if isinstance(paired, Mapping) and "low" in paired:
        return float(paired["low"]) > 0
    return float(mine["low"]) > float(theirs["high"])


def _interval(replay: Mapping[str, Any], name: str) -> Mapping[str, float] | None:
    found = replay.get(name)
    return found if isinstance(found, Mapping) and {"accuracy", "low", "high"} <= found.keys() else None


def validated(version: Version, rule: AutomaticRule) -> dict[str, str]:
    """By what a target is validated, for the record: a drill that is fresh by the rule, or that it soaked in production
    and has a golden test to prove it by. Empty where it is not."""
    since = database_now() - datetime.timedelta(days=rule.drill_days)
    drill = Drill.objects.filter(version=version, state=DrillState.PASSED, ended_at__gte=since).order_by("-ended_at")
    if (newest := drill.first()) is not None:
        return {"by": "drill", "drill": str(newest.pk)}
    return {"by": "soak"} if version.soaked_at is not None and version.golden_id is not None else {}


def _left_lately(version: Version, rule: AutomaticRule, endpoint_id: int) -> Reason | None:
    since = database_now() - datetime.timedelta(seconds=rule.window_seconds)
    left = Run.objects.filter(
        endpoint=endpoint_id, plan__kind=PlanKind.ROLLBACK, plan__from_version=version, started_at__gte=since
    )
    if left.exists():
        return Reason("flapping", f"Version {version.number} was itself rolled back from within the rule's window.")
    return None


def why_not_alone(rule: AutomaticRule, attempt: Attempt) -> list[Reason]:
    """Why the plan may not start by itself now, though it is the right one; empty where it may."""
    now, endpoint, said = database_now(), attempt.endpoint, []
    try:
        policy = policy_for(
            subject_kind=PlanKind.ROLLBACK, risk_tier=endpoint.model.risk_tier, environment=endpoint.environment
        )
        if not leaves.is_allowed(policy):
            said.append(Reason("policy", f"The policy {policy} lets nothing start by itself."))
    except NoPolicy as error:
        said.append(Reason("no_policy", str(error)))
    if rule.state == RuleState.TRIPPED:
        said.append(Reason("tripped", f"The rule has tripped, and nobody has armed it again: {rule.state_reason}"))
    if not rule.from_hour <= now.hour < rule.to_hour:
        hours = f"between {rule.from_hour} and {rule.to_hour} o'clock UTC"
        said.append(Reason("hours", f"The rule acts {hours} only."))
    if not may(rule.armed_by, "incident.command", model=rule.model.slug, team=rule.model.team):
        said.append(Reason("armed_by", f"{rule.armed_by}, who armed the rule, is no commander of the model any more."))
    rolled_back = Run.objects.filter(endpoint=endpoint, plan__kind=PlanKind.ROLLBACK)
    last = rolled_back.order_by("-started_at").first()
    if last is not None and (now - last.started_at).total_seconds() < rule.dwell_seconds:
        said.append(
            Reason("dwell", f"It was rolled back at {last.started_at:%H:%M} UTC, less than {rule.dwell_seconds} s ago.")
        )
    window = now - datetime.timedelta(seconds=rule.window_seconds)
    used = AutomaticLeave.objects.filter(request__subject_kind=PlanKind.ROLLBACK, used_at__gte=window)
    if used.filter(request__model=rule.model.slug).count() >= rule.most:
        said.append(Reason("most", f"{rule.most} have started by themselves within {rule.window_seconds} s."))
    return said + _passing(rule, attempt, now)


def _passing(rule: AutomaticRule, attempt: Attempt, now: datetime.datetime) -> list[Reason]:
    """Why it has to wait: a leave that is given while nothing can start would be used later, when all is different."""
    said = []
    others = Attempt.objects.filter(rule__model=rule.model_id, state=AttemptState.STARTED, judged_at=None)
    if others.exclude(pk=attempt.pk).exists():
        said.append(Reason("unjudged", "Another that was let start by itself is not over, or still watched."))
    if _runs(attempt).exists():
        said.append(Reason("busy", f"A run of {attempt.endpoint.slug} is active."))
    if (freeze := attempt.endpoint.freeze_at(now)) is not None:
        said.append(Reason("frozen", f"{attempt.endpoint.slug} is frozen until {freeze.until:%H:%M} UTC."))
    return said


def _trip_if_too_many(attempt: Attempt, said: list[Reason], incident_ref: str) -> None:
    for reason in said:
        if reason.code == "most":
            rules.trip(rule=attempt.rule, why=reason.sentence, incident_ref=incident_ref, actor=WORKER)


def _carry_on(attempt: Attempt, incident: Incident) -> None:
    """The plan has passed its preflight, or was given up: let it start, or leave it to people."""
    plan = attempt.plan
    assert plan is not None
    if plan.state == PlanState.VOID:
        _end(attempt, Reason("void", f"Its plan was given up: {plan.void_reason}"))
    elif plan.state == PlanState.STARTED:
        _end(attempt, Reason("approved", "People approved the plan before it started by itself."))
    elif plan.state == PlanState.AWAITING:
        _let_start(attempt, plan, incident)


def _pass(said: list[Reason]) -> bool:
    """Whether nothing stands against it but what passes by itself."""
    return {reason.code for reason in said} <= PASSING


def _let_start(attempt: Attempt, plan: Plan, incident: Incident) -> None:
    """Give the leave, or say why not. The rule's row is locked: of several incidents one is decided at a time, and a
    person who disarms the rule comes before, or takes the leave back."""
    locked = AutomaticRule.objects.select_for_update(of=("self",)).select_related("model", "armed_by")
    attempt.rule = locked.get(pk=attempt.rule_id)
    alone = why_not_alone(attempt.rule, attempt)
    if incident.state not in EARLY or incident.severity > attempt.rule.severity:
        alone.append(Reason("moved_on", "The incident is no longer as it was when the plan was proposed."))
    if attempt.rule.replaced_at is not None or attempt.rule.state == RuleState.OFF:
        alone.append(Reason("rule_gone", "The rule was taken back, or replaced by another."))
    target = met(plan, incident, attempt.rule)
    alone += [target] if isinstance(target, Reason) else []
    if alone and _pass(alone):
        if attempt.codes != [reason.code for reason in alone]:
            _move(attempt, AttemptState.PROPOSED, alone, "wait")
        return
    if alone:
        _move(attempt, AttemptState.ASKED, alone, "ask")
        _trip_if_too_many(attempt, alone, incident.ref)
        return
    facts = rules.facts(attempt.rule) | {
        "incident_severity": incident.severity,
        "armed_by": attempt.rule.armed_by.pseudonym,
        "target": target,
    }
    try:
        with transaction.atomic():
            leaves.give_leave(request_id=plan.request_id, subject_hash=plan.plan_hash, rule=facts, actor=WORKER)
    except Refused as refused:
        _move(attempt, AttemptState.ASKED, [Reason(refused.code, refused.sentence)], "ask")
        return
    attempt.started_at = database_now()
    _move(attempt, AttemptState.STARTED, [], "start")


def _decline(attempt: Attempt, said: list[Reason]) -> None:
    """Not yet, and why; on record when it is something new."""
    if attempt.codes != [reason.code for reason in said]:
        _move(attempt, AttemptState.CONSIDERING, said, "decline")


def _end(attempt: Attempt, reason: Reason) -> None:
    _move(attempt, AttemptState.ENDED, [reason], "leave")


def _move(attempt: Attempt, state: AttemptState, said: list[Reason], verb: str) -> None:
    attempt.state, attempt.codes = state, [reason.code for reason in said]
    attempt.reason = " ".join(reason.sentence for reason in said)[:500]
    attempt.save(update_fields=["state", "codes", "reason", "plan", "started_at"])
    plan = {"plan": str(attempt.plan_id), "plan_hash": attempt.plan.plan_hash} if attempt.plan else {}
    record(
        action=f"practice.automatic.{verb}",
        target=Target("incident", attempt.incident.ref),
        actor=WORKER,
        incident=attempt.incident.ref,
        reason=attempt.reason,
        data={"rule": attempt.rule.number, "model": attempt.rule.model.slug, "codes": attempt.codes} | plan,
    )


def unjudged(now: datetime.datetime) -> list[int]:
    """Attempts that have started, and whose run has come to an end or was given up."""
    ended = Q(plan__run__state__in=WENT_WRONG) | Q(plan__state=PlanState.VOID)
    watched = Q(plan__run__watch__isnull=False) & ~Q(plan__run__watch__state=WatchState.WATCHING)
    found = Attempt.objects.filter(ended | watched, state=AttemptState.STARTED, judged_at=None)
    return list(found.values_list("pk", flat=True)[:50])


@transaction.atomic
def judge(attempt_id: Any) -> bool:
    """Hold the end of a run that started by itself against its rule: one that was not verified trips it. True when this
    call judged."""
    attempt = (
        Attempt.objects.select_for_update(of=("self",))
        .select_related("rule__model", "incident", "plan")
        .get(pk=attempt_id)
    )
    if attempt.judged_at is not None or attempt.state != AttemptState.STARTED:
        return False
    run = Run.objects.filter(plan=attempt.plan).select_related("watch").first()
    watch = getattr(run, "watch", None)
    if run is not None and run.state in WENT_WRONG:
        why = f"The rollback that started by itself did not come through: {run.state_reason}"
    elif watch is not None and watch.state != WatchState.PASSED:
        why = f"The rollback that started by itself was not verified: {watch.state_reason}"
    else:
        why = ""
    if why:
        rules.trip(rule=attempt.rule, why=why, incident_ref=attempt.incident.ref, actor=WORKER)
    Attempt.objects.filter(pk=attempt.pk).update(judged_at=database_now())
    return True


def waiting_drills(now: datetime.datetime) -> list[str]:
    """Drills that wait for approvals which their policy does not ask for."""
    found = Drill.objects.filter(
        state=DrillState.WAITING,
        plan__state=PlanState.AWAITING,
        plan__request__policy__automatic_allowed=True,
        plan__request__automatic_leave=None,
    )
    return [str(key) for key in found.values_list("pk", flat=True)[:50]]


def let_drill(drill_id: Any) -> bool:
    """Let a drill start without approvals, where its policy allows that. False where it does not, or was denied."""
    drill = Drill.objects.select_related("plan").get(pk=drill_id)
    try:
        leaves.give_leave(
            request_id=drill.plan.request_id,
            subject_hash=drill.plan.plan_hash,
            rule={"drill": str(drill.pk), "scheduled": drill.schedule_id is not None},
            actor=WORKER,
        )
    except Refused:
        return False
    return True
