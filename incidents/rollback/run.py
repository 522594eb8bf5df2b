"""Runs: started once, under consumed approvals; halted, stopped, taken up again or turned back by a person."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import F, Max
from django.db.models.functions import Now
from django.utils.translation import gettext

from accounts.actions import record_denial
from accounts.approvals import automatic, break_glass
from accounts.approvals.actions import Refused as ApprovalRefused
from accounts.approvals.actions import consume
from accounts.approvals.policy import policy_facts
from accounts.approvals.queries import may_stop, objections
from accounts.models import ApprovalDecision, Role, User
from accounts.permissions import require, roles_for
from audit.actions import Actor, Target, record, service_actor
from audit.clock import database_now
from audit.dispatch import send_on_commit
from audit.english import in_english
from incidents.rollback.document import PlanDocument
from incidents.rollback.models import (
    ACTIVE_RUN_STATES,
    STEERING_KINDS,
    HostStep,
    Plan,
    PlanKind,
    PlanState,
    Run,
    RunState,
    StepState,
    Wave,
    WaveState,
)
from incidents.rollback.moved import fleet_moved, not_as_left
from incidents.rollback.plan import PlanRefused, announce, facts, read
from incidents.rollback.shadow.terms import UNDECIDED
from incidents.rollback.shared import placements_beside, shared_with
from incidents.rollback.state import LostRace, move
from incidents.rollback.trials import give_way
from registry.models import Endpoint, Host, Placement
from registry.snapshots.actions import take as take_snapshot
from registry.snapshots.models import Reason

WORKER = service_actor("rollback")
COMPENSATION_FAILED = "compensation_failed"
FENCED_OFF = "fence"
PAUSED, PAUSED_BACK = "paused", "paused_going_back"
GOING_BACK = (COMPENSATION_FAILED, PAUSED_BACK)
"""Why a run was halted that was on its way back, and goes on that way."""


class StartRefused(PlanRefused):
    """The plan was not started, and nothing was touched. `code` says why."""


class RunRefused(PlanRefused):
    """The run can't be moved that way now; nothing was changed."""


def start(*, plan_id: Any, user: User | None, actor: Actor) -> Run:
    """Check everything again and start, in ONE transaction that uses the approvals up. Wakes `rollback.advance`.

    `user` is None when the last approval starts the plan. Raises StartRefused (codes not_awaiting, already_started,
    expired, frozen, active_run, quarantined, fleet_changed, shared_host, hash_mismatch, not_open, not_enough); the
    refusal is on record. Raises PermissionDenied for a person who may not start.
    """
    if user is not None:
        model = Plan.objects.select_related("endpoint__model").get(pk=plan_id).endpoint.model
        require(user, "plan.start", model=model.slug, team=model.team)
    try:
        with transaction.atomic():
            return _start(plan_id, user, actor)
    except (PlanRefused, ApprovalRefused, IntegrityError) as error:
        if isinstance(error, IntegrityError):
            code, sentence = "active_run", "Another run of this endpoint was started at the same moment."
        else:
            code, sentence = error.code, error.sentence
        plan = Plan.objects.select_related("endpoint", "from_version", "to_version").get(pk=plan_id)
        record(
            action="rollback.run.start",
            target=Target("plan", str(plan.id)),
            actor=actor,
            incident=plan.incident_ref,
            outcome="denied",
            data=facts(plan) | {"refused": code},
        )
        raise StartRefused(code, sentence) from error


def _start(plan_id: Any, user: User | None, actor: Actor) -> Run:
    endpoint = _lock_endpoints(plan_id)
    plan = (
        Plan.objects.select_for_update(of=("self",))
        .select_related("endpoint__model", "from_version", "to_version", "request__policy", "request__proposer")
        .get(pk=plan_id)
    )
    document = read(plan)
    _check_startable(plan, endpoint, document)
    assert plan.request is not None
    used: list[ApprovalDecision] = []
    glass = break_glass.is_needed(plan.request)
    by_itself = not glass and automatic.is_needed(plan.request)
    if glass:
        user = break_glass.use(request_id=plan.request_id, subject_hash=plan.plan_hash).by
    elif by_itself:
        automatic.use(request_id=plan.request_id, subject_hash=plan.plan_hash)
    else:
        used = consume(request_id=plan.request_id, subject_hash=plan.plan_hash, actor=actor)
    take_snapshot(endpoint=endpoint, reason=Reason.BEFORE_CHANGE, actor=actor, change_ref=str(plan.id))
    Endpoint.objects.filter(pk=endpoint.pk).update(fence=F("fence") + 1, version=F("version") + 1)
    endpoint.refresh_from_db()
    run = open_run(plan=plan, document=document, fence=endpoint.fence, started_by=user)
    move(plan, PlanState.STARTED)
    authority = {"break_glass": True} if glass else {"automatic": True} if by_itself else {}
    record_start(run=run, plan=plan, document=document, used=used, actor=actor, authority=authority)
    announce(plan)
    return run


def _lock_endpoints(plan_id: Any) -> Endpoint:
    """The plan's endpoint, locked with those that are served on its hosts too, so that of two plans which take hosts
    from each other one starts first."""
    unlocked = Plan.objects.select_related("endpoint").get(pk=plan_id)
    beside = placements_beside(unlocked.endpoint, set(read(unlocked).hosts))
    keys = {unlocked.endpoint_id, *(placement.endpoint_id for placement in beside)}
    locked = {each.pk: each for each in Endpoint.objects.select_for_update().filter(pk__in=keys).order_by("pk")}
    return locked[unlocked.endpoint_id]


def open_run(*, plan: Plan, document: PlanDocument, fence: int, started_by: User | None) -> Run:
    """The rows of a run: waves and one step a host. Inside the transaction of whoever starts it."""
    give_way(plan.endpoint)
    run = Run.objects.create(plan=plan, endpoint=plan.endpoint, fence=fence, started_by=started_by)
    hosts = {host.name: host for host in Host.objects.filter(name__in=document.hosts)}
    for index, entry in enumerate(document.waves, start=1):
        wave = Wave.objects.create(run=run, index=index, name=entry.name)
        HostStep.objects.bulk_create(HostStep(run=run, wave=wave, host=hosts[name]) for name in entry.hosts)
    return run


def record_start(
    *,
    run: Run,
    plan: Plan,
    document: PlanDocument,
    used: list[ApprovalDecision],
    actor: Actor,
    authority: dict[str, bool] | None = None,
) -> None:
    """The event from which an auditor checks that the execution had its approvals, or by what `authority` instead."""
    request = plan.request
    record(
        action="rollback.run.start",
        target=Target("run", str(run.id)),
        actor=actor,
        incident=plan.incident_ref,
        data=facts(plan)
        | {
            "run": str(run.id),
            "request": str(request.id) if request else "",
            "policy_hash": document.policy_hash,
            "policy": policy_facts(request.policy) if request else {},
            "required": request.policy.required if request else 0,
            "approvals": [str(decision.id) for decision in used],
            "hosts": document.hosts,
            "fence": run.fence,
        }
        | (authority or {}),
    )
    announce_run(run)
    send_on_commit("rollback.advance", [str(run.id)], queue="rollback")


def _check_startable(plan: Plan, endpoint: Endpoint, document: PlanDocument) -> None:
    if plan.state == PlanState.STARTED:
        raise StartRefused("already_started", gettext("This plan was started before; a plan runs once."))
    if plan.state != PlanState.AWAITING or plan.request is None:
        raise StartRefused(
            "not_awaiting",
            gettext("The plan can't be started: %(state)s.") % {"state": plan.get_state_display().lower()},
        )
    if plan.expires_at <= database_now():
        raise StartRefused("expired", gettext("The plan has expired. Propose it again."))
    if document.frozen_until is not None and document.frozen_until <= database_now():
        raise StartRefused("expired", gettext("The freeze would be over before it began. Propose one that ends later."))
    if Run.objects.filter(endpoint=endpoint, state__in=ACTIVE_RUN_STATES).exists():
        raise StartRefused(
            "active_run",
            gettext("Another run of %(slug)s is active. Wait for its end, or stop it.") % {"slug": endpoint.slug},
        )
    check_allowed(plan, endpoint)
    check_fleet(endpoint, document)
    for other in shared_with(endpoint, document):
        if other.hindrance:
            names = ", ".join(other.named)
            raise StartRefused(
                "shared_host",
                gettext("%(names)s: served for %(slug)s too, and %(hindrance)s.")
                % {"names": names, "slug": other.endpoint.slug, "hindrance": other.hindrance},
            )


def check_allowed(plan: Plan, endpoint: Endpoint) -> None:
    """What stops a run before its start and before each of its waves. Who takes a host out of service, or freezes the
    endpoint, deploys nothing."""
    if plan.kind in STEERING_KINDS:
        return
    frozen = endpoint.freeze_at(database_now())
    if frozen is not None:
        raise StartRefused(
            "frozen",
            gettext("%(slug)s is frozen: %(reason)s Lift the freeze first.")
            % {"slug": endpoint.slug, "reason": frozen.reason},
        )
    if plan.to_version.quarantined_at is not None:
        raise StartRefused(
            "quarantined",
            gettext("Version %(number)s was quarantined. Choose another target.") % {"number": plan.to_version.number},
        )


def check_objections(plan: Plan) -> None:
    """A denial or revocation since the approvals were used stops the waves that are left."""
    if plan.request is not None and objections(plan.request).exists():
        raise StartRefused(
            "objection",
            gettext("An approver objects now. Stop the run or turn it back, and propose a plan anew if need be."),
        )


def check_fleet(endpoint: Endpoint, document: PlanDocument) -> None:
    """The fleet that was approved must be the fleet that is there, as last observed."""
    if differences := fleet_moved(endpoint, document):
        raise StartRefused(
            "fleet_changed",
            gettext("The fleet changed since the plan was made: %(names)s. Propose it again.")
            % {"names": "; ".join(differences)},
        )


def check_progress(run: Run, document: PlanDocument) -> None:
    """Before each wave, and when one is taken up again: the hosts must be those that were approved, and serve what the
    progress made so far leads one to expect."""
    done = set(run.steps.filter(state=StepState.DONE).values_list("host__name", flat=True))
    if differences := not_as_left(run.endpoint, document, done):
        raise StartRefused(
            "fleet_changed",
            gettext("The fleet is not as the run left it: %(names)s. Stop the run, or turn it back.")
            % {"names": "; ".join(differences)},
        )


def seen_of(run: Run) -> str:
    """What a person who looks at the run now decides on: its state, and why it was halted."""
    return f"{run.state}:{run.halt_code}"


def _check_seen(run: Run, seen: str) -> None:
    """Raise RunRefused where the run goes another way, or waits for another reason, than when the person looked. To
    `seen` "" nothing is compared."""
    before, _, halt_code = seen.partition(":")
    turned = run.state == RunState.COMPENSATING != before
    other_halt = before == run.state == RunState.HALTED and halt_code != run.halt_code
    if seen and turned:
        raise RunRefused(
            "moved",
            gettext(
                "Nothing was done: since you looked, somebody has had the hosts brought back to what they served "
                "before, and that goes on. Look again."
            ),
        )
    if seen and other_halt:
        raise RunRefused(
            "moved",
            gettext("Nothing was done: since you looked, the run went on and was halted anew: %(reason)s Look again.")
            % {"reason": run.state_reason},
        )


def stop(*, run_id: Any, user: User, reason: str, actor: Actor, seen: str = "") -> Run:
    """End a run at the next safe point; one person is enough. Hosts stay as they are.

    Raises PermissionDenied, RunRefused when the run has ended, when it goes back now and did not as `seen_of` told,
    and when no reason is given.
    """
    run = _run(run_id, reason, user, "plan.stop")
    _check_seen(run, seen)
    model = run.endpoint.model
    policy = run.plan.request.policy if run.plan.request else None
    if not may_stop(policy, roles_for(user, model=model.slug, team=model.team)):
        record_denial(actor=actor, permission="plan.stop", path=f"run {run.id}")
        who = " or ".join(in_english(Role(role).label).lower() for role in policy.stop_roles) if policy else ""
        raise PermissionDenied(
            gettext("Its policy lets only the role %(who)s stop this run. Ask somebody who holds it.") % {"who": who}
        )
    with transaction.atomic():
        _person_moves(run, RunState.STOPPED, [*ACTIVE_RUN_STATES], ended_at=Now(), state_reason=reason[:500])
        return _told(run, "rollback.run.stop", actor, reason)


def pause(*, run_id: Any, user: User, reason: str, actor: Actor, seen: str = "") -> Run:
    """Halt a run until somebody resumes it; what is under way on a host is finished or proven first.

    Raises PermissionDenied, RunRefused when it is not moving, or otherwise than `seen`, and when no reason is given.
    """
    run = _run(run_id, reason, user, "plan.stop")
    _check_seen(run, seen)
    code = PAUSED_BACK if run.state == RunState.COMPENSATING else PAUSED
    with transaction.atomic():
        moving = [RunState.RUNNING, RunState.COMPENSATING]
        _person_moves(run, RunState.HALTED, moving, halt_code=code, state_reason=f"Paused: {reason}"[:500])
        return _told(run, "rollback.run.pause", actor, reason)


def resume(*, run_id: Any, user: User, reason: str, actor: Actor, seen: str = "") -> Run:
    """Take a halted run up again: hosts that failed or were absent begin anew, open gates are asked again.

    What holds at the start of a wave is checked here too, for the wave in hand. A run that was halted because a host
    knew a newer fence goes on under one that is newer than any host was seen with: the person has looked.

    Raises PermissionDenied, RunRefused (also when it was halted for another reason than `seen`), and StartRefused when
    the endpoint is frozen, the target quarantined, an approver objects, or the fleet is neither as it was approved nor
    as the run left it.
    """
    run = _run(run_id, reason, user, "plan.start")
    _check_seen(run, seen)
    going_back, fenced_off = run.halt_code in GOING_BACK, run.halt_code == FENCED_OFF
    if not going_back:
        check_allowed(run.plan, run.endpoint)
        check_objections(run.plan)
        check_progress(run, read(run.plan))
    with transaction.atomic():
        goal = RunState.COMPENSATING if going_back else RunState.RUNNING
        _person_moves(run, goal, [RunState.HALTED], halt_code="", due_at=Now())
        _renew_hosts(run, going_back=going_back)
        data = {"fence": _newer_fence(run)} if fenced_off else {}
        return _told(run, "rollback.run.resume", actor, reason, data, wake=True)


def _newer_fence(run: Run) -> int:
    """Give the run a fence above its endpoint's and above those that its hosts were last seen with."""
    endpoint = Endpoint.objects.select_for_update().get(pk=run.endpoint_id)
    seen = Placement.objects.filter(endpoint=endpoint).aggregate(most=Max("observed_fence"))["most"] or 0
    fence = max(endpoint.fence, seen) + 1
    Endpoint.objects.filter(pk=endpoint.pk).update(fence=fence)
    Run.objects.filter(pk=run.pk).update(fence=fence)
    run.refresh_from_db(fields=["fence"])
    return fence


def pass_gate(*, run_id: Any, user: User, reason: str, actor: Actor, seen: str = "") -> Run:
    """Let a run go on whose gate had too little to answer with, on a person's authority and on record.

    A gate that has failed can't be passed. Of a shadow that came to no verdict the hosts count as compared.
    Raises PermissionDenied, RunRefused.
    """
    run = _run(run_id, reason, user, "incident.command")
    _check_seen(run, seen)
    if run.halt_code not in ("gate_inconclusive", UNDECIDED):
        raise RunRefused("not_inconclusive", gettext("Only a gate that is inconclusive can be passed by a person."))
    of_shadow = run.halt_code == UNDECIDED
    with transaction.atomic():
        _person_moves(run, RunState.RUNNING, [RunState.HALTED], halt_code="", due_at=Now())
        wave = _wave_in_hand(run)
        if of_shadow:
            _pass_shadow(wave)
            return _told(run, "rollback.gate.pass", actor, reason, {"wave": wave.index, "of": "shadow"}, wake=True)
        if not Wave.objects.filter(pk=wave.pk, state=WaveState.SOAKING).update(gate_passed_by=user):
            raise RunRefused("moved", gettext("The gate was answered at the same moment. Look again."))
        return _told(run, "rollback.gate.pass", actor, reason, {"wave": wave.index}, wake=True)


def _pass_shadow(wave: Wave) -> None:
    for step in wave.steps.filter(state=StepState.SHADOWED):
        marks = {**step.marks, StepState.COMPARED: database_now().isoformat()}
        move(step, StepState.COMPARED, marks=marks, notes={**step.notes, StepState.COMPARED: "passed by a person"})


def compensate(*, run_id: Any, user: User, reason: str, actor: Actor) -> Run:
    """Bring every host that has switched back to what it served before. Raises PermissionDenied, RunRefused."""
    run = _run(run_id, reason, user, "plan.start")
    if run.plan.from_version is None and run.plan.kind != PlanKind.DRAIN:
        raise RunRefused(
            "nothing_before", gettext("Nothing was served before this run, so there is nothing to go back to.")
        )
    if run.state not in (RunState.RUNNING, RunState.HALTED):
        raise RunRefused(
            "not_active",
            gettext("The run can't be turned back: %(state)s.") % {"state": run.get_state_display().lower()},
        )
    try:
        begin_compensation(run=run, actor=actor, reason=reason)
    except LostRace as error:
        raise RunRefused("moved", gettext("The run moved at the same moment. Look again.")) from error
    return run


def halt(*, run: Run, code: str, sentence: str, actor: Actor) -> None:
    """Stop where it is and wait for a person. Nothing is undone."""
    with transaction.atomic():
        move(run, RunState.HALTED, halt_code=code, state_reason=sentence[:500])
        record_run(run, "rollback.run.halt", actor, {"code": code}, reason=sentence, outcome="failed")


def begin_compensation(*, run: Run, actor: Actor, reason: str) -> None:
    """Go back on every host that has switched, under a newer fence, so that a late call of the old one is refused."""
    with transaction.atomic():
        # The run before the endpoint, as a step's outcome locks them.
        Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        Endpoint.objects.filter(pk=run.endpoint_id).update(fence=F("fence") + 1)
        fence = Endpoint.objects.values_list("fence", flat=True).get(pk=run.endpoint_id)
        move(run, RunState.COMPENSATING, fence=fence, state_reason=reason[:500], due_at=Now())
        record_run(run, "rollback.run.compensate", actor, {"fence": fence}, reason=reason)
        send_on_commit("rollback.advance", [str(run.id)], queue="rollback")


def _run(run_id: Any, reason: str, user: User, permission: str) -> Run:
    """Lookup and permission in one: a run for a person who may do that to it, and says why."""
    related = ("plan__from_version", "plan__to_version", "plan__request__policy", "endpoint__model")
    run = Run.objects.select_related(*related).get(pk=run_id)
    require(user, permission, model=run.endpoint.model.slug, team=run.endpoint.model.team)
    if not reason.strip():
        raise RunRefused("reason_needed", gettext("Say in a sentence why; it goes on record."))
    return run


def _person_moves(run: Run, to: RunState, only_from: list[RunState], **fields: Any) -> None:
    if run.state not in only_from:
        raise RunRefused(
            "not_active",
            gettext("That is not possible: the run is %(state)s.") % {"state": run.get_state_display().lower()},
        )
    try:
        move(run, to, **fields)
    except LostRace as error:
        raise RunRefused("moved", gettext("The run moved at the same moment. Look again.")) from error


def _told(
    run: Run, action: str, actor: Actor, reason: str, data: dict[str, Any] | None = None, *, wake: bool = False
) -> Run:
    record_run(run, action, actor, data or {}, reason=reason)
    if wake:
        send_on_commit("rollback.advance", [str(run.id)], queue="rollback")
    return run


def _wave_in_hand(run: Run) -> Wave:
    return run.waves.exclude(state=WaveState.DONE).order_by("index")[0]


def _renew_hosts(run: Run, *, going_back: bool) -> None:
    """Hosts that ended badly begin anew, going forward those of the wave in hand: what earlier waves have left out was
    within the plan's budgets. That wave opens again, or has its gate asked again."""
    ended_badly = run.steps.filter(state__in=[StepState.FAILED, StepState.UNREACHABLE])
    if not going_back:
        ended_badly = ended_badly.filter(wave=_wave_in_hand(run))
    for step in ended_badly:
        if going_back:
            marks = {name: at for name, at in step.marks.items() if name != StepState.COMPENSATING}
            HostStep.objects.filter(pk=step.pk).update(marks=marks, version=F("version") + 1)
        else:
            move(step, StepState.PENDING, state_reason="", attempts=0)
    if going_back:
        return
    wave = _wave_in_hand(run)
    if wave.state == WaveState.FAILED:
        finished = not wave.steps.exclude(state__in=[StepState.DONE, StepState.UNREACHABLE]).exists()
        move(wave, WaveState.SOAKING if finished else WaveState.RUNNING, soak_until=Now())
    elif wave.state == WaveState.SOAKING:
        Wave.objects.filter(pk=wave.pk).update(soak_until=Now())


def announce_run(run: Run) -> None:
    """Tell the floor above that the run has moved."""
    send_on_commit("incidents.follow_run", [str(run.id)], queue="intake")


def record_run(
    run: Run, action: str, actor: Actor, data: dict[str, Any], *, reason: str = "", outcome: str = "success"
) -> None:
    record(
        action=action,
        target=Target("run", str(run.id)),
        actor=actor,
        incident=run.plan.incident_ref,
        outcome=outcome,
        reason=reason,
        data={"run": str(run.id), "plan_hash": run.plan.plan_hash, "state": run.state, **data},
    )
    announce_run(run)
