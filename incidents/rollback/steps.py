"""One host's way through a run.

Each edge: observe; if it is true already, record and go on; else commit the intent, call, observe, record the outcome.
A call whose outcome is not known is never repeated blindly: the host is observed first.
"""

import datetime
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F

from audit.actions import Actor, Target, record
from audit.clock import database_now
from incidents.rollback import fleet
from incidents.rollback.checks import Answered, golden_answer, keep
from incidents.rollback.document import PlanDocument
from incidents.rollback.fleet import Known, Remote
from incidents.rollback.lease import Lease
from incidents.rollback.models import CheckAnswer, HostStep, Run, StepState
from incidents.rollback.state import change, move
from registry.actions import record_switch
from registry.models import Deployment, Host, Version
from registry.serving.base import (
    HostUnreachable,
    ModelObservation,
    OutcomeUnknown,
    Refused,
    ServingError,
    StaleFence,
)

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
FRESH_SECONDS = 0.5
CALL_SECONDS = {
    "stage": 600, "load": 600, "switch": 12, "restore": 12, "drain": 12, "unload": 45, "share": 12, "bring_back": 12,
}  # fmt: skip
STEERED = ("drain", "share", "bring_back")
ENDED = [StepState.DONE, StepState.FAILED, StepState.UNREACHABLE, StepState.RESTORED]


class StepFailed(Exception):
    """The step can't go on; the message is a sentence for people."""


class StepWaits(Exception):
    """Nothing can be said or done yet; the run is taken up again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


class FenceLost(Exception):
    """The host has seen a higher fence than the run's: somebody else has acted. The run halts for a person."""


@dataclass(frozen=True)
class Work:
    """What every edge needs: the run, its lease, the versions, the golden test, who is on record as acting."""

    run: Run
    document: PlanDocument
    lease: Lease
    target: Version
    origin: Version | None
    golden: Mapping[str, Any] | None
    actor: Actor
    known: Known

    def remote(self, step: HostStep) -> Remote:
        return self.remote_of(step.host)

    def remote_of(self, host: Host) -> Remote:
        """Raises HostUnreachable when the host may not be called."""
        if host.pk not in self.known.remotes:
            self.known.remotes[host.pk] = fleet.reach(host, self.run.endpoint)
        return self.known.remotes[host.pk]

    def look(self, step: HostStep, *, anew: bool = False) -> ModelObservation:
        return self.look_at(step.host, anew=anew)

    def look_at(self, host: Host, *, anew: bool = False, within: float = FRESH_SECONDS) -> ModelObservation:
        """What the host holds and serves. The edges of one pass share an observation of the last half second, in which
        nobody but this lease's holder acts on the host; after an act it is observed anew."""
        at, seen = self.known.seen.get(host.pk, (-within, None))
        if anew or seen is None or time.monotonic() - at > within:
            self.known.seen.pop(host.pk, None)  # what gives no answer now is not as it was
            seen = self.remote_of(host).look()
            self.known.seen[host.pk] = (time.monotonic(), seen)
        return seen

    def reads_back(self, step: HostStep) -> bool:
        return self.remote(step).driver.capabilities.digest_read_back


def advance_step(work: Work, step_id: int) -> float | None:
    """Take one host as far as it goes now. None when it has ended, else the seconds to wait before the next look.

    Runs in one of the run's own threads (hands.py). Raises LeaseLost, LostRace, FenceLost.
    """
    step = HostStep.objects.select_related("host", "wave").get(pk=step_id)
    while step.state not in ENDED:
        try:
            _edge(work, step)(work, step)
        except StepWaits as waits:
            return waits.seconds
        except HostUnreachable as error:
            return _count_unreachable(work, step, error)
        except StaleFence as error:
            raise FenceLost(f"{step.host.name} refused fence {work.run.fence}: {error.detail}") from error
        except StepFailed as error:
            end(work, step, StepState.FAILED, str(error))
        except OutcomeUnknown:
            return _count_unknown(work, step)
        except ServingError as error:
            end(work, step, StepState.FAILED, f"{step.host.name}: {error}")
    return None


def end(work: Work, step: HostStep, state: StepState, reason: str) -> None:
    """Record that the step can't go on."""
    with transaction.atomic():
        at = step.state
        marks = {**step.marks, state: database_now().isoformat()}
        move(step, state, state_reason=reason[:500], marks=marks, intent_deadline=None)
        _record(work, step, "rollback.step.outcome", outcome="failed", data={"step": at, "state": state}, reason=reason)


def _count_unreachable(work: Work, step: HostStep, error: HostUnreachable) -> float | None:
    if step.attempts + 1 < MAX_ATTEMPTS:
        change(step, attempts=F("attempts") + 1)
        return 0.5
    end(work, step, StepState.UNREACHABLE, f"{step.host.name} can't be reached: {error}{_doubt(step)}")
    return None


def _count_unknown(work: Work, step: HostStep) -> float | None:
    """A question (not an act) got no answer: ask again later, and give up as unreachable in the end."""
    if step.attempts + 1 < MAX_ATTEMPTS:
        change(step, attempts=F("attempts") + 1)
        return 1.0
    said = f"{step.host.name} accepts connections but gives no answer.{_doubt(step)}"
    end(work, step, StepState.UNREACHABLE, said)
    return None


def _doubt(step: HostStep) -> str:
    return " Whether it switched is not known." if step.intent in ("switch", "restore") else ""


def _lock(work: Work, step: HostStep) -> None:
    seen = work.look(step, anew=True)
    # A run's fence is new when it starts: a host that has seen it without a call of ours on record has seen another
    # run's, which a database that came back without its last commits has forgotten.
    if seen.fence > work.run.fence or (seen.fence == work.run.fence and not has_acted(step)):
        raise FenceLost(
            f"{step.host.name} has seen fence {seen.fence}, and this run holds {work.run.fence}: somebody else acted."
        )
    baseline = {"before": _counts(seen)}
    _advance(work, step, f"fence {work.run.fence}", before_digest=fleet.serving_digest(seen), baseline=baseline)


def has_acted(step: HostStep) -> bool:
    """Whether a call of this run may have changed where the host's requests go."""
    steered = {StepState.DRAINED, StepState.SHARED, StepState.IN_SERVICE} & step.marks.keys()
    return bool(step.switch_calls or step.steer_calls or steered)


def _preflight(work: Work, step: HostStep) -> None:
    seen = work.look(step)
    serving = fleet.serving_digest(seen)
    if serving not in work.document.tolerated:
        raise StepFailed(
            f"{step.host.name} serves {serving[:12] or 'nothing'}, which the plan does not know. "
            "Look at the host, then propose a plan that fits."
        )
    _advance(work, step, f"serves {serving[:12] or 'nothing'}")


def _stage(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    effect(
        work,
        step,
        name="stage",
        holds=lambda seen: fleet.is_staged(seen, work.target),
        call=lambda: remote.stage(work.target),
    )


def load(work: Work, step: HostStep) -> None:
    remote, reads_back = work.remote(step), work.reads_back(step)
    effect(
        work,
        step,
        name="load",
        holds=lambda seen: fleet.is_loaded(seen, work.target, read_back=reads_back),
        call=lambda: remote.load(work.target),
    )


def ask_golden(work: Work, step: HostStep) -> None:
    if work.golden is None:
        raise StepFailed(f"Version {work.target.number} has no golden test that can be read. Register one that has.")
    where = f"version {work.target.number} on {step.host.name}"
    result = work.remote(step).golden(work.target, work.golden)
    answered = golden_answer(step.host, result, work.target.digest, where)
    _judge(work, step, "golden", answered)


def switch(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    effect(
        work,
        step,
        name="switch",
        holds=lambda seen: _answers_with(work, step, seen, work.target),
        call=lambda: remote.switch(work.target, work.run.fence),
        also=lambda: book_switch(work, step, work.target),
    )


def _postcheck(work: Work, step: HostStep) -> None:
    remote = work.remote(step)
    if not fleet.serves(work.look(step), work.target, read_back=work.reads_back(step)):
        raise StepFailed(f"{step.host.name} no longer serves version {work.target.number}, though it had switched.")
    if work.golden is None:
        raise StepFailed(f"Version {work.target.number} has no golden test that can be read.")
    result = remote.golden(None, work.golden)
    answered = golden_answer(step.host, result, work.target.digest, f"what now answers on {step.host.name}")
    _judge(work, step, "postcheck", answered)


def finish(work: Work, step: HostStep) -> None:
    seen = work.look(step)
    held = fleet.version_on(seen, work.target)
    counters = {"requests": held.requests, "failures": held.failures} if held else {}
    _advance(work, step, "", baseline={**step.baseline, **counters, "after": _counts(seen)})


def _counts(seen: ModelObservation) -> dict[str, int]:
    """How many live requests each version has answered on the host, by the engine's own count."""
    return {name: held.requests for name, held in seen.versions.items()}


def _restore(work: Work, step: HostStep) -> None:
    """Back to the version that the host served before: the same act, with a newer fence."""
    origin = work.origin
    if origin is None:
        raise StepFailed(f"Nothing was served on {step.host.name} before, so there is nothing to go back to.")
    remote, reads_back = work.remote(step), work.reads_back(step)
    cold = not fleet.is_loaded(work.look(step), origin, read_back=reads_back)
    if cold and step.host.name in work.document.recreated:
        _make_room(work, step, origin)
    if not fleet.is_loaded(work.look(step), origin, read_back=reads_back):
        raise StepFailed(f"Version {origin.number} is not loaded on {step.host.name} any more. Roll back by a plan.")
    effect(
        work,
        step,
        name="restore",
        holds=lambda seen: _answers_with(work, step, seen, origin),
        call=lambda: remote.switch(origin, work.run.fence),
        also=lambda: book_switch(work, step, origin),
    )


def _make_room(work: Work, step: HostStep, origin: Version) -> None:
    """On a host that holds one version only: out of service, the target unloaded, the origin loaded again."""
    remote, target, fence = work.remote(step), work.target, work.run.fence
    act(work, step, name="drain", holds=lambda seen: not seen.in_service, call=lambda: remote.set_service(False, fence))
    act(
        work, step, name="unload", call=lambda: remote.unload(target),
        holds=lambda seen: not fleet.is_loaded(seen, target, read_back=False),
    )  # fmt: skip
    act(
        work, step, name="load", call=lambda: remote.load(origin), version=origin,
        holds=lambda seen: fleet.is_loaded(seen, origin, read_back=work.reads_back(step)),
    )  # fmt: skip


def _answers_with(work: Work, step: HostStep, seen: ModelObservation, version: Version) -> bool:
    """The host serves the version and, where it knows fences, has seen this run's: no late call of an earlier one can
    take it elsewhere any more."""
    barred = seen.fence >= work.run.fence or not work.remote(step).driver.capabilities.fencing
    return barred and seen.share is None and fleet.serves(seen, version, read_back=work.reads_back(step))


EDGES: dict[str, Callable[[Work, HostStep], None]] = {
    StepState.PENDING: _lock,
    StepState.LOCKED: _preflight,
    StepState.PREFLIGHT: _stage,
    StepState.STAGED: load,
    StepState.EMPTIED: load,
    StepState.LOADED: ask_golden,
    StepState.GOLDEN_OK: switch,
    StepState.SWITCHED: _postcheck,
    StepState.POSTCHECK_OK: finish,
    StepState.COMPENSATING: _restore,
}
TURNS: dict[tuple[str, str], Callable[[Work, HostStep], None]] = {}
"""Edges of the paths that take requests off a host or share them, by the state they leave and the one they reach: see
incidents.rollback.steering."""


def _edge(work: Work, step: HostStep) -> Callable[[Work, HostStep], None]:
    if step.state == StepState.COMPENSATING:
        return TURNS.get((step.state, work.document.outcome), EDGES[step.state])
    return TURNS.get((step.state, _next(work, step))) or EDGES[step.state]


def effect(
    work: Work,
    step: HostStep,
    *,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    also: Callable[[], None] | None = None,
) -> None:
    """An edge that changes the host: true already, or intent, call, read back, outcome."""
    note = _called(work, step, name, holds, call, work.target)
    _outcome(work, step, name, note, also)


def act(
    work: Work,
    step: HostStep,
    *,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    version: Version | None = None,
    **fields: Any,
) -> None:
    """A change of the host on the way to an edge: the same, but the step stays in its state. `fields` are set on it."""
    note = _called(work, step, name, holds, call, version or work.target)
    with transaction.atomic():
        change(step, intent="", intent_deadline=None, attempts=0, **fields)
        _record(work, step, "rollback.step.outcome", data={"step": name, "state": step.state, "note": note})


def _called(
    work: Work,
    step: HostStep,
    name: str,
    holds: Callable[[ModelObservation], bool],
    call: Callable[[], None],
    version: Version,
) -> str:
    """Bring about what `holds` asks for; the note for the outcome."""
    seen = work.look(step, anew=bool(step.intent))
    if holds(seen):
        return "proven by reading back" if step.intent == name else "was so already"
    _may_call(work, step, name, seen, version)
    _intend(work, step, name)
    work.known.seen.pop(step.host_id, None)
    try:
        call()
    except OutcomeUnknown as error:
        logger.warning("rollback.step.unknown run=%s host=%s step=%s", work.run.id, step.host.name, name)
        raise StepWaits(1.0) from error
    except Refused as error:
        _refused(work, step, name, error)
        raise
    except HostUnreachable:
        change(step, intent="", intent_deadline=None)
        raise
    if not holds(work.look(step, anew=True)):
        raise StepFailed(
            f"{step.host.name} answered {name} with success, but reading it back shows otherwise. Take the host out."
        )
    return ""


def _may_call(work: Work, step: HostStep, name: str, seen: ModelObservation, version: Version) -> None:
    """Whether the act may be called (again), after the host was observed not to be there yet."""
    held = fleet.version_on(seen, version)
    if name == "load" and held is not None and held.state == "loading":
        since = datetime.datetime.fromisoformat(step.marks[step.state])
        if database_now() - since > 2 * datetime.timedelta(seconds=CALL_SECONDS["load"]):
            raise StepFailed(f"{step.host.name} is still loading version {version.number}. Look at the host.")
        raise StepWaits(0.5)
    if name == "load" and held is not None and held.state == "failed" and step.intent == "load":
        raise StepFailed(f"{step.host.name} could not load version {version.number}: {held.reason}")
    if step.intent != name:
        return
    # Under one fence a host takes the same act twice as once; elsewhere an earlier call may still be on its way.
    repeatable = work.remote(step).driver.capabilities.fencing
    deadline = step.intent_deadline
    left = (deadline - database_now()).total_seconds() if deadline is not None else 0.0
    if left > 0 and not repeatable:
        raise StepWaits(min(1.0, left))
    if step.attempts >= MAX_ATTEMPTS:
        raise StepFailed(f"{step.host.name} did not {name} in {step.attempts} attempts. Look at the host.")


def _intend(work: Work, step: HostStep, name: str) -> None:
    with transaction.atomic():
        work.lease.confirm()
        counter = "switch_calls" if name == "switch" else "steer_calls" if name in STEERED else ""
        counted: dict[str, Any] = {counter: F(counter) + 1} if counter else {}
        deadline = database_now() + datetime.timedelta(seconds=CALL_SECONDS[name])
        attempts = F("attempts") + 1 if step.intent == name else 1
        change(step, intent=name, intent_deadline=deadline, attempts=attempts, **counted)
        _record(
            work,
            step,
            "rollback.step.intent",
            outcome="intent",
            data={"step": name, "attempt": step.attempts, "deadline": deadline},
        )


def _outcome(work: Work, step: HostStep, name: str, note: str, also: Callable[[], None] | None) -> None:
    """The edge has been read back from the host. Recorded even when the lease went meanwhile: it has happened."""
    after = StepState.RESTORED if step.state == StepState.COMPENSATING else _next(work, step)
    with transaction.atomic():
        _move_on(step, after, note, at=database_now())
        if also is not None:
            also()
        _record(work, step, "rollback.step.outcome", data={"step": name, "state": after, "note": note})


def _refused(work: Work, step: HostStep, name: str, error: Refused) -> None:
    with transaction.atomic():
        change(step, intent="", intent_deadline=None)
        data = {"step": name, "status": error.status, "type": error.type}
        _record(work, step, "rollback.step.outcome", outcome="failed", data=data, reason=error.detail)


def _advance(work: Work, step: HostStep, note: str, **fields: Any) -> None:
    """An edge without an effect on the host."""
    with transaction.atomic():
        now, after = work.lease.check(), _next(work, step)
        _move_on(step, after, note, at=now, **fields)
        _record(work, step, "rollback.step.outcome", data={"step": after, "state": after, "note": note})


def _judge(work: Work, step: HostStep, stage: str, answered: Answered) -> None:
    """An edge that is a question: only a pass goes on."""
    if answered.answer != CheckAnswer.PASS:
        with transaction.atomic():
            keep(run=work.run, stage=stage, wave=step.wave, answers=[answered])
        raise StepFailed(f"{answered.question} No: {answered.observed}.")
    with transaction.atomic():
        now, after = work.lease.check(), _next(work, step)
        _move_on(step, after, answered.observed, at=now)
        keep(run=work.run, stage=stage, wave=step.wave, answers=[answered])
        _record(work, step, "rollback.step.outcome", data={"step": stage, "state": after, "check": answered.facts})


def book_switch(work: Work, step: HostStep, version: Version) -> None:
    """Enter into the registry what the host was read back to serve; a span that is open already stays."""
    live = Deployment.objects.filter(endpoint=work.run.endpoint, host=step.host, until=None, version=version)
    if live.exists():
        return
    record_switch(
        endpoint=work.run.endpoint,
        host=step.host,
        version=version,
        cause=work.run.plan.kind,
        run_ref=str(work.run.id),
        incident_ref=work.run.plan.incident_ref,
        gates_off=work.document.gates_off,
        actor=work.actor,
    )


def _move_on(step: HostStep, after: str, note: str, *, at: datetime.datetime, **fields: Any) -> None:
    marks, notes = {**step.marks, after: at.isoformat()}, {**step.notes, after: note[:300]}
    move(step, after, marks=marks, notes=notes, intent="", intent_deadline=None, attempts=0, **fields)


def _next(work: Work, step: HostStep) -> str:
    path = work.document.path_of(step.host.name)
    return path[path.index(step.state) + 1]


def _meant(work: Work, step: HostStep) -> Version:
    going_back = step.state in (StepState.COMPENSATING, StepState.RESTORED)
    return work.origin if going_back and work.origin is not None else work.target


def _record(
    work: Work, step: HostStep, action: str, *, data: dict[str, Any], outcome: str = "success", reason: str = ""
) -> None:
    record(
        action=action,
        target=Target("host", step.host.name),
        actor=work.actor,
        incident=work.run.plan.incident_ref,
        outcome=outcome,
        reason=reason,
        data={
            "run": str(work.run.id),
            "plan_hash": work.run.plan.plan_hash,
            "host": step.host.name,
            "fence": work.run.fence,
            "version": _meant(work, step).digest,
            **data,
        },
    )
