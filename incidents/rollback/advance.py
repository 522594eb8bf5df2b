"""Advancing a run: wave by wave, the hosts of a wave at once, by whoever holds the run's lease.

A run is moved in small steps that each commit. Whoever dies in the middle is replaced: the clock finds the row whose
lease has run out, and the next worker observes the hosts before it does anything.
"""

import datetime
import logging
from collections.abc import Callable
from concurrent.futures import wait as wait_for
from contextlib import suppress
from functools import partial
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import F
from django.db.models.functions import Now

from audit.actions import Target, record, under
from audit.clock import database_now
from audit.dispatch import send_on_commit
from incidents.rollback import gates, limits, steering
from incidents.rollback.ahead import Ahead, longest_first
from incidents.rollback.document import PlanDocument
from incidents.rollback.drifted import HELD_BY_RUN
from incidents.rollback.fleet import Known
from incidents.rollback.hands import Hands
from incidents.rollback.kept import keep_warm, owed
from incidents.rollback.lease import MOVING, Lease, LeaseLost
from incidents.rollback.models import (
    STEERING_KINDS,
    CheckAnswer,
    HostStep,
    Run,
    RunState,
    StepState,
    Watch,
    Wave,
    WaveState,
)
from incidents.rollback.plan import PlanRefused, read
from incidents.rollback.run import (
    COMPENSATION_FAILED,
    FENCED_OFF,
    WORKER,
    announce_run,
    begin_compensation,
    check_allowed,
    check_objections,
    check_progress,
    halt,
    record_run,
)
from incidents.rollback.shadow import turns as shadow
from incidents.rollback.state import LostRace, move
from incidents.rollback.steps import ENDED, TURNS, advance_step
from incidents.rollback.work import FenceLost, Work, has_acted
from registry.actions import freeze, hold
from registry.golden import golden_of
from registry.models import Endpoint, Placement
from registry.serving.base import HostUnreachable
from registry.store import ArtifactDamaged, ArtifactMissing, ArtifactUnavailable

logger = logging.getLogger(__name__)

PARALLEL_HOSTS = 16
SHORT_SECONDS = 0.25
"""Waits shorter than the clock's beat are spent with the lease in hand, PATIENCE_SECONDS of them in all."""
PATIENCE_SECONDS = 3.0
HELD_AFTER_FAILING = datetime.timedelta(days=1)
LOOKS, LOOK_AGAIN_SECONDS = 3, 0.6
TURNS.update(steering.TURNS)
TURNS.update(shadow.TURNS)
GOT_THERE = [StepState.SWITCHED, StepState.POSTCHECK_OK, StepState.DONE]


def advance(run_id: Any) -> None:
    """Move a run as far as it goes now, if its lease is free. Safe to be called any number of times, by anybody."""
    with Lease(run_id) as lease, Hands[float | None](PARALLEL_HOSTS) as lease.hands:
        if not lease.held:
            return
        try:
            lease.known, lease.ahead, patience = Known(), Ahead(lease.hands), PATIENCE_SECONDS
            while (wait := _advance_once(run_id, lease)) is not None:
                if wait > min(patience, SHORT_SECONDS):
                    lease.wake_in(wait)
                    return
                lease.pause(wait)
                patience -= wait
        except (LeaseLost, LostRace) as error:
            logger.info("rollback.run.handed_over run=%s reason=%s", run_id, error)
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            # Tried again for ever it would hold the endpoint, and nobody would be told.
            logger.exception("rollback.run.stuck run=%s", run_id)
            _halt_stuck(run_id, lease, error)


def _advance_once(run_id: Any, lease: Lease) -> float | None:
    """One move of the run. None when nothing is left to do, else seconds until the next (0: at once)."""
    run = (
        Run.objects.select_related(
            "plan__from_version", "plan__to_version", "plan__request", "plan__endpoint__model", "endpoint__model"
        )
        .filter(pk=run_id)
        .get()
    )
    lease.state = run.state
    if run.state == RunState.COMPENSATING:
        return _go_back(run, lease)
    if run.state != RunState.RUNNING:
        return None
    wave = run.waves.exclude(state=WaveState.DONE).order_by("index").first()
    if wave is None:
        _switched(run, lease)
        return None
    return WAVE_STEPS[wave.state](run, wave, lease)


def _open_wave(run: Run, wave: Wave, lease: Lease) -> float | None:
    """Check once more before a wave touches a host: the hash, the approvals, freezes, the progress expected."""
    lease.known.remotes.clear()
    lease.hands.greet(wave.steps.count())
    try:
        document = read(run.plan)
        check_allowed(run.plan, run.endpoint)
        check_objections(run.plan)
        check_progress(run, document)
    except PlanRefused as error:
        return _halt(run, lease, error.code, error.sentence)
    if shortage := _shortage(_work(run, lease), lease):
        return _halt(run, lease, "capacity", shortage)
    with transaction.atomic():
        lease.confirm()
        move(wave, WaveState.RUNNING)
        _touch(run)
        _record_wave(run, wave, "rollback.wave.start", {"hosts": [step.host.name for step in _steps(wave)]})
    return 0


def _shortage(work: Work, lease: Lease) -> str:
    """What speaks against beginning a wave: fewer hosts serve than the plan asks for, at three looks in a row."""
    said = ""
    for look in range(LOOKS):
        if look:
            lease.pause(LOOK_AGAIN_SECONDS)
        answered = limits.enough_serve(work, anew=look > 0)
        if answered is None or answered.answer == CheckAnswer.PASS:
            return ""
        seen = f"{answered.observed} (expected: {answered.expected})"
        said = f"{answered.question} {seen}. Bring hosts back, then resume."
    return said


def _run_wave(run: Run, wave: Wave, lease: Lease) -> float | None:
    """Take the hosts of the wave forward, all at once."""
    work = _work(run, lease)
    if (ended := shadow.judge(work, wave)) is not None:
        if ended.failed:
            return _wave_failed(run, wave, lease, ended.code, ended.sentence)
        return _halt(run, lease, ended.code, ended.sentence)
    left = [step for step in _steps(wave) if step.state not in ENDED]
    taken = limits.may_go(work, shadow.first(work, left))
    if left and not taken:
        return _halt(run, lease, "capacity", _no_room(work))
    lease.ahead.lay_out(work, wave.index)
    wait = _in_parallel(work, taken, run, lease, _come_through)
    if wait is not None:
        return wait
    if len(taken) < len(left):
        return 0
    if (limit := limits.broken(work, wave)) is not None:
        return _wave_failed(run, wave, lease, *limit)
    lost = run.steps.filter(
        wave__index__lte=wave.index, state__in=[StepState.UNREACHABLE, StepState.FAILED]
    ).values_list("state", "host__name")
    lease.ahead.begin(work)
    with transaction.atomic():
        lease.confirm()
        move(wave, WaveState.SOAKING, soak_until=Now() + datetime.timedelta(seconds=work.document.wave_soak_seconds))
        _touch(run)
        _record_wave(
            run,
            wave,
            "rollback.wave.switch",
            {
                "unreachable": sorted(name for state, name in lost if state == StepState.UNREACHABLE),
                "failed": sorted(name for state, name in lost if state == StepState.FAILED),
            },
        )
        announce_run(run)
    return 0


def _no_room(work: Work) -> str:
    least = work.document.min_hosts_serving
    return f"No host can be taken out of service: at least {least} have to serve. Bring hosts back, then resume."


def _in_parallel(
    work: Work,
    steps: list[HostStep],
    run: Run,
    lease: Lease,
    do: Callable[[Work, int], float | None],
) -> float | None:
    """Do this with hosts in threads. None when all have ended, else the seconds to wait (0 after a halt)."""
    if not steps:
        return None
    for step in steps:
        with suppress(HostUnreachable):  # said again, and counted, by the step itself
            work.remote(step)
    futures = [
        lease.hands.begin(partial(do, work, step.pk), after=lease.ahead.under_way(step))
        for step in longest_first(run.endpoint_id, steps)
    ]
    wait_for(futures)
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if isinstance(error, FenceLost):
            return _halt(run, lease, FENCED_OFF, str(error)) or 0
    if errors:
        raise errors[0]
    waits = [wait for future in futures if (wait := future.result()) is not None]
    return min(waits) if waits else None


def _come_through(work: Work, step_id: int) -> float | None:
    wait = advance_step(work, step_id)
    if wait is None and HostStep.objects.filter(pk=step_id, state=StepState.DONE).exists():
        work.lease.ahead.begin(work, most=1)
    return wait


def _soak(run: Run, wave: Wave, lease: Lease) -> float | None:
    """Wait until the soak is over, then ask the gate's questions. What the hosts may have to go back to becomes warm
    again meanwhile, where their engine has dropped it."""
    if read(run.plan).kept:
        work = _work(run, lease)
        wait = _in_parallel(work, owed(work, wave), run, lease, keep_warm)
        if wait is not None:
            return wait
    left = (wave.soak_until - database_now()).total_seconds() if wave.soak_until else 0.0
    if left > 0:
        return left
    work = _work(run, lease)
    if wave.gate_passed_by_id is None:
        judged = gates.judge(work, wave)
        patience = datetime.timedelta(seconds=work.document.gate_patience_seconds)
        if judged.wait and wave.soak_until and database_now() < wave.soak_until + patience:
            gates.keep_waiting(work, wave, judged)
            return judged.look_again
        lease.confirm()
        gates.settle(work, wave, judged)
        if judged.failed:
            return _wave_failed(run, wave, lease, "gate_failed", judged.sentence)
        if judged.inconclusive:
            return _halt(run, lease, "gate_inconclusive", judged.sentence)
    with transaction.atomic():
        lease.confirm()
        move(wave, WaveState.DONE)
        _touch(run)
        _record_wave(run, wave, "rollback.wave.done", {})
        announce_run(run)
    return 0


WAVE_STEPS: dict[str, Callable[[Run, Wave, Lease], float | None]] = {
    WaveState.PENDING: _open_wave,
    WaveState.RUNNING: _run_wave,
    WaveState.SOAKING: _soak,
    WaveState.FAILED: lambda run, wave, lease: _halt(run, lease, "step_failed", "A wave of this run has failed."),
}


def _wave_failed(run: Run, wave: Wave, lease: Lease, code: str, sentence: str) -> float | None:
    """A release goes back by itself where its plan says so; anything else halts for a person."""
    goes_back = read(run.plan).compensates
    with transaction.atomic():
        lease.confirm()
        if goes_back:
            # Before the incident's counter, which an event takes: whoever books a switch takes them in this order.
            Endpoint.objects.select_for_update(of=("self",)).get(pk=run.endpoint_id)
        move(wave, WaveState.FAILED)
        _touch(run)
        _record_wave(run, wave, "rollback.wave.fail", {"code": code}, outcome="failed", reason=sentence)
        if goes_back:
            begin_compensation(run=run, actor=WORKER, reason=sentence)
        else:
            halt(run=run, code=code, sentence=sentence, actor=WORKER)
    return 0 if goes_back else None


def _halt(run: Run, lease: Lease, code: str, sentence: str) -> float | None:
    """Halt for a person; there is nothing more for this worker to do. A run that was going back stays one."""
    with transaction.atomic():
        lease.confirm()
        going_back = run.state == RunState.COMPENSATING
        halt(run=run, code=COMPENSATION_FAILED if going_back else code, sentence=sentence, actor=WORKER)
    return None


def _halt_stuck(run_id: Any, lease: Lease, error: Exception) -> None:
    """Halt a run that met what nobody foresaw, unless somebody else has the say over it by now."""
    if isinstance(error, PlanRefused):
        code, sentence = error.code, error.sentence
    else:
        code = "stuck"
        sentence = f"The worker met an error ({type(error).__name__}; its log says more). Resume to try again, or stop."
    with suppress(LeaseLost, LostRace, Run.DoesNotExist):
        _halt(Run.objects.select_related("plan").get(pk=run_id, state__in=MOVING), lease, code, sentence)


def _go_back(run: Run, lease: Lease) -> float | None:
    """Latest wave first: hosts that switched (or may have) are brought back."""
    lease.known.seen.clear()
    work = _work(run, lease)
    steps = list(run.steps.select_related("host", "wave").order_by("-wave__index", "id"))
    for step in steps:
        if _must_go_back(step):
            at = database_now().isoformat()
            move(step, StepState.COMPENSATING, marks={**step.marks, StepState.COMPENSATING: at})
    going = [step for step in steps if step.state == StepState.COMPENSATING]
    for index in sorted({step.wave.index for step in going}, reverse=True):
        left = [step for step in going if step.wave.index == index]
        taken = limits.may_go(work, left)
        if not taken:
            return _halt(run, lease, "capacity", _no_room(work))
        wait = _in_parallel(work, taken, run, lease, _come_through)
        if wait is not None:
            return wait
        if len(taken) < len(left):
            return 0
    stuck = list(
        run.steps.filter(marks__has_key=StepState.COMPENSATING).exclude(state=StepState.RESTORED).select_related("host")
    )
    with transaction.atomic():
        lease.confirm()
        if stuck:
            sentence = (
                f"{', '.join(step.host.name for step in stuck)} could not be brought back: {stuck[0].state_reason}"
            )
            halt(run=run, code=COMPENSATION_FAILED, sentence=sentence, actor=WORKER)
        else:
            move(run, RunState.COMPENSATED, ended_at=Now())
            record_run(run, "rollback.run.compensated", WORKER, {})
    return None


def _must_go_back(step: HostStep) -> bool:
    """Its requests go elsewhere than before, or may (that was called), and it was not tried yet."""
    return (step.state in GOT_THERE or has_acted(step)) and StepState.COMPENSATING not in step.marks


def _switched(run: Run, lease: Lease) -> None:
    """All waves are done: the endpoint is free for another run, and the watching begins as a row of its own."""
    document = read(run.plan)
    if run.plan.kind in STEERING_KINDS:
        _steered(run, document, lease)
        return
    watch_for = datetime.timedelta(seconds=document.watch_seconds)
    patience = watch_for + datetime.timedelta(
        seconds=max(settings.LASTGOOD_WATCH_PATIENCE_SECONDS, document.watch_seconds)
    )
    with transaction.atomic():
        lease.confirm()
        undo_at = Now() + datetime.timedelta(seconds=document.undo_seconds) if run.plan.from_version_id else None
        move(run, RunState.SWITCHED, switched_at=Now(), ended_at=Now(), undo_due_at=undo_at, state_reason="")
        watch = Watch.objects.create(run=run, until=Now() + watch_for, patience_until=Now() + patience, due_at=Now())
        _hold_failed(run)
        Placement.objects.filter(
            endpoint=run.endpoint,
            host__in=run.steps.filter(state__in=[StepState.UNREACHABLE, StepState.FAILED]).values("host"),
        ).update(desired=run.plan.to_version)
        record_run(
            run,
            "rollback.run.switched",
            WORKER,
            {"hosts": list(run.steps.filter(state=StepState.DONE).values_list("host__name", flat=True))},
        )
        send_on_commit("rollback.watch", [str(watch.run_id)], queue="rollback")


def _steered(run: Run, document: PlanDocument, lease: Lease) -> None:
    """Hosts are out of service or back in it; a freeze is set now. There is nothing to watch."""
    with transaction.atomic():
        lease.confirm()
        until, note = document.frozen_until, ""
        if until is not None and until <= database_now():
            note = "The freeze was over before it could be set; nothing is frozen by it."
        elif until is not None:
            with under(**({"said_by": run.plan.proposer.pseudonym} if run.plan.proposer else {})):
                freeze(endpoint=run.endpoint, until=until, reason=run.plan.reason, actor=WORKER)
        move(run, RunState.SWITCHED, switched_at=Now(), ended_at=Now(), state_reason=note)
        hosts = run.steps.filter(state=StepState.DONE).values_list("host__name", flat=True)
        data = {"hosts": list(hosts), "outcome": document.outcome}
        record_run(run, "rollback.run.switched", WORKER, data, reason=note)


def _hold_failed(run: Run) -> None:
    """A host that failed within the plan's budget waits for a person to look at it: converging it would fail again, and
    hold up the endpoint."""
    until = database_now() + HELD_AFTER_FAILING
    for step in run.steps.filter(state=StepState.FAILED).select_related("host"):
        hold(host=step.host, until=until, reason=f"{HELD_BY_RUN}{step.state_reason}"[:300], actor=WORKER)


def _work(run: Run, lease: Lease) -> Work:
    return Work(
        run=run,
        document=read(run.plan),
        lease=lease,
        target=run.plan.to_version,
        origin=run.plan.from_version,
        golden=_golden(run),
        actor=WORKER,
        known=lease.known,
    )


def _golden(run: Run) -> dict[str, Any] | None:
    """None where the golden test is missing or damaged, which fails the host's step with a sentence."""
    try:
        return golden_of(run.plan.to_version)
    except (ArtifactMissing, ArtifactDamaged, ArtifactUnavailable) as error:
        logger.warning("rollback.run.golden_unreadable run=%s error=%s", run.id, error)
        return None


def _steps(wave: Wave) -> list[HostStep]:
    return list(wave.steps.select_related("host", "wave").order_by("id"))


def _touch(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(version=F("version") + 1)


def _record_wave(
    run: Run, wave: Wave, action: str, data: dict[str, Any], *, outcome: str = "success", reason: str = ""
) -> None:
    record(
        action=action,
        target=Target("run", str(run.id)),
        actor=WORKER,
        incident=run.plan.incident_ref,
        outcome=outcome,
        reason=reason,
        data={"run": str(run.id), "plan_hash": run.plan.plan_hash, "wave": wave.index, "name": wave.name, **data},
    )
